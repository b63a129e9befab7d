"""How a worker ended, in words: exit code, signal, out of memory, timeout, cancelled."""

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nsl_resources.dispatch.jobs import OUT_OF_MEMORY_EXIT_CODE
from nsl_resources.dispatch.messages import Failure

_NEAR_THE_LIMIT: Final = 0.95
_OUT_OF_MEMORY_ERRORS: Final = ("MemoryError", "OutOfMemoryError")


@dataclass(frozen=True)
class Ending:
    """The facts about the end of a worker.

    Attributes:
        returncode: exit code, or minus the signal.
        stopped_for: "timeout" or "cancelled" if the dispatcher stopped it before it ended by itself.
        failure: the exception it reported.
        peak_memory_mib: of its process tree.
        memory_limit_mib: of the host or control group.
        n_kernel_kills: processes that the kernel killed for want of memory, on the whole machine, in its lifetime.
    """

    returncode: int
    stopped_for: str | None = None
    failure: Failure | None = None
    peak_memory_mib: float = 0.0
    memory_limit_mib: float = float("inf")
    n_kernel_kills: int = 0


def reason(ending: Ending) -> str:
    """The reason that a `WorkerResult` gives."""
    if ending.stopped_for is not None:
        return ending.stopped_for
    if ending.returncode == 0:
        return "succeeded"
    if _is_out_of_memory(ending):
        return "out of memory"
    if ending.returncode < 0:
        return f"killed by signal {signal_name(-ending.returncode)}"
    return f"exit {ending.returncode}"


def signal_name(number: int) -> str:
    """`SIGKILL` for 9; the number where it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _is_out_of_memory(ending: Ending) -> bool:
    if ending.returncode == OUT_OF_MEMORY_EXIT_CODE:
        return True
    if ending.failure is not None and ending.failure.error.endswith(_OUT_OF_MEMORY_ERRORS):
        return True
    is_near = ending.peak_memory_mib >= _NEAR_THE_LIMIT * ending.memory_limit_mib
    return ending.returncode == -signal.SIGKILL and (ending.n_kernel_kills > 0 or is_near)


def count_kernel_kills(root: Path = Path("/")) -> int:
    """Processes killed by the kernel for want of memory since boot, by the host's limit or a control group's."""
    if sys.platform != "linux":
        return 0
    try:
        lines = (root / "proc/vmstat").read_text().splitlines()
    except OSError:
        return 0  # hidden in some sandboxes; the peak near the limit still tells
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
