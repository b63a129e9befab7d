"""The `nsl` command. Results on stdout, progress on stderr."""

import signal
import sys
import threading
from types import FrameType

import click

from nsl_assets.cli.commands import nsl
from nsl_assets.cli.output import show_error
from nsl_assets.errors import NslError

INTERRUPTED = 130


def main() -> int:
    """Run the command line. A mistake of the user is one message, without a traceback unless `--debug`."""
    _stay_stoppable()
    try:
        nsl(standalone_mode=False)
    except SystemExit as stop:
        return int(stop.code or 0)
    except (click.ClickException, click.exceptions.Exit, click.Abort) as error:
        return _ended_by_click(error)
    except (NslError, OSError) as error:
        if "--debug" in sys.argv:
            raise
        show_error(str(error))
        return 1
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        show_error(f"unexpected {type(error).__name__}: {error}\nWhat was measured is stored. --debug shows more.")
        return 1
    return 0


def _stay_stoppable() -> None:
    """Where SIGINT is ignored, as in the background of a shell, SIGTERM still ends the command.

    Dagster gives SIGTERM what SIGINT has, again after each execution: it would be ignored too.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end_unless_interrupt)


def _end_unless_interrupt(number: int, _frame: FrameType | None) -> None:
    if number != signal.SIGINT:
        raise KeyboardInterrupt


def _ended_by_click(error: click.ClickException | click.exceptions.Exit | click.Abort) -> int:
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.Abort):
        show_error("interrupted: what was measured is stored. The same command goes on from there.")
        return INTERRUPTED
    error.show()
    return error.exit_code
