"""The `nsl` command. Results on stdout, progress on stderr."""

import sys

import click

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


def _ended_by_click(error: click.ClickException | click.exceptions.Exit | click.Abort) -> int:
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.Abort):
        show_error("interrupted: what was measured is stored. The same command goes on from there.")
        return INTERRUPTED
    error.show()
    return error.exit_code
