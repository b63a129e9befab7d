"""Runs a module in a forked interpreter as `python -m` runs it in a fresh one, from `sys.argv` to the exit code.

One thing differs. A fresh interpreter takes its modules apart before it ends. Here that would copy every page that is
shared with the template: 0.4-1.3 s with scvi. So, as in the forked processes of `multiprocessing`, threads are
joined, exit handlers run and buffers are written, and then the process ends at once.
"""

import atexit
import builtins
import ctypes
import gc
import os
import runpy
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Final, NoReturn

_FLUSH_FAILED: Final = 120  # the interpreter's own exit code for it


def run_module(module: str, arguments: Sequence[str], folder: str) -> NoReturn:
    """Turns this process into `python -m module *arguments`, started in `folder`, which it is in."""
    if not sys.flags.safe_path:
        sys.path.insert(0, folder)
    flags = ["-P"] if sys.flags.safe_path else []
    sys.orig_argv[:] = [sys.executable, *flags, "-m", module, *arguments]
    sys.argv[:] = ["-m", *arguments]
    draw_anew()
    sys.modules["__main__"] = empty_main()
    leave(outcome(module))


def draw_anew() -> None:
    """Numpy's global state starts from the system's entropy in a fresh interpreter; Python's own does so after a fork.

    Torch's starts from the same constant in every interpreter.
    """
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


def empty_main() -> ModuleType:
    """The module `__main__` as an interpreter begins with it."""
    module = ModuleType("__main__")
    vars(module).update(__builtins__=builtins, __annotations__={})
    return module


def outcome(module: str) -> int:
    """Runs the module; its exit code, or minus the signal that an interrupted interpreter ends itself with."""
    # The module itself may be among those that were preloaded; it runs once more, as `__main__`.
    warnings.filterwarnings("ignore", ".* found in sys.modules after import of package", RuntimeWarning)
    try:
        runpy._run_module_as_main(module)  # type: ignore[attr-defined]  # what `python -m` itself calls
    except SystemExit as error:
        return code_of(error)
    except BaseException as error:  # noqa: BLE001  (told as the interpreter tells it)
        own_frame = error.__traceback__
        error = error.with_traceback(own_frame and own_frame.tb_next)
        sys.excepthook(type(error), error, error.__traceback__)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def code_of(error: SystemExit) -> int:
    """The exit code that `sys.exit` asks for; what is not a number is a message."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    sys.stderr.write(f"{error.code}\n")
    return 1


def leave(code: int) -> NoReturn:
    """Ends this process with everything put in order."""
    threading._shutdown()  # type: ignore[attr-defined]  # both as `multiprocessing` calls them in its children
    atexit._run_exitfuncs()
    vars(sys.modules["__main__"]).clear()  # a file that it left open is written
    gc.collect()
    is_written = flush()
    if code == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code if is_written else _FLUSH_FAILED)


def flush() -> bool:
    """Writes what is buffered for stdout and stderr, by Python and by libraries; False if that fails."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
    except OSError:
        return False
    return bool(ctypes.CDLL(None).fflush(None) == 0)
