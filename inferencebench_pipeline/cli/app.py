"""The command line ``inferencebench``: run, sign, publish and verify benchmarks from a shell.

The exit codes are the same for every command: 0 when it is done or verified, 1 when the record is
rejected, 2 when the input or the configuration is wrong, and 3 when a service is down.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from inferencebench_pipeline.cli.commands import COMMANDS, LazyCommands, unloaded
from inferencebench_pipeline.cli.extras import missing_extra
from inferencebench_pipeline.cli.terminal import say_error
from inferencebench_pipeline.errors import PermanentError, RetryableError

EXIT_OK, EXIT_REJECTED, EXIT_USAGE, EXIT_OUTAGE = 0, 1, 2, 3

app = typer.Typer(
    name="inferencebench",
    help="Run LLM inference benchmarks, and publish and verify them as signed records.",
    epilog="Exit codes: 0 done or verified, 1 rejected, 2 wrong input, 3 outage (try again later).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    cls=LazyCommands,
)
for command in COMMANDS:
    app.command(command.name, help=command.summary)(unloaded)


def main() -> NoReturn:
    """Run the command line; an error becomes one line on stderr and its exit code."""
    try:
        app(standalone_mode=True)
    except RetryableError as error:
        _fail(error, EXIT_OUTAGE)
    except PermanentError as error:
        _fail(error, EXIT_USAGE)
    except ModuleNotFoundError as error:
        _fail(missing_extra(error), EXIT_USAGE)
    sys.exit(EXIT_OK)


def _fail(error: Exception, code: int) -> NoReturn:
    say_error(error)
    sys.exit(code)
