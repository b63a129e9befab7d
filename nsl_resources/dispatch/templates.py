"""The dispatcher's side of templates, the processes that have imported a stack of modules and fork workers."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from nsl_resources.dispatch import template
from nsl_resources.dispatch.jobs import ModuleCommand, WorkerJob, WorkerResult, never_started
from nsl_resources.dispatch.process import Start, Supervisor, base_environment, in_fresh_process

_ANSWER_BYTES: Final = 2**16
_ANSWER_S: Final = 60.0
_TAIL_BYTES: Final = 2_000
# Arrow's allocator would start a thread, which a fork loses; without it, freed memory is returned at the next use.
_NO_ALLOCATOR_THREAD: Final = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}


@dataclass(frozen=True)
class Kind:
    """What jobs must have in common to be forked from one template."""

    modules: tuple[str, ...]
    flags: tuple[str, ...]
    environment: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, job: WorkerJob) -> "Kind":
        """The kind of a job that preloads something."""
        environment = frozenset(base_environment(job).items())
        return cls(job.preload, ModuleCommand.parse(job.argv).flags, environment)


class Templates:
    """The templates of one run, each started for the first job that wants it."""

    def __init__(self) -> None:
        self._templates: dict[Kind, Template] = {}

    def of(self, job: WorkerJob) -> "Template | None":
        """The template that a job is to be forked from; None for a fresh interpreter."""
        if not job.preload or sys.platform != "linux":
            return None
        kind = Kind.of(job)
        if kind not in self._templates:
            self._templates[kind] = Template(kind)
        return self._templates[kind]

    def close(self) -> None:
        """Ends them all."""
        for started in self._templates.values():
            started.close()


class Template:
    """One template. Its `fileno` becomes readable when it has done importing: then `hear` it, once."""

    def __init__(self, kind: Kind) -> None:
        self._modules = ", ".join(kind.modules)
        self.is_importing = True
        self._n_asked = 0
        self._failure: tuple[str, str] | None = None
        self._unfit: str | None = None
        self._is_warned = self._is_killed = False
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
        with theirs:
            self._process = subprocess.Popen(
                template.command(kind.flags, theirs.fileno(), kind.modules),
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                env=dict(kind.environment) | _NO_ALLOCATOR_THREAD,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
            )

    def fileno(self) -> int:
        """The descriptor to wait on while it is importing."""
        return self._control.fileno()

    def hear(self) -> None:
        """Takes in how the imports went."""
        self.is_importing = False
        try:
            greeting = self._receive()
        except OSError:
            self._unfit = f"importing ended with exit code {self._process.wait()}: {self._last_words()}"
            return
        self._unfit = greeting.get("unfit")
        if "failed" in greeting:
            self._failure = greeting["failed"], greeting["traceback"].strip()

    def abandon(self, why: str) -> None:
        """Ends its imports."""
        self.is_importing = False
        self._unfit = why
        self._kill()

    def failed(self, job: WorkerJob) -> WorkerResult | None:
        """The result of a job whose modules cannot be imported; None if they can."""
        if self._failure is None:
            return None
        module, trace = self._failure
        return never_started(job.label, f"cannot import {module}", trace)

    def warning(self) -> str | None:
        """Once: why workers get fresh interpreters although they name modules to preload."""
        if self._unfit is None or self._is_warned:
            return None
        self._is_warned = True
        return f"workers import {self._modules} themselves, each for itself, which takes longer: {self._unfit}"

    def launch(self, start: Start) -> Supervisor:
        """Forks the supervisor and worker of a job; in a fresh process where that cannot be."""
        if self._unfit is None:
            try:
                return self._fork(start)
            except OSError as error:
                self._unfit = f"no more could be forked ({error})"
        return in_fresh_process(start)

    def close(self) -> None:
        """Ends it, and what its imports may have started."""
        self._kill()
        self._control.close()
        self._output.close()

    def _kill(self) -> None:
        self._is_killed = True
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _fork(self, start: Start) -> Supervisor:
        command = ModuleCommand.parse(start.job.argv)
        arguments, environment = list(command.arguments), dict(start.environment)
        order = template.Order(command.module, arguments, start.folder, environment, start.scratch, start.grace_s)
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                answer = self._ask({"order": vars(order)}, theirs.fileno(), start.log.fileno())
        except BaseException:
            ours.close()  # ends a worker of which we did not hear
            raise
        return Supervisor(ours, answer["pid"], partial(self._wait, answer["pid"]))

    def _wait(self, pid: int) -> int:
        """The exit code of a supervisor. If the template was killed, so was the supervisor that has not reported."""
        try:
            return int(self._ask({"wait": pid})["status"])
        except OSError:
            return -signal.SIGKILL

    def _ask(self, request: dict[str, Any], *descriptors: int) -> dict[str, Any]:
        if self._is_killed:
            raise ConnectionError("the template has ended")
        self._n_asked += 1
        message = {"number": self._n_asked, **request}
        socket.send_fds(self._control, [json.dumps(message).encode()], descriptors)
        try:
            while (answer := self._receive())["number"] != self._n_asked:
                continue  # the answer to a question that was interrupted
        except TimeoutError:  # somebody has stopped it: without answers its workers cannot be told apart
            self._kill()
            raise
        if "error" in answer:
            raise OSError(answer["error"])
        return answer

    def _receive(self) -> dict[str, Any]:
        """The next message. OSError if there is none: the template has ended, or hangs."""
        self._control.settimeout(_ANSWER_S)
        message = self._control.recv(_ANSWER_BYTES)
        if not message:
            raise ConnectionError("the template has ended")
        return dict(json.loads(message))

    def _last_words(self) -> str:
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - _TAIL_BYTES))
        return self._output.read().decode(errors="replace").strip()
