"""The commands ``verify`` and ``explain``: anybody can check a record, and see why it holds."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from inferencebench_pipeline.cli.targets import Target, resolve
from inferencebench_pipeline.cli.terminal import console, say, say_json
from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.settings import Settings, user_trust_store
from inferencebench_pipeline.trust import (
    IdentityPolicy,
    Verdict,
    policy_for,
    require_signer,
    verify_envelope,
)

_MARKS = {"passed": "✓", "failed": "✗", "skipped": "–"}
# A file on disk belongs to no organisation, and a rule of a policy needs one.
_ANYBODY = "anybody"

TargetArgument = Annotated[
    str,
    typer.Argument(
        help="An envelope.json, a run directory, or hf://datasets/ORG/NAME\\[/envelope.json]\\[@revision]"
    ),
]
RevisionOption = Annotated[
    str | None, typer.Option(help="The branch, tag or commit of an hf:// target. Default: main.")
]
PolicyOption = Annotated[
    Path | None,
    typer.Option(help="The identity policy, which says who may sign for which organisation."),
]
TrustOption = Annotated[
    Path | None,
    typer.Option(help="A Sigstore ClientTrustConfig. Default: the pinned public-good instance."),
]
OrganisationOption = Annotated[
    str | None,
    typer.Option(
        help="The namespace that the signer must be allowed for. Default: that of the target."
    ),
]
IssuerOption = Annotated[
    str | None,
    typer.Option(help="Also require that exactly this issuer has vouched for the signer."),
]
IdentityOption = Annotated[
    str | None, typer.Option(help="Also require exactly this identity in the certificate.")
]
OfflineOption = Annotated[
    bool,
    typer.Option("--offline", help="Refuse a target that needs a network. Nothing else needs one."),
]


def verify(
    target: TargetArgument,
    revision: RevisionOption = None,
    policy: PolicyOption = None,
    trust_config: TrustOption = None,
    organisation: OrganisationOption = None,
    require_issuer: IssuerOption = None,
    require_identity: IdentityOption = None,
    offline: OfflineOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
    corpus: Annotated[
        bool,
        typer.Option(
            "--corpus",
            help="Check every result of the corpus TARGET by its one signed statement.",
        ),
    ] = False,
) -> None:
    """Verify a record: its content hash, signature, signer, inclusion proof and metrics.

    The hash and the metrics are derived again. Without a policy, --require-issuer and
    --require-identity together name the signer to believe.
    The exit code tells what was found:
    """
    deployment = deployment_with(policy, trust_config)
    if corpus:
        # A corpus is read by libraries that a single record does without.
        from inferencebench_pipeline.cli.corpus_verifying import read_corpus, verify_corpus

        results = read_corpus(
            target, deployment, organisation=organisation, revision=revision, offline=offline
        )
        covered = verify_corpus(
            results,
            trust=deployment.trust(),
            policy=_policy(deployment, results.organisation, require_issuer, require_identity),
            issuer=require_issuer,
            identity=require_identity,
            as_json=as_json,
        )
        sys.exit(0 if covered else 1)
    found = resolve(target, deployment.hub, revision=revision, offline=offline)
    verdict = judged(deployment, found, organisation, require_issuer, require_identity)
    if as_json:
        say_json(verdict.model_dump_json(indent=2))
    else:
        _print_lines(found, verdict)
    sys.exit(0 if verdict.ok else 1)


def explain(
    target: TargetArgument,
    revision: RevisionOption = None,
    policy: PolicyOption = None,
    trust_config: TrustOption = None,
    organisation: OrganisationOption = None,
    require_issuer: IssuerOption = None,
    require_identity: IdentityOption = None,
    offline: OfflineOption = False,
) -> None:
    """Verify a record, and show each question, its answer and the evidence as a tree.

    The exit codes are those of verify:
    """
    deployment = deployment_with(policy, trust_config)
    found = resolve(target, deployment.hub, revision=revision, offline=offline)
    verdict = judged(deployment, found, organisation, require_issuer, require_identity)
    # Loaded here, so that the command verify starts without it.
    from inferencebench_pipeline.cli.explaining import verdict_tree

    console().print(verdict_tree(found.where, verdict))
    sys.exit(0 if verdict.ok else 1)


def judged(
    deployment: Deployment,
    target: Target,
    organisation: str | None,
    issuer: str | None,
    identity: str | None,
) -> Verdict:
    """Return the verdict on a target, by the policy or else by the signer that the options name."""
    whose = organisation or target.organisation
    verdict = verify_envelope(
        target.envelope,
        trust=deployment.trust(),
        policy=_policy(deployment, whose, issuer, identity),
        organisation=whose,
        traces=target.traces,
    )
    return require_signer(verdict, issuer=issuer, identity=identity)


def _policy(
    deployment: Deployment, organisation: str | None, issuer: str | None, identity: str | None
) -> IdentityPolicy:
    # Only the two together name a signer: an identity means nothing without who vouched for it.
    if deployment.settings.policy is None and issuer is not None and identity is not None:
        return policy_for(issuer=issuer, identity=identity, organisation=organisation or _ANYBODY)
    return deployment.policy()


def deployment_with(policy: Path | None, trust_config: Path | None) -> Deployment:
    """Return the deployment of the environment, with the files that the options name.

    Without a named trust configuration, the user's own trust root counts, or else the shipped one:
    never one below INFERENCEBENCH_HOME or the current directory.
    """
    settings = Settings.from_environment()
    deployment = Deployment(
        settings.model_copy(
            update={
                "trust_config": trust_config or settings.trust_config,
                "policy": policy or settings.policy,
                "trust_store": user_trust_store(),
            }
        )
    )
    if trust_config is not None:
        deployment = replace(deployment, trust_named_by="--trust-config")
    return deployment if policy is None else replace(deployment, policy_named_by="--policy")


def _print_lines(target: Target, verdict: Verdict) -> None:
    say(target.where)
    for check in verdict.checks:
        mark = _MARKS[str(check.status)]
        say(f"  {mark} {check.name}: {check.detail}")
    if verdict.signer is not None:
        say(f"signed by {verdict.signer.identity} ({verdict.signer.issuer})")
    if verdict.log is not None:
        say(f"log index {verdict.log.index}")
    say(f"{'VERIFIED' if verdict.ok else 'REJECTED'}: {verdict.reason}")
