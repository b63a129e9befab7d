"""The `nsl` command: check, init, plan, run, status, sql. Results on stdout, progress on stderr."""

import sys

from nsl_assets.cli.commands import nsl
from nsl_assets.cli.output import show_error
from nsl_assets.errors import NslError

INTERRUPTED = 130


def main() -> int:
    """Run the command line. A mistake of the user is one message, without a traceback unless `--debug`."""
    try:
        nsl(standalone_mode=False)
    except SystemExit as stop:
        return int(stop.code or 0)
    except Exception as error:
        return _failed(error)
    return 0


def _failed(error: Exception) -> int:
    import click

    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.Abort):
        show_error("interrupted: what was measured is stored. The same command goes on from there.")
        return INTERRUPTED
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if "--debug" in sys.argv or not isinstance(error, NslError | OSError):
        raise error
    show_error(str(error))
    return 1
