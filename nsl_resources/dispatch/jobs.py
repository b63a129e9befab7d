"""What a dispatcher is given and what it gives back: jobs, results, and the protocol every dispatcher follows."""

import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from nsl_assets.errors import InputError
from nsl_resources.admission.needs import Need
from nsl_resources.dispatch.messages import Message

OUT_OF_MEMORY_EXIT_CODE: Final = 42
"""The exit code of a worker that ran out of memory and knows it (MemoryError, CUDA out of memory)."""


@dataclass(frozen=True)
class ModuleCommand:
    """A command `(sys.executable, [-P], "-m", module, *arguments)`."""

    flags: tuple[str, ...]
    module: str
    arguments: tuple[str, ...]

    @classmethod
    def parse(cls, argv: Sequence[str]) -> "ModuleCommand":
        """Reads such a command; InputError for any other."""
        match tuple(argv):
            case (sys.executable, "-P", "-m", module, *arguments):
                return cls(("-P",), module, tuple(arguments))
            case (sys.executable, "-m", module, *arguments):
                return cls((), module, tuple(arguments))
        raise InputError(
            f"a job with `preload` runs {list(argv)}, expected [{sys.executable!r}, '-P', '-m', MODULE, ...]:"
            " only a module of this interpreter can be run where others are imported already. Leave `preload` empty."
        )


@dataclass(frozen=True)
class WorkerJob:
    """One process to run.

    Attributes:
        label: names the job in messages and results; unique among the jobs of one `run`.
        argv: program and arguments.
        memory_mib: memory to reserve while it runs.
        cores: cores to reserve, and the fixed number of threads it is told to use.
        n_gpus: GPUs to reserve, the only ones that it sees.
        gpu_memory_mib: memory to reserve on each of them.
        payload: JSON values that the worker reads as `open_dagster_pipes().extras`.
        env: added to the environment of the dispatcher.
        cwd: working folder; by default the dispatcher's.
        timeout_s: the job is stopped after this many seconds of running; importing what it preloads is not counted.
        log_path: receives stdout and stderr; by default a temporary file of which only the tail is kept.
        preload: installed modules that are imported once for all jobs of a run that name the same; the job is forked
            from the process that did so. `argv` must then be a `ModuleCommand`. Empty: a fresh interpreter.
            On Linux; elsewhere every job gets a fresh interpreter.
        after: label of a job of the same run. This one waits until that has ended, well or not, and is not repeated.
        expected_s: how long it is expected to run; None: not known. The ledger starts long ones early.

    Raises:
        InputError: `preload` is given for a command that does not run a Python module.
    """

    label: str
    argv: Sequence[str]
    memory_mib: int
    cores: int = 1
    payload: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    timeout_s: float | None = None
    log_path: Path | None = None
    preload: tuple[str, ...] = ()
    n_gpus: int = 0
    gpu_memory_mib: int = 0
    after: str | None = None
    expected_s: float | None = None

    def __post_init__(self) -> None:
        if self.preload:
            ModuleCommand.parse(self.argv)

    @property
    def need(self) -> Need:
        """What the job leases of host and GPUs."""
        return Need(self.memory_mib, self.cores, self.n_gpus, self.gpu_memory_mib)


@dataclass(frozen=True)
class WorkerResult:
    """How a job ended.

    Attributes:
        label: the job's label.
        returncode: exit code, or minus the signal; None if the job never started.
        reason: "succeeded", "exit 3", "killed by signal SIGKILL", "out of memory", "timeout",
            "cancelled", or "cannot import scvi" for a module of `preload`. On other nodes also "refused" (the node can
            never admit it) and "lost" (the node, or the worker with all that watched it, went away too often).
        seconds: from the start of the process to the end of its last descendant.
        cpu_seconds: of the worker and all its descendants, without what was preloaded; NaN if somebody killed its
            supervisor.
        peak_memory_mib: largest resident memory of the process tree: exact for one process, sampled for several.
            What was preloaded counts as if it were not shared.
        stderr_tail: the last lines of its output, stdout and stderr together.
        host: the node that it ran on; empty if it never started.
    """

    label: str
    returncode: int | None
    reason: str
    seconds: float
    cpu_seconds: float
    peak_memory_mib: float
    stderr_tail: str
    host: str = ""

    @property
    def is_success(self) -> bool:
        """Whether the worker ended with exit code 0 by itself."""
        return self.reason == "succeeded"


class Dispatcher(Protocol):
    """Runs jobs somewhere."""

    def run(
        self,
        jobs: Iterable[WorkerJob],
        on_result: Callable[[WorkerResult], None] | None = None,
        on_message: Callable[[str, Message], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
        repeat: Callable[[WorkerResult], WorkerJob | None] | None = None,
        *,
        renew: Callable[[Sequence[WorkerJob]], Iterable[WorkerJob]] | None = None,
    ) -> Generator[WorkerResult, None, None]:
        """Yields one result each time that a job has ended, in the order in which they end.

        Callbacks run in the caller's thread. `on_message` gets the job's label and what the worker said.
        `on_result` is called before the result is yielded, and for what is cancelled because the caller stopped
        iterating. Once `should_stop` returns True, what runs is stopped and what waits is cancelled.
        `repeat` is asked before `on_result`, unless the run is being stopped: the job that it answers with (of the
        same label, such as one with more memory) joins those that wait, at once. It is "refused" where it can never
        be admitted.
        `renew` is asked after the caller has taken in that a worker ended well, about the jobs that wait. What it
        answers replaces those of the same labels, which keep their places in the line, or are "refused". Jobs that a
        cluster has already been given are not asked about: they keep their needs.
        However the iteration ends, no worker outlives it: close the iterator (`contextlib.closing`) where an
        exception may keep it alive.
        """
        ...


def require_unique_labels(jobs: Iterable[WorkerJob]) -> None:
    """InputError where two jobs of one run have the same label."""
    seen: set[str] = set()
    for job in jobs:
        if job.label in seen:
            raise InputError(f"two jobs are labelled {job.label!r}: labels of one run are unique")
        seen.add(job.label)


def never_started(label: str, reason: str = "cancelled", why: str = "") -> WorkerResult:
    """The result of a job of which no process was started."""
    return WorkerResult(label, None, reason, 0.0, 0.0, 0.0, why)
