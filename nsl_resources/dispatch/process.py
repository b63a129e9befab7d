"""One worker of this host: started through its supervisor, followed, stopped, and told of when it has ended."""

import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from nsl_resources.admission import processes
from nsl_resources.admission.host import host_memory_mib
from nsl_resources.dispatch import supervisor
from nsl_resources.dispatch.jobs import WorkerJob, WorkerResult
from nsl_resources.dispatch.messages import Failure, Message, MessageFile, pipes_environment
from nsl_resources.dispatch.outcome import Ending, count_kernel_kills, reason
from nsl_resources.dispatch.scratch import make_scratch

_THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_TAIL_BYTES: Final = 8_000
_TAIL_LINES: Final = 40


@dataclass(frozen=True)
class Start:
    """What starting a worker takes.

    Attributes:
        job: what to run.
        environment: variables that only this worker has, beside `base_environment`.
        log: receives stdout and stderr.
        scratch: the worker's folder in the temporary folder, which its supervisor removes if nobody else is left to.
        grace_s: seconds between SIGINT and SIGTERM, and between SIGTERM and SIGKILL, when it is stopped.
    """

    job: WorkerJob
    environment: Mapping[str, str]
    log: BinaryIO
    scratch: str
    grace_s: float

    @property
    def folder(self) -> str:
        """The working folder."""
        return str(self.job.cwd or Path.cwd())


@dataclass(frozen=True)
class Supervisor:
    """A started supervisor: our end of the channel, its process id, and what waits for its end (its exit code)."""

    channel: socket.socket
    pid: int
    wait: Callable[[], int]


def base_environment(job: WorkerJob) -> dict[str, str]:
    """The environment that all workers of jobs like this one have in common."""
    threads = dict.fromkeys(_THREAD_VARIABLES, str(max(1, job.cores)))
    return {**os.environ, "PYTHONFAULTHANDLER": "1", **job.env, **threads}


def in_fresh_process(start: Start) -> Supervisor:
    """Starts a supervisor that executes the job's command."""
    ours, theirs = socket.socketpair()
    with theirs:
        common = theirs.fileno(), os.getpid(), start.grace_s, start.scratch
        process = subprocess.Popen(
            supervisor.command("start", *common, start.folder, *start.job.argv),
            stdin=subprocess.DEVNULL,
            stdout=start.log,
            stderr=start.log,
            env={**base_environment(start.job), **start.environment},
            start_new_session=True,
            pass_fds=[theirs.fileno()],
        )
    return Supervisor(ours, process.pid, process.wait)


class WorkerProcess:
    """A started job. Its `fileno` becomes readable when it has ended with all its descendants.

    Args:
        job: what to run.
        grace_s: seconds between SIGINT and SIGTERM, and between SIGTERM and SIGKILL, when it is stopped.
        environment: variables that its lease adds.
        launch: starts its supervisor.
    """

    def __init__(
        self,
        job: WorkerJob,
        grace_s: float,
        environment: Mapping[str, str],
        launch: Callable[[Start], Supervisor] = in_fresh_process,
    ) -> None:
        self.job = job
        self._folder = make_scratch()
        try:
            self._start(grace_s, environment, launch)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)  # its supervisor may be about it too
            raise

    def _start(self, grace_s: float, environment: Mapping[str, str], launch: Callable[[Start], Supervisor]) -> None:
        job = self.job
        self._log_path = job.log_path or self._folder / "output.log"
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        self._log_start = self._log_path.stat().st_size if self._log_path.exists() else 0
        self._messages = MessageFile(self._folder)
        self._failure: Failure | None = None
        self._n_kernel_kills = count_kernel_kills()
        self._peak_mib = 0.0
        self._seen: list[processes.Process] = []
        self._stopped_for: str | None = None
        self._report: list[str] = []
        own = {**environment, **pipes_environment(self._folder, job.label, job.payload)}
        self._start_s = time.monotonic()
        with self._log_path.open("ab") as log:
            self._supervisor = launch(Start(job, own, log, str(self._folder), grace_s))
        self._channel = self._supervisor.channel

    @property
    def pid(self) -> int:
        """The supervisor's process id: it lives as long as anything of the job does."""
        return self._supervisor.pid

    @property
    def is_overdue(self) -> bool:
        """Whether the job has used up its time."""
        return self.job.timeout_s is not None and time.monotonic() - self._start_s > self.job.timeout_s

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._channel.fileno()

    def messages(self) -> Iterator[Message]:
        """What the worker has said since the last call."""
        for message in self._messages.read():
            if isinstance(message, Failure):
                self._failure = message
            yield message

    def observe(self, tree: Iterable[processes.Process]) -> None:
        """Takes note of the job's processes at this moment."""
        self._seen = [process for process in tree if process.pid != self.pid]
        self._peak_mib = max(self._peak_mib, sum(process.memory_mib for process in self._seen))

    def stop(self, stopped_for: str) -> None:
        """Asks the worker to end, with growing insistence. Returns at once; asking again changes nothing."""
        if self._stopped_for is None:
            self._stopped_for = stopped_for
            self._say(b"s")

    def kill(self) -> None:
        """Ends the worker and everything it started, now."""
        self._stopped_for = self._stopped_for or "cancelled"
        self._say(b"k")

    def finish(self) -> WorkerResult:
        """The result, once `fileno` is readable; waits for the end otherwise."""
        self._report = self._report or self._channel.recv(256).decode().split()  # once, also if interrupted here
        exit_code = self._supervisor.wait()
        self._channel.close()
        seconds = time.monotonic() - self._start_s
        status, was_stopped, cpu_s, peak_kib = self._report or [str(exit_code), "0", "nan", "0"]
        self._kill_what_is_left()
        self._peak_mib = max(self._peak_mib, int(peak_kib) * _kib_to_mib())
        returncode = int(status)
        ending = self._ending(returncode, was_stopped == "1")
        tail = self._tail()
        shutil.rmtree(self._folder)
        host = platform.node()
        return WorkerResult(
            self.job.label, returncode, reason(ending), seconds, float(cpu_s), self._peak_mib, tail, host
        )

    def _say(self, word: bytes) -> None:
        with suppress(OSError):  # it has just ended by itself
            self._channel.send(word)

    def _ending(self, returncode: int, was_stopped: bool) -> Ending:
        is_kill = returncode == -signal.SIGKILL
        return Ending(
            returncode,
            self._stopped_for if was_stopped else None,
            self._failure,
            self._peak_mib,
            host_memory_mib() if is_kill else float("inf"),
            count_kernel_kills() - self._n_kernel_kills,
        )

    def _kill_what_is_left(self) -> None:
        """Only if the supervisor was killed before its worker: the processes last seen, if they are still those."""
        for process in self._seen:
            if processes.is_running(process.pid, process.start):
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)

    def _tail(self) -> str:
        with self._log_path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_start, size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])


def _kib_to_mib() -> float:
    """What one unit of `ru_maxrss` is in MiB: KiB, but bytes on macOS."""
    return 1 / 1024 if sys.platform != "darwin" else 1 / 1024**2
