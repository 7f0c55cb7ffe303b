"""The command ``deliver``: it hands a finished run to the deployment that publishes it."""

from __future__ import annotations

from typing import Annotated

import typer

from inferencebench_pipeline.cli.terminal import say
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.inbox import deliver as deliver_run
from inferencebench_pipeline.runs import RunStore
from inferencebench_pipeline.settings import Settings


class NoInboxError(PermanentError):
    """Neither ``--to`` nor the environment names an inbox."""


def deliver(
    run: Annotated[str, typer.Argument(help="The id of a run in the store of this host.")],
    to: Annotated[
        str | None,
        typer.Option(help="The inbox, as a path or an fsspec URL. Default: INFERENCEBENCH_INBOX."),
    ] = None,
) -> None:
    """Copy a finished run into the inbox of the deployment that signs and publishes it.

    The sensor new_runs there takes the run in. This host needs no token and no identity, because
    the other deployment signs and publishes.
    """
    settings = Settings.from_environment()
    inbox = to or settings.inbox
    if inbox is None:
        raise NoInboxError("no inbox is named; give --to, or set INFERENCEBENCH_INBOX")
    deliver_run(RunStore(settings.store).run(run), inbox)
    say(f"delivered {run} to {inbox}")
