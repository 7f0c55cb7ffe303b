"""``inferencebench deliver``: hand a finished run to the deployment that signs and publishes."""

from __future__ import annotations

from typing import Annotated

import typer

from inferencebench_pipeline.cli.terminal import say
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.inbox import deliver as deliver_run
from inferencebench_pipeline.runs import RunStore
from inferencebench_pipeline.settings import Settings


class NoInboxError(PermanentError):
    """Nobody said where runs are delivered to."""


def deliver(
    run: Annotated[str, typer.Argument(help="A run id of this host's store.")],
    to: Annotated[
        str | None,
        typer.Option(help="The inbox: a path or an fsspec URL. Default: INFERENCEBENCH_INBOX."),
    ] = None,
) -> None:
    """Copy a finished run into another deployment's inbox; the new_runs sensor takes it from there.

    This host needs no token and no identity: signing and publishing happen where the inbox is.
    """
    settings = Settings.from_environment()
    inbox = to or settings.inbox
    if inbox is None:
        raise NoInboxError("no inbox: give --to, or set INFERENCEBENCH_INBOX")
    deliver_run(RunStore(settings.store).run(run), inbox)
    say(f"delivered {run} to {inbox}")
