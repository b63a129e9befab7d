"""The Dagster instance of the storage: made once, and rid of runs whose process died."""

import os
import socket
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import psutil
from filelock import FileLock

from nsl_assets.study import storage_root
from nsl_resources.artifacts import atomic_write_text

HOST, PID, STARTED = "nsl/host", "nsl/pid", "nsl/process_started"


def init_instance() -> Path:
    """Make the instance under the storage, unless DAGSTER_HOME names another; returns its folder."""
    home = Path(os.environ.get("DAGSTER_HOME") or storage_root() / "dagster").expanduser().resolve()
    os.environ["DAGSTER_HOME"] = str(home)
    home.mkdir(parents=True, exist_ok=True)
    settings = home / "dagster.yaml"
    if not settings.exists():
        atomic_write_text(settings, (files("nsl_resources") / "dagster.yaml").read_text())
    _settle(home)
    return home


def process_tags() -> dict[str, str]:
    """Tags by which a later process can tell that the process of a run is gone."""
    started = psutil.Process().create_time()
    return {HOST: socket.gethostname(), PID: str(os.getpid()), STARTED: f"{started:.2f}"}


def _settle(home: Path) -> None:
    """Create the tables, one process at a time, and end the runs of processes that were killed.

    Dagster's own monitoring watches runs that its daemon launched, not those of `nsl run`: left as started, they
    would hold a place in the queue and keep automation from ever touching their assets again.
    """
    import dagster as dg

    with FileLock(home / ".tables.lock"), dg.DagsterInstance.get() as instance:
        instance.all_instigator_state()
        unfinished = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
        for run in instance.get_runs(filters=dg.RunsFilter(statuses=unfinished, tags={HOST: socket.gethostname()})):
            if not _is_alive(run.tags):
                instance.report_run_failed(run, message="The process of this run was killed.")


def _is_alive(tags: Mapping[str, str]) -> bool:
    try:
        return f"{psutil.Process(int(tags[PID])).create_time():.2f}" == tags[STARTED]
    except psutil.NoSuchProcess:
        return False
