"""The commands ``verify`` and ``explain``: anybody can check a record, and see why it holds."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from inferencebench_pipeline.cli.signer_options import (
    IdentityOption,
    IdentityRegexpOption,
    IssuerOption,
    IssuerRegexpOption,
    OwnerOption,
    RepoOption,
    SignerOptions,
    chosen_policy,
)
from inferencebench_pipeline.cli.targets import Target, resolve
from inferencebench_pipeline.cli.terminal import console, say, say_json
from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.settings import Settings, user_data, user_trust_store
from inferencebench_pipeline.trust import (
    Verdict,
    verify_envelope,
)

_MARKS = {"passed": "✓", "failed": "✗", "skipped": "–"}

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
    owner: OwnerOption = None,
    repo: RepoOption = None,
    certificate_identity: IdentityOption = None,
    certificate_identity_regexp: IdentityRegexpOption = None,
    certificate_oidc_issuer: IssuerOption = None,
    certificate_oidc_issuer_regexp: IssuerRegexpOption = None,
    offline: OfflineOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
    corpus: Annotated[
        bool,
        typer.Option(
            "--corpus",
            help="Check every result of the corpus TARGET, and the leaderboard's files, by its one "
            "signed statement.",
        ),
    ] = False,
    accept_older: Annotated[
        bool,
        typer.Option(
            "--accept-older",
            help="Of a corpus: take a statement that is older than one you have verified before.",
        ),
    ] = False,
    accept_other_rules: Annotated[
        bool,
        typer.Option(
            "--accept-other-rules",
            help="Of a corpus: take a statement that was made under another policy or trust root "
            "than yours.",
        ),
    ] = False,
) -> None:
    """Verify a record: its content hash, signature, signer, inclusion proof and metrics.

    The hash and the metrics are derived again. Say whose signature
    to believe by --owner, --repo or --certificate-identity, or by a policy.
    The exit code tells what was found:
    """
    signer = SignerOptions(
        owner=owner,
        repo=repo,
        identity=certificate_identity,
        identity_regexp=certificate_identity_regexp,
        issuer=certificate_oidc_issuer,
        issuer_regexp=certificate_oidc_issuer_regexp,
    )
    deployment = deployment_with(policy, trust_config)
    if corpus:
        # A corpus is read by libraries that a single record does without.
        from inferencebench_pipeline.cli.corpus_targets import read_corpus
        from inferencebench_pipeline.cli.corpus_verifying import (
            ACCEPT_OLDER,
            ACCEPT_OTHER_RULES,
            verify_corpus,
        )

        results = read_corpus(
            target, deployment, organisation=organisation, revision=revision, offline=offline
        )
        code = verify_corpus(
            results,
            trust=deployment.trust(),
            policy=chosen_policy(deployment, signer),
            endpoint=deployment.settings.hub_endpoint,
            seen_folder=user_data() / "statements",
            accept={
                *(ACCEPT_OLDER if accept_older else ()),
                *(ACCEPT_OTHER_RULES if accept_other_rules else ()),
            },
            as_json=as_json,
        )
        sys.exit(code)
    found = resolve(target, deployment.hub, revision=revision, offline=offline)
    verdict = judged(deployment, found, organisation, signer)
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
    owner: OwnerOption = None,
    repo: RepoOption = None,
    certificate_identity: IdentityOption = None,
    certificate_identity_regexp: IdentityRegexpOption = None,
    certificate_oidc_issuer: IssuerOption = None,
    certificate_oidc_issuer_regexp: IssuerRegexpOption = None,
    offline: OfflineOption = False,
) -> None:
    """Verify a record, and show each question, its answer and the evidence as a tree.

    The exit codes are those of verify:
    """
    signer = SignerOptions(
        owner=owner,
        repo=repo,
        identity=certificate_identity,
        identity_regexp=certificate_identity_regexp,
        issuer=certificate_oidc_issuer,
        issuer_regexp=certificate_oidc_issuer_regexp,
    )
    deployment = deployment_with(policy, trust_config)
    found = resolve(target, deployment.hub, revision=revision, offline=offline)
    verdict = judged(deployment, found, organisation, signer)
    # Loaded here, so that the command verify starts without it.
    from inferencebench_pipeline.cli.explaining import verdict_tree

    console().print(verdict_tree(found.where, verdict))
    sys.exit(0 if verdict.ok else 1)


def judged(
    deployment: Deployment, target: Target, organisation: str | None, signer: SignerOptions
) -> Verdict:
    """Return the verdict on a target, by the policy and the signer that the options name."""
    return verify_envelope(
        target.envelope,
        trust=deployment.trust(),
        policy=chosen_policy(deployment, signer),
        organisation=organisation or target.organisation,
        traces=target.traces,
    )


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
