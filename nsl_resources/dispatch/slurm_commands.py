"""The four commands of Slurm that nsl uses: `sbatch`, `squeue`, `sacct`, `scancel`."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nsl_assets.errors import InputError, NslError

COMMANDS: Final = ("sbatch", "squeue", "sacct", "scancel")
_UNFINISHED_STATES: Final = frozenset({"", "PENDING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED", "RESIZING"})
_ANSWER_S: Final = 120.0
_TASKS_A_QUESTION: Final = 200


class SlurmError(NslError):
    """Slurm refused something, or does not answer."""


@dataclass(frozen=True, order=True)
class TaskId:
    """A task of an array, as Slurm names it."""

    array: str
    index: int

    @classmethod
    def parse(cls, text: str) -> "TaskId | None":
        """Reads `123_4`; None for anything else, such as `123_[5-9]` or `123_4.batch`."""
        match = re.fullmatch(r"(\d+)_(\d+)", text)
        return cls(match[1], int(match[2])) if match else None

    def __str__(self) -> str:
        return f"{self.array}_{self.index}"


@dataclass(frozen=True)
class Account:
    """What Slurm's accounting says about a task.

    Attributes:
        state: such as COMPLETED, FAILED, TIMEOUT, OUT_OF_MEMORY, CANCELLED, NODE_FAIL.
        returncode: exit code, or minus the signal.
        seconds: for which it ran.
        node: where.
    """

    state: str
    returncode: int
    seconds: float
    node: str

    @property
    def is_over(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.state not in _UNFINISHED_STATES


def require_commands() -> None:
    """InputError where Slurm's commands are not installed."""
    missing = [command for command in COMMANDS if shutil.which(command) is None]
    if missing:
        raise InputError(
            f"workers are to run on Slurm, but {', '.join(missing)} cannot be found: run nsl on a machine from which"
            ' jobs can be submitted, or write dispatcher = "local" in [machine].'
        )


@dataclass(frozen=True)
class Request:
    """What each task of an array asks of its node.

    Attributes:
        cores: for it alone.
        memory_mib: for it alone.
        n_gpus: for it alone.
        limit_s: after which Slurm ends it; None: what the partition has.
        is_requeued: whether Slurm itself starts it again where its node is lost.
    """

    cores: int
    memory_mib: int
    n_gpus: int = 0
    limit_s: int | None = None
    is_requeued: bool = False

    def options(self) -> list[str]:
        """As `sbatch` takes it."""
        gpus = [f"--gres=gpu:{self.n_gpus}"] if self.n_gpus else []
        time_limit = [] if self.limit_s is None else [f"--time={-(-self.limit_s // 60)}"]
        return [f"--cpus-per-task={self.cores}", f"--mem={self.memory_mib}M", *gpus, *time_limit]


def submit(script: Path, request: Request, *, name: str, indices: str, options: Sequence[str]) -> str:
    """Submits an array of tasks with the same request; its id.

    Args:
        script: what each task runs.
        request: of each task.
        name: of the array in the queue.
        indices: of the tasks, such as `0-9%4`: ten, of which four run at a time.
        options: further ones, which win.
    """
    requeue = "--requeue" if request.is_requeued else "--no-requeue"
    fixed = ["--parsable", f"--job-name={name}", "--nodes=1", "--ntasks=1", requeue, "--output=/dev/null"]
    answer = _ask("sbatch", *fixed, f"--array={indices}", *request.options(), *options, str(script))
    return answer.strip().partition(";")[0]


def queued(name: str) -> dict[TaskId, str]:
    """The state of each task of the arrays of that name which waits, runs or is about to end."""
    lines = _ask("squeue", "--noheader", "--array", f"--name={name}", "--format=%F_%K|%T").splitlines()
    parts = (line.strip().partition("|") for line in lines)
    return {task: state for text, _, state in parts if (task := TaskId.parse(text)) is not None}


def accounts(tasks: Collection[TaskId]) -> dict[TaskId, Account]:
    """What the accounting says about tasks; nothing about those that it does not know (yet)."""
    found: dict[TaskId, Account] = {}
    ordered = sorted(tasks)
    for start in range(0, len(ordered), _TASKS_A_QUESTION):
        names = ",".join(map(str, ordered[start : start + _TASKS_A_QUESTION]))
        columns = "--format=JobID,State,ExitCode,ElapsedRaw,NodeList"
        answer = _ask("sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={names}", columns)
        found |= dict(_accounts(answer.splitlines()))
    return found


def _accounts(lines: Iterable[str]) -> Iterable[tuple[TaskId, Account]]:
    for line in lines:
        text, state, exit_code, seconds, node = line.strip().split("|")
        task = TaskId.parse(text)
        if task is not None:
            code, _, number = exit_code.partition(":")
            returncode = -int(number) if int(number or 0) else int(code)
            yield task, Account(state.split()[0] if state else "", returncode, float(seconds or 0), node)


def cancel(name: str) -> None:
    """Ends all tasks of the arrays of that name: SIGTERM, and SIGKILL after Slurm's own patience (KillWait)."""
    _ask("scancel", f"--name={name}")


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(
            command, env=_environment(), capture_output=True, text=True, timeout=_ANSWER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SlurmError(f"{command[0]} does not work: {error}") from error
    if done.returncode:
        ended = signal.Signals(-done.returncode).name if done.returncode < 0 else f"exit code {done.returncode}"
        raise SlurmError(f"`{' '.join(command)}` ended with {ended}: {done.stderr.strip() or 'it says nothing'}")
    return done.stdout


def _environment() -> dict[str, str]:
    """Without what Slurm tells a job about itself: nsl may run in one, and its workers would inherit its limits."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SLURM_") or name == "SLURM_CONF"}
