"""``inferencebench sign``, ``publish`` and ``card``: from a measured run to a public record."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.envelope.canonical import parse_envelope
from inferencebench_pipeline.hub.backlink import backlink
from inferencebench_pipeline.hub.card import render_card
from inferencebench_pipeline.hub.naming import dataset_repo_id
from inferencebench_pipeline.hub.publish import publish as publish_run
from inferencebench_pipeline.runs import RunDirectory, RunFile, RunStore
from inferencebench_pipeline.settings import Settings
from inferencebench_pipeline.trust.signing import sign_run

RunArgument = Annotated[str, typer.Argument(help="The run id, as `inferencebench run` printed it.")]
OrgOption = Annotated[
    str | None, typer.Option("--org", help="Hub namespace; INFERENCEBENCH_ORGANISATION otherwise.")
]


class Destination(StrEnum):
    """Where a record can be published to."""

    HF = "hf"


def sign(run_id: RunArgument, org: OrgOption = None) -> None:
    """Sign a run's envelope and log the signature; a run that is signed stays as it is."""
    deployment, run = _open(run_id, org)
    deployment.require_organisation()
    verdict = sign_run(run, deployment.signer(), verify=deployment.verifier())
    _print(f"signed: {verdict.reason}")
    _print(f"next: inferencebench publish {run_id} --to hf")


def publish(
    run_id: RunArgument,
    to: Annotated[  # noqa: ARG001  (one place so far)
        Destination, typer.Option(help="Where to publish.")
    ] = Destination.HF,
    org: OrgOption = None,
    update_model_card: Annotated[
        bool, typer.Option("--update-model-card", help="Also link back from the model's card.")
    ] = False,
) -> None:
    """Publish a signed run as a dataset: verified first, one commit, read back and compared."""
    deployment, run = _open(run_id, org)
    publish_run(
        deployment.hub(),
        run,
        organisation=deployment.require_organisation(),
        verify=deployment.verifier(),
        on_stage=_print,
    )
    if update_model_card:
        receipt = backlink(deployment.hub(), run)
        _print(f"Model card: {receipt.mode} {receipt.url or receipt.reason or ''}".rstrip())


def card(run_id: RunArgument, org: OrgOption = None) -> None:
    """Print the dataset card of a signed run, as publishing would render it."""
    deployment, run = _open(run_id, org)
    stored = run.read(RunFile.ENVELOPE)
    envelope = parse_envelope(stored)
    verdict = deployment.verifier()(stored, run.read(RunFile.TRACES))
    rendered = render_card(
        envelope,
        dataset_repo_id(deployment.require_organisation(), envelope),
        verified=verdict.ok,
        endpoint=deployment.hub_endpoint,
    )
    print(rendered.decode(), end="")


def _open(run_id: str, organisation: str | None) -> tuple[Deployment, RunDirectory]:
    settings = Settings.from_environment()
    if organisation is not None:
        settings = replace(settings, organisation=organisation)
    return Deployment.from_settings(settings), RunStore(settings.store).run(run_id)


def _print(line: str) -> None:
    Console(highlight=False, soft_wrap=True).print(line, markup=False)
