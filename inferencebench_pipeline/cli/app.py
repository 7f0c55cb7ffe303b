"""``inferencebench``: run, sign, publish and verify benchmarks from a shell.

Exit codes, the same for every command: 0 done or verified; 1 the record was rejected; 2 the input
or configuration is wrong; 3 something is down, try again later.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from inferencebench_pipeline.cli import (
    comparing,
    crawling,
    delivering,
    evaluations,
    measuring,
    publishing,
    specs,
    takedown,
    verifying,
)
from inferencebench_pipeline.cli.terminal import say_error
from inferencebench_pipeline.errors import PermanentError, RetryableError

EXIT_OK, EXIT_REJECTED, EXIT_USAGE, EXIT_OUTAGE = 0, 1, 2, 3

app = typer.Typer(
    name="inferencebench",
    help="LLM inference benchmarks as signed, published records that anyone can re-derive.",
    epilog="Exit codes: 0 done or verified, 1 rejected, 2 wrong input, 3 outage: try again.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(specs.app, name="spec")
app.command("run")(measuring.run)
app.command("search")(measuring.search)
app.command("replay")(measuring.replay)
app.command("deliver")(delivering.deliver)
app.command("sign")(publishing.sign)
app.command("dev-key")(publishing.dev_key)
app.command("publish")(publishing.publish)
app.command("card")(publishing.card)
app.command("takedown")(takedown.takedown)
app.command("verify")(verifying.verify)
app.command("explain")(verifying.explain)
app.command("compare")(comparing.compare)
app.command("crawl")(crawling.crawl)
app.add_typer(crawling.webhooks, name="webhooks")
app.add_typer(evaluations.app, name="evals")


def main() -> NoReturn:
    """Run the command line; an error becomes one line on stderr and its exit code."""
    try:
        app(standalone_mode=True)
    except RetryableError as error:
        _fail(error, EXIT_OUTAGE)
    except PermanentError as error:
        _fail(error, EXIT_USAGE)
    sys.exit(EXIT_OK)


def _fail(error: Exception, code: int) -> NoReturn:
    say_error(error)
    sys.exit(code)
