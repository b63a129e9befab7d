"""The process that has imported a stack of modules and forks workers from itself, on request of the dispatcher.

Started by `command`. Its socket to the dispatcher, `control`, keeps the bounds of messages, which are JSON:

- first it says `{}` (ready), `{"unfit": WHY}` (forking would not be safe), or `{"failed": MODULE, "traceback": ...}`;
  after the last two it ends.
- `{"number": N, "order": ...}` with two descriptors, the worker's channel and its log, asks for a worker (`Order`).
  Answer: `{"number": N, "pid": SUPERVISOR}` or `{"number": N, "error": WHY}`.
- `{"number": N, "wait": SUPERVISOR}` asks for the exit code of a supervisor that ends.
  Answer: `{"number": N, "status": CODE}`.
- its end: the dispatcher has ended, so this process ends, and its supervisors with their workers.

`template → supervisor (forked, then executes `supervisor.watch`) → worker (forked, executes nothing)`
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from nsl_resources.dispatch import supervisor
from nsl_resources.dispatch.module_run import flush, run_module

_TICK_MS: Final = 1_000
_REQUEST_BYTES: Final = 2**20
_TRACEBACK_CHARACTERS: Final = 8_000
_THREADS_END_S: Final = 2.0


@dataclass(frozen=True)
class Order:
    """The worker that is asked for."""

    module: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]
    scratch: str
    grace_s: float


def command(flags: Sequence[str], control: int, modules: Sequence[str]) -> list[str]:
    """The command that starts a template of these modules. It finds this package where the dispatcher has it."""
    root = str(Path(__file__).resolve().parents[2])
    find = f"import sys; sys.flags.safe_path or sys.path.pop(0); sys.path.append({root!r})"
    code = f"{find}; from nsl_resources.dispatch import template; sys.path.pop(); template.main(sys.argv[1:])"
    return [sys.executable, *flags, "-c", code, str(control), str(os.getpid()), *modules]


def main(arguments: list[str]) -> NoReturn:
    """Imports the modules and serves; in a worker, runs its module."""
    control_fd, dispatcher, *modules = arguments
    control = socket.socket(fileno=int(control_fd))
    control.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # may have been ignored where nsl was started
    end_with(int(dispatcher))
    greeting = prepare(modules)
    send(control, greeting)
    if greeting:
        os._exit(0)
    end_with(None)
    become(serve(control, int(dispatcher)))


def end_with(dispatcher: int | None) -> None:
    """While modules are imported, nobody listens to `control`: lets the kernel end us with the dispatcher.

    Only so long: this signal comes also when merely the dispatcher's thread ends that started us.
    """
    supervisor.load_prctl()(supervisor.PR_SET_PDEATHSIG, 0 if dispatcher is None else signal.SIGKILL)
    if dispatcher is not None and os.getppid() != dispatcher:
        os._exit(0)


# ---- importing


def prepare(modules: Sequence[str]) -> dict[str, str]:
    """Imports the modules; the greeting."""
    for module in modules:
        try:
            importlib.import_module(module)
        except (Exception, SystemExit):  # noqa: BLE001  (whatever a module raises is told to the dispatcher)
            return {"failed": module, "traceback": traceback.format_exc()[-_TRACEBACK_CHARACTERS:]}
    rehearse()
    obstacle = what_forbids_forking()
    if obstacle is not None:
        return {"unfit": obstacle}
    flush()  # else every worker would write it again
    gc.collect()
    gc.freeze()  # collections in the workers then leave the shared pages of these objects alone
    return {}


def rehearse() -> None:
    """Forks once for nothing: libraries that know of forking, such as OpenBLAS, end their threads at that moment.

    They start them again when they are needed.
    """
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def what_forbids_forking() -> str | None:
    """Why a fork of this process would not work like a fresh one; None if nothing forbids it."""
    give_up_s = time.monotonic() + _THREADS_END_S
    while len(names := thread_names()) > 1:
        if time.monotonic() > give_up_s:
            return f"importing started {len(names) - 1} threads that a fork would lose ({', '.join(sorted(names))})"
        time.sleep(0.01)  # a thread that was joined is listed for a moment longer
    if any(file.startswith("/dev/nvidia-uvm") for file in open_files()):
        return "importing started CUDA, which does not survive a fork"
    return None


def thread_names() -> list[str]:
    """The names of this process's threads."""
    names = []
    for task in Path("/proc/self/task").iterdir():
        try:
            names.append((task / "comm").read_text().strip())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    return names


def open_files() -> list[str]:
    """What the descriptors of this process lead to."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:
            continue  # the one that lists them
    return found


# ---- serving


def serve(control: socket.socket, dispatcher: int) -> Order:
    """Answers the dispatcher until it ends. Returns only in a forked worker."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        is_asked = bool(poll.poll(_TICK_MS))
        if os.getppid() != dispatcher:
            os._exit(0)
        if not is_asked:
            continue
        text, descriptors, _, _ = socket.recv_fds(control, _REQUEST_BYTES, 2)
        if not text:
            os._exit(0)
        request = json.loads(text)
        if "wait" in request:
            answer = exit_code(request["wait"])
        else:
            order = Order(**request["order"])
            forked = fork(control, order, *descriptors)
            if forked is None:
                return order
            answer = forked
        send(control, {"number": request["number"], **answer})


def exit_code(pid: int) -> dict[str, Any]:
    """The answer to the question for the exit code of a supervisor."""
    try:
        return {"status": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}
    except ChildProcessError as error:  # it was asked for before
        return {"error": str(error)}


def send(control: socket.socket, answer: dict[str, Any]) -> None:
    """Answers; ends this process if nobody listens any more."""
    try:
        control.send(json.dumps(answer).encode())
    except OSError:
        os._exit(0)


def fork(control: socket.socket, order: Order, channel: int, log: int) -> dict[str, Any] | None:
    """Forks a supervisor, which forks the worker. The answer, and nothing of it stays open here; None in the worker."""
    template = os.getpid()
    answer: dict[str, Any]
    try:
        child = os.fork()
        answer = {"pid": child}
    except OSError as error:
        child, answer = -1, {"error": f"a fork failed: {error}"}
    if child == 0:
        control.close()
        become_supervisor(template, order, channel, log)
        return None
    os.close(channel)
    os.close(log)
    return answer


def become_supervisor(template: int, order: Order, channel: int, log: int) -> None:
    """In the forked child: forks the worker and turns into its supervisor. Returns in the worker only.

    Executing gives back the memory of the modules, which would be counted twice otherwise.
    """
    try:
        os.setsid()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        worker = supervisor.fork_worker(channel)
        if worker:
            os.set_inheritable(channel, True)
            watch = supervisor.command("watch", channel, template, order.grace_s, order.scratch, str(worker))
            os.execv(watch[0], watch)
    except OSError as error:
        give_up(order, error)


def give_up(order: Order, error: OSError) -> NoReturn:
    """Ends a worker that cannot start."""
    os.write(2, f"cannot start {order.module} in {order.folder}: {error}\n".encode())
    os._exit(supervisor.CANNOT_START)


# ---- the worker


def become(order: Order) -> NoReturn:
    """Turns into the worker."""
    try:
        os.chdir(order.folder)
    except OSError as error:
        give_up(order, error)
    os.environ.update(order.environment)
    run_module(order.module, order.arguments, order.folder)
