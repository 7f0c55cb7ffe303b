"""The command ``takedown``: it removes our links from the cards of a model or organisation."""

from __future__ import annotations

from typing import Annotated

import typer

from inferencebench_pipeline.cli.terminal import say
from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.settings import Settings
from inferencebench_pipeline.takedown import take_down


def takedown(
    target: Annotated[str, typer.Argument(help="A model such as org/name, or an organisation.")],
    reason: Annotated[str, typer.Option(help="The reason, which the public register shows.")],
    requested_by: Annotated[
        str, typer.Option(help="The name of the person who asked, as it may be shown publicly.")
    ],
    org: Annotated[
        str | None,
        typer.Option("--org", help="Our Hub namespace. Default: INFERENCEBENCH_ORGANISATION."),
    ] = None,
) -> None:
    """Remove our links from model cards, close our pull requests there, and never link again."""
    settings = Settings.from_environment()
    if org is not None:
        settings = settings.model_copy(update={"organisation": org})
    deployment = Deployment(settings)
    take_down(
        deployment.hub(),
        settings.store,
        target=target,
        reason=reason,
        requested_by=requested_by,
        organisation=deployment.require_organisation(),
        on_stage=say,
    )
