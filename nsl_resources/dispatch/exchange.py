"""What a dispatcher and the tasks of a batch system tell each other: files of the storage folder, which all see.

dispatch/RUN/owner.json                     whose run it is
dispatch/RUN/heartbeat                      a number that grows while the dispatcher lives
dispatch/RUN/ARRAY/task.sh                  what the batch system runs
dispatch/RUN/ARRAY/INDEX/job.json           the dispatcher's order
dispatch/RUN/ARRAY/INDEX/messages.jsonl     what the worker says, as Dagster Pipes messages
dispatch/RUN/ARRAY/INDEX/result.json        how it ended; appears whole
dispatch/RUN/ARRAY/INDEX/output.log         output of the process that watches the worker
"""

import json
import platform
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from nsl_resources.admission import processes
from nsl_resources.artifacts import atomic_write_text
from nsl_resources.dispatch.jobs import WorkerJob, WorkerResult
from nsl_resources.dispatch.messages import Message, as_line
from nsl_resources.dispatch.node import NodeBudget

_FOLDER: Final = "dispatch"
_OWNER, _HEARTBEAT = "owner.json", "heartbeat"
_BEATS_IN_SILENCE: Final = 10


@dataclass(frozen=True)
class Owner:
    """The process that dispatches a run."""

    host: str
    pid: int
    start: str

    @classmethod
    def this_process(cls) -> "Owner":
        """Us."""
        me = processes.myself()
        return cls(_host(), me.pid, me.start)

    def is_running(self) -> bool | None:
        """Whether it lives; None where that cannot be seen from this host."""
        return processes.is_running(self.pid, self.start) if self.host == _host() else None


def _host() -> str:
    return f"{platform.node()}/{processes.boot_id()}/{processes.pid_namespace()}"


class Exchange:
    """The folder of one run, made and in the end removed by its dispatcher."""

    def __init__(self, folder: Path, silence_s: float) -> None:
        self.folder, self._silence_s = folder, silence_s
        self._n_beats, self._next_beat_s = 0, 0.0

    @classmethod
    def create(cls, storage: Path, kind: str, silence_s: float) -> "Exchange":
        """A new one; its tasks give up when they have seen no heartbeat for `silence_s`."""
        made = cls(storage.resolve() / _FOLDER / f"nsl-{kind}-{secrets.token_hex(6)}", silence_s)
        atomic_write_text(made.folder / _OWNER, json.dumps(asdict(Owner.this_process())))
        made.beat()
        return made

    @property
    def name(self) -> str:
        """The name of the run, unlike that of any other."""
        return self.folder.name

    @property
    def token(self) -> Path:
        """A file that every node sees which sees the storage folder."""
        return self.folder / _OWNER

    def beat(self) -> None:
        """Shows that the dispatcher lives; cheap to call often."""
        if time.monotonic() >= self._next_beat_s:
            self._n_beats += 1
            atomic_write_text(self.folder / _HEARTBEAT, str(self._n_beats))
            self._next_beat_s = time.monotonic() + self._silence_s / _BEATS_IN_SILENCE

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)  # a file may be open on a node; the next run tries again

    def left_behind(self) -> Iterator["Exchange"]:
        """Other runs of this kind whose dispatcher is gone."""
        kind = self.name.rpartition("-")[0]
        for folder in self.folder.parent.glob(f"{kind}-*"):
            other = Exchange(folder, self._silence_s)
            if folder != self.folder and other._is_left_behind(self._clock_s()):
                yield other

    def _is_left_behind(self, now_s: float) -> bool:
        is_running = self._owner_is_running()
        return now_s - self._clock_s() > self._silence_s if is_running is None else not is_running

    def _owner_is_running(self) -> bool | None:
        try:
            return Owner(**json.loads(self.token.read_text(encoding="utf-8"))).is_running()
        except FileNotFoundError:  # being made, or half removed
            return None

    def _clock_s(self) -> float:
        """The last heartbeat by the clock of the filesystem."""
        try:
            return (self.folder / _HEARTBEAT).stat().st_mtime
        except FileNotFoundError:
            return self.folder.stat().st_mtime


@dataclass(frozen=True)
class Order:
    """What a task is asked to run, within which budget of its node, and for how long without a dispatcher."""

    job: WorkerJob
    budget: NodeBudget
    silence_s: float

    def write(self, task: Path) -> None:
        """Writes it into the folder of a task."""
        job = {**asdict(self.job), "preload": ()}
        content = {"job": job, "budget": asdict(self.budget), "silence_s": self.silence_s}
        atomic_write_text(task / "job.json", json.dumps(content, default=str))

    @classmethod
    def read(cls, task: Path) -> "Order":
        """Reads that of a task."""
        content = json.loads((task / "job.json").read_text(encoding="utf-8"))
        return cls(_job(content["job"]), NodeBudget(**content["budget"]), content["silence_s"])


def _job(content: dict[str, Any]) -> WorkerJob:
    paths = {name: Path(content[name]) for name in ("cwd", "log_path") if content[name] is not None}
    return WorkerJob(**{**content, **paths, "preload": ()})


class Silence:
    """A task's ear for the heartbeat of its run. Clocks of different machines are never compared."""

    def __init__(self, run: Path, silence_s: float) -> None:
        self._path, self._silence_s = run / _HEARTBEAT, silence_s
        self._heard, self._changed_s, self._next_look_s = "", time.monotonic(), 0.0

    def is_too_long(self) -> bool:
        """Whether the dispatcher must be dead; cheap to ask often."""
        now_s = time.monotonic()
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + self._silence_s / _BEATS_IN_SILENCE
            heard = self._read()
            if heard != self._heard:
                self._heard, self._changed_s = heard, now_s
        return now_s - self._changed_s > self._silence_s

    def _read(self) -> str:
        try:
            return self._path.read_text(encoding="utf-8")
        except OSError:
            return self._heard  # nothing heard


def say(task: Path, message: Message) -> None:
    """Adds a message of the worker, or about it."""
    with (task / "messages.jsonl").open("a", encoding="utf-8") as file:
        file.write(as_line(message) + "\n")


def write_result(task: Path, result: WorkerResult) -> None:
    """Writes how a task's job ended."""
    atomic_write_text(task / "result.json", json.dumps(asdict(result)))


def read_result(task: Path) -> WorkerResult | None:
    """How it ended; None if it has not."""
    try:
        content = json.loads((task / "result.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return WorkerResult(**{field.name: content[field.name] for field in fields(WorkerResult)})
