"""The command line ``inferencebench``: run, sign, publish and verify benchmarks from a shell.

Every command ends with 0 when it is done, with 1 when a record is rejected, with 2 when the input
or the configuration is wrong, and with 3 when a service is down. Those of ``verify`` tell more.
"""

from __future__ import annotations

import atexit
import gc
import sys
from typing import Annotated, NoReturn

import typer

from inferencebench_pipeline import __version__
from inferencebench_pipeline.cli.commands import COMMANDS, LazyCommands, unloaded
from inferencebench_pipeline.cli.extras import missing_extra
from inferencebench_pipeline.cli.terminal import say, say_error
from inferencebench_pipeline.errors import PermanentError, RetryableError

# The numbers of cli/verification/exit_codes.py, which would load the whole verifier for the list of
# commands.
_DONE, _WRONG_INPUT, _OUTAGE = 0, 2, 3

_RARELY = 200_000
"""New objects between two searches for cycles: more than loading any command's libraries makes."""

app = typer.Typer(
    name="inferencebench",
    help="Run LLM inference benchmarks, and publish and verify them as signed records.",
    epilog="Exit codes: 0 done or verified, 1 rejected, 2 wrong input, 3 outage (try again later).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    cls=LazyCommands,
)


def _print_version(asked: bool) -> None:
    if asked:
        # The verifier's version says more than the package's: it changes with the rules.
        from inferencebench_pipeline.trust import VERIFIER_VERSION

        say(f"inferencebench {__version__}, verifier {VERIFIER_VERSION}")
        raise typer.Exit


@app.callback()
def _all_commands(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version of the package and of the verifier, and exit.",
        ),
    ] = False,
) -> None:
    pass


for command in COMMANDS:
    app.command(command.name, help=command.summary)(unloaded)


def main() -> NoReturn:
    """Run the command line; an error becomes one line on stderr and its exit code."""
    # What is loaded stays until the process gives all of it back. To search it for cycles, again
    # and again while it is loaded and thrice at the end, is a third of what `verify` costs.
    gc.set_threshold(_RARELY)
    atexit.register(_end_without_search)
    try:
        app(standalone_mode=True)
    except RetryableError as error:
        _fail(error, _OUTAGE)
    except PermanentError as error:
        _fail(error, _WRONG_INPUT)
    except ModuleNotFoundError as error:
        _fail(missing_extra(error), _WRONG_INPUT)
    sys.exit(_DONE)


def _end_without_search() -> None:
    # DuckDB's bindings call what is left at the end a leak, on stderr; it is searched for there.
    if "duckdb" not in sys.modules:
        gc.freeze()


def _fail(error: Exception, code: int) -> NoReturn:
    say_error(error)
    sys.exit(code)
