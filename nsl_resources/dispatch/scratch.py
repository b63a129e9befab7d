"""The folder of messages and output that each worker has in the temporary folder, named after its dispatcher.

A dispatcher removes it with the result. Where the dispatcher was killed, the supervisor does. Where both were killed,
the next run does: the name tells whose it was.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Final

from nsl_resources.admission import processes

_PREFIX: Final = "nsl-worker"


def make_scratch() -> Path:
    """A new folder of this process."""
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}-{_here()}-{_name_of(processes.myself())}-"))


def remove_scratch_of_the_dead() -> None:
    """Removes the folders of processes of this host, and of this space of process ids, that have ended."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}-{_here()}-*"):
        owner = folder.name.split("-")[3]
        pid = owner.partition(".")[0]
        process = processes.find(int(pid)) if pid.isdigit() else None
        if process is None or _name_of(process) != owner:
            shutil.rmtree(folder, ignore_errors=True)  # another run may be about it too, or it is another user's


def _here() -> str:
    """Inside which a process id means something, so that folders of other containers and nodes are left alone."""
    return f"{processes.boot_id()}.{processes.pid_namespace()}"


def _name_of(process: processes.Process) -> str:
    return f"{process.pid}.{process.start.partition(':')[2]}"
