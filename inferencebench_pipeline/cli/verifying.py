"""``inferencebench verify``: anyone checks a record, from a path or straight from the Hub."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.hub.client import Hub, Repo
from inferencebench_pipeline.hub.crawl import fetch_file
from inferencebench_pipeline.hub.errors import HubNotFoundError
from inferencebench_pipeline.runs import RunFile
from inferencebench_pipeline.settings import Settings
from inferencebench_pipeline.trust.verdict import Verdict

_HUB_TARGET = re.compile(
    r"hf://datasets/(?P<organisation>[^/@]+)/(?P<name>[^/@]+)(?:/(?P<file>[^@]+))?(?:@(?P<rev>.+))?"
)
_MARKS = {"passed": "✓", "failed": "✗", "skipped": "–"}


class TargetError(PermanentError):
    """What was asked to be verified is not there, or is not something that can be verified."""


@dataclass(frozen=True)
class Target:
    """The bytes to verify, and where they came from."""

    where: str
    organisation: str | None
    envelope: bytes
    traces: bytes | None


def verify(
    target: Annotated[
        str,
        typer.Argument(
            help="An envelope.json, a run directory, or "
            "hf://datasets/ORG/NAME[/envelope.json][@revision]"
        ),
    ],
    policy: Annotated[
        Path | None, typer.Option(help="Identity policy: who may sign for which organisation.")
    ] = None,
    trust_config: Annotated[
        Path | None,
        typer.Option(help="Sigstore ClientTrustConfig; the public-good instance when not given."),
    ] = None,
    organisation: Annotated[
        str | None,
        typer.Option(help="Namespace the signer must be allowed for; from the hf:// target."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Re-derive the content hash and the metrics, check signature, identity and inclusion proof.

    Exit codes: 0 verified, 1 rejected (the reason is printed), 2 wrong input, 3 outage.
    """
    deployment = _deployment(policy, trust_config)
    found = resolve(target, deployment.hub)
    judge = deployment.judge()
    verdict = judge(found.envelope, found.traces, organisation or found.organisation)
    console = Console(highlight=False, soft_wrap=True)
    if as_json:
        print(verdict.model_dump_json(indent=2))
    else:
        _explain(console, found, verdict)
    sys.exit(0 if verdict.ok else 1)


def _deployment(policy: Path | None, trust_config: Path | None) -> Deployment:
    configured = Deployment.from_settings(Settings.from_environment())
    return replace(
        configured,
        trust_config=trust_config or configured.trust_config,
        policy_path=policy or configured.policy_path,
    )


def resolve(target: str, hub: Callable[[], Hub]) -> Target:
    """Return the bytes that ``target`` names, read from disk or pinned to a commit of the Hub.

    Raises:
        TargetError: there is nothing to verify there.
    """
    if target.startswith("hf://"):
        return _from_hub(target, hub())
    path = Path(target)
    if path.is_dir():
        path = path / RunFile.ENVELOPE.value
    try:
        envelope = path.read_bytes()
    except OSError as error:
        raise TargetError(
            f"cannot read {path} ({error.strerror}); give an envelope.json, a run directory, or "
            "hf://datasets/ORG/NAME"
        ) from error
    traces = path.with_name(RunFile.TRACES.value)
    return Target(
        where=str(path),
        organisation=None,
        envelope=envelope,
        traces=traces.read_bytes() if traces.is_file() else None,
    )


def _from_hub(target: str, hub: Hub) -> Target:
    match = _HUB_TARGET.fullmatch(target)
    if match is None:
        raise TargetError(
            f"{target!r} is not of the form hf://datasets/ORG/NAME[/envelope.json][@revision]"
        )
    repo_id = f"{match['organisation']}/{match['name']}"
    file = match["file"] or RunFile.ENVELOPE.value
    asked = match["rev"] or "main"
    revision = hub.head(Repo("dataset", repo_id), asked).commit
    if revision is None:
        raise TargetError(f"{repo_id} has no commit at {asked}; there is nothing to verify")
    try:
        traces: bytes | None = fetch_file(hub, repo_id, revision, RunFile.TRACES.value)
    except HubNotFoundError:
        traces = None
    return Target(
        where=f"{hub.endpoint}/datasets/{repo_id}/blob/{revision}/{file}",
        organisation=match["organisation"],
        envelope=fetch_file(hub, repo_id, revision, file),
        traces=traces,
    )


def _explain(console: Console, target: Target, verdict: Verdict) -> None:
    console.print(f"{target.where}", markup=False)
    for check in verdict.checks:
        mark = _MARKS[str(check.status)]
        console.print(f"  {mark} {check.name}: {check.detail}", markup=False)
    if verdict.signer is not None:
        console.print(
            f"signed by {verdict.signer.identity} ({verdict.signer.issuer})", markup=False
        )
    if verdict.log is not None:
        console.print(f"log index {verdict.log.index}", markup=False)
    console.print(f"{'VERIFIED' if verdict.ok else 'REJECTED'}: {verdict.reason}", markup=False)
