"""What a Dagster run says of itself in tags when it begins: which process executes it, and whose failure it retries.

The code location ends the runs of its children that die. Where it died with them (a reboot, a lost container), or for a
run of `nsl run`, nobody would: the run would hold its place in the queue and the pool for ever.
"""

import json
import os
import socket
from collections.abc import Mapping

from nsl_resources.admission import processes

PROCESS_TAG = ".dagster/nsl_process"
"""Tags with this prefix are not shown in the UI."""
FAILURE_TAG = "nsl/failure"
"""Why a run failed."""
PARENT_TAG = "dagster/parent_run_id"
BEFORE = "the run before"


def tags_at_start(run_id: str, tags: Mapping[str, str]) -> dict[str, str]:
    """What to add to the tags of a run that begins. Dagster copies a failure to the retry: that says whose it was."""
    added = process_tag(run_id)
    failure = tags.get(FAILURE_TAG, "")
    if failure and PARENT_TAG in tags and not failure.startswith(BEFORE):
        added[FAILURE_TAG] = f"{BEFORE}, {tags[PARENT_TAG][:8]}: {failure}"
    return added


def process_tag(run_id: str) -> dict[str, str]:
    """The tag by which a later process of this host can tell that this process is gone.

    It names the run as well, because Dagster copies the tags of a run to its retries.
    """
    named = {"run": run_id, "host": socket.gethostname(), "pid": os.getpid(), "start": processes.myself().start}
    return {PROCESS_TAG: json.dumps(named)}


def lost_process(run_id: str, tags: Mapping[str, str]) -> int | None:
    """The id of the process of this host that executed a run and is gone; None where it lives or cannot be judged."""
    named = json.loads(tags.get(PROCESS_TAG, "{}"))
    if (named.get("run"), named.get("host")) != (run_id, socket.gethostname()):
        return None
    return None if processes.is_running(named["pid"], named["start"]) else int(named["pid"])
