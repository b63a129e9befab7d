"""The small process between the dispatcher and one worker. It starts the worker and leaves nothing of it behind.

Started by `command`, with an interpreter without site-packages: by the dispatcher as `start`, by a template (see
`template.py`) as `watch`. Imports only what starts fast, nothing of nsl, and has no threads, so that forking is safe.
It shares a socket, the channel, with the dispatcher:

- from the dispatcher: `s` stop (SIGINT, after the grace SIGTERM, after the grace again SIGKILL), `k` kill now, and
  its end: the dispatcher has died, in whatever way, so kill now, and remove the worker's scratch folder.
- to the dispatcher, once everything has ended: `STATUS WAS_STOPPED CPU_S PEAK_KIB`, where STATUS is the exit code of
  the worker or minus its signal.

As "child subreaper" it inherits whatever the worker's descendants leave behind, also those that changed session.
The worker itself is killed by the kernel should the supervisor die (`PR_SET_PDEATHSIG`, which fires when the *thread*
that forked ends: the only thread here lives as long as the process).
"""

import _signal  # type: ignore[import-not-found]  # the C part of `signal`, which costs 5 ms less
import os
import select
import sys
import time

TYPE_CHECKING = False  # as in `typing`, which would be slow to import, like `collections.abc`
if TYPE_CHECKING:
    from collections.abc import Callable

SIGINT, SIGKILL, SIGTERM = 2, 9, 15  # as everywhere in POSIX; importing `signal` costs 5 ms
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LEFTOVER_GRACE_S = 0.3  # for what a worker that ended well leaves running, such as a resource tracker
GIVE_UP_S = 10.0  # a process that survives SIGKILL this long hangs in the kernel
TICK_S = 1.0
CANNOT_START = 127  # as a shell says it


def command(entry: str, channel: int, parent: int, grace_s: float, scratch: str, *rest: str) -> list[str]:
    """The command that runs `start` or `watch` here; imported, not run as a script, so that bytecode is cached."""
    here, name = os.path.split(__file__)
    code = f"import sys; sys.path.append({here!r}); import {name[:-3]} as s; s.{entry}(sys.argv[1:])"
    return [sys.executable, "-I", "-S", "-c", code, str(channel), str(parent), str(grace_s), scratch, *rest]


def start(arguments: list[str]) -> None:
    """Starts a program as the worker and watches it. Arguments: channel, parent, grace, scratch, folder, program."""
    channel, parent, grace_s, scratch, folder, *program = arguments
    worker = fork_worker(int(channel))
    if worker == 0:
        become(program, folder)
    watch([channel, parent, grace_s, scratch, str(worker)])


def watch(arguments: list[str]) -> None:
    """Watches a worker that this process forked, to its end. Arguments: channel, parent, grace, scratch, worker."""
    channel, parent, grace_s, scratch, worker = arguments
    running = Watch(int(worker), int(channel), int(parent), float(grace_s))
    running.until_worker_ends()
    running.until_nothing_is_left()
    if not running.report():
        remove_folder(scratch)
    os._exit(0)  # without the interpreter's slow good-bye: nothing is buffered here


def fork_worker(channel: int) -> int:
    """Forks the worker: 0 there, in a session of its own and without the channel; its process id here."""
    prctl = load_prctl()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    supervisor = os.getpid()
    worker = os.fork()
    if worker == 0:
        prctl(PR_SET_PDEATHSIG, SIGKILL)
        if os.getppid() != supervisor:  # it died before the kernel was asked to tell us
            os._exit(CANNOT_START)
        os.close(channel)
        os.setsid()
    return worker


def load_prctl() -> "Callable[[int, int], object]":
    """Linux's `prctl`; elsewhere a function that does nothing."""
    if sys.platform != "linux":
        return lambda *_: None
    import ctypes

    libc = ctypes.CDLL(None)
    return lambda option, value: libc.prctl(option, value, 0, 0, 0)


def become(program: list[str], folder: str) -> None:
    """In the forked child: turns into the program. Never returns."""
    try:
        # Under nohup, or in the background of a script, SIGINT is ignored, and that is inherited.
        _signal.signal(SIGINT, _signal.SIG_DFL)
        os.chdir(folder)
        os.execvp(program[0], program)
    except OSError as error:
        os.write(2, f"cannot start {program[0]} in {folder}: {error}\n".encode())
    finally:
        os._exit(CANNOT_START)


class Watch:
    """A running worker: listens to the dispatcher, reaps what ends, sends the signals that are due."""

    def __init__(self, worker: int, channel: int, parent: int, grace_s: float) -> None:
        self.worker, self.channel, self.parent, self.grace_s = worker, channel, parent, grace_s
        self.status: int | None = None
        self.was_stopped = self.is_killing = False
        self.cpu_s, self.peak_kib = 0.0, 0
        self.due: list[tuple[float, int]] = []
        self.poll = select.poll()
        self.poll.register(channel, select.POLLIN)
        self.worker_fd = open_pidfd(worker)
        if self.worker_fd is not None:
            self.poll.register(self.worker_fd, select.POLLIN)

    def until_worker_ends(self) -> None:
        """Waits for the worker; passes on stops."""
        while self.reap() and self.status is None:
            self.listen(self.pause_s())
            self.send_due()

    def until_nothing_is_left(self) -> None:
        """Waits a moment for what the worker left running, then kills it."""
        start_s = time.monotonic()
        if self.worker_fd is not None:
            self.poll.unregister(self.worker_fd)
        while self.reap():
            waited_s = time.monotonic() - start_s
            if waited_s > GIVE_UP_S:
                return
            if self.is_killing or waited_s > LEFTOVER_GRACE_S:
                self.kill_all()
            self.listen(0.01)

    def report(self) -> bool:
        """Tells the dispatcher; False if it does not live any more."""
        line = f"{self.status} {int(self.was_stopped)} {self.cpu_s:.3f} {self.peak_kib}\n"
        try:
            os.write(self.channel, line.encode())
        except OSError:
            return False
        return True

    def pause_s(self) -> float:
        """Seconds until something is due even if nothing is heard."""
        longest_s = TICK_S if self.worker_fd is not None else 0.05
        return min([longest_s, *(max(0.0, at_s - time.monotonic()) for at_s, _ in self.due)])

    def reap(self) -> bool:
        """Collects all that have ended; whether any child is left."""
        while True:
            try:
                pid, wait_status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self.cpu_s += usage.ru_utime + usage.ru_stime
            self.peak_kib = max(self.peak_kib, usage.ru_maxrss)
            if pid == self.worker:
                self.status = os.waitstatus_to_exitcode(wait_status)

    def listen(self, seconds: float) -> None:
        """Waits for the worker's end or a word of the dispatcher."""
        ready = [fd for fd, _ in self.poll.poll(seconds * 1000)]
        is_orphan = os.getppid() != self.parent  # also where a forked copy of it keeps the channel open
        word = os.read(self.channel, 1) if self.channel in ready else None
        if is_orphan or word in {b"", b"k"}:
            self.is_killing = self.was_stopped = True
            self.due = []
            self.kill_all()
            if word == b"":
                self.poll.unregister(self.channel)
        elif word == b"s" and not self.was_stopped:
            self.was_stopped = True
            now_s = time.monotonic()
            signals = (SIGINT, SIGTERM, SIGKILL)
            self.due = [(now_s + i * self.grace_s, signal) for i, signal in enumerate(signals)]
            self.send_due()

    def send_due(self) -> None:
        """Sends the signals whose time has come to the worker's group; the last one to everything."""
        while self.due and self.status is None and time.monotonic() >= self.due[0][0]:
            _, signal = self.due.pop(0)
            self.is_killing = signal == SIGKILL
            if self.is_killing:
                self.kill_all()
            else:
                signal_group(self.worker, signal)

    def kill_all(self) -> None:
        """SIGKILL to the worker, its group and every descendant."""
        if self.status is None:
            signal_group(self.worker, SIGKILL)
        for pid in descendants(os.getpid()):
            signal_one(pid, SIGKILL)


def remove_folder(folder: str) -> None:
    """Removes a folder of files; what cannot be removed is left to the next run."""
    try:
        for name in os.listdir(folder):  # noqa: PTH208
            os.unlink(f"{folder}/{name}")  # noqa: PTH108
        os.rmdir(folder)  # noqa: PTH106
    except OSError:
        return


def open_pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the child ends; None where the system has none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def signal_group(leader: int, signal: int) -> None:
    """Signals a process and its group; before the child made its group, only the child."""
    try:
        os.killpg(leader, signal)
    except ProcessLookupError:
        signal_one(leader, signal)


def signal_one(pid: int, signal: int) -> None:
    """Signals one process if it is still there."""
    try:
        os.kill(pid, signal)
    except ProcessLookupError:
        return


def descendants(root: int) -> list[int]:
    """All processes below `root`, from `/proc`; where there is none, none."""
    parents = dict(filter(None, map(parent_of, process_ids())))
    below = {root}
    while new := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= new
    return sorted(below - {root})


def process_ids() -> list[int]:
    """The ids of all processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()] if sys.platform == "linux" else []  # noqa: PTH208


def parent_of(pid: int) -> tuple[int, int] | None:
    """(pid, its parent); None if it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  (pathlib is slow to import)
            text = file.read()
    except OSError:
        return None
    return pid, int(text[text.rindex(b")") + 2 :].split()[1])
