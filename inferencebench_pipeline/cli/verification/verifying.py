"""The commands ``verify`` and ``explain``: anybody can check a record, and see why it holds."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from inferencebench_pipeline.cli.policy.signer_options import (
    IdentityOption,
    IdentityRegexpOption,
    IssuerOption,
    IssuerRegexpOption,
    OwnerOption,
    PolicyFromOption,
    RepoOption,
    SignerOptions,
    chosen_policy,
)
from inferencebench_pipeline.cli.targets import Target, resolve
from inferencebench_pipeline.cli.terminal import console, say_json
from inferencebench_pipeline.cli.verification.place import with_expectations, with_place
from inferencebench_pipeline.cli.verification.verdict_page import print_page
from inferencebench_pipeline.cli.verification.verdict_report import VerdictReport, report_on
from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.settings import Settings, user_data, user_trust_store
from inferencebench_pipeline.trust import (
    IdentityPolicy,
    TrustRoot,
    Verdict,
    policy_source,
    trust_source,
    verify_envelope,
)

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
NoTracesOption = Annotated[
    bool,
    typer.Option(
        "--no-traces",
        help="Do not look for the traces. A record that binds them is then incomplete.",
    ),
]
ExpectModelOption = Annotated[
    str | None, typer.Option(help="Refuse a record of another model than this, as ORG/NAME.")
]
ExpectRunOption = Annotated[
    str | None, typer.Option(help="Refuse a record of another run than the one with this id.")
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
    policy_from: PolicyFromOption = None,
    offline: OfflineOption = False,
    no_traces: NoTracesOption = False,
    expect_model: ExpectModelOption = None,
    expect_run: ExpectRunOption = None,
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
        policy_from=policy_from,
        offline=offline,
    )
    deployment = deployment_with(policy, trust_config)
    if corpus:
        # A corpus is read by libraries that a single record does without.
        from inferencebench_pipeline.cli.verification.corpus_targets import read_corpus
        from inferencebench_pipeline.cli.verification.corpus_verifying import (
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
            command=shlex.join(["inferencebench", *sys.argv[1:]]),
        )
        sys.exit(code)
    found = resolve(
        target, deployment.hub, revision=revision, offline=offline, traces=not no_traces
    )
    basis = basis_of(deployment, found, organisation, signer)
    report = _report(found, basis, model=expect_model, run=expect_run, traces=not no_traces)
    if as_json:
        say_json(report.model_dump_json(indent=2))
    else:
        print_page(report, console())
    sys.exit(report.exit_code)


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
    policy_from: PolicyFromOption = None,
    offline: OfflineOption = False,
    no_traces: NoTracesOption = False,
    expect_model: ExpectModelOption = None,
    expect_run: ExpectRunOption = None,
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
        policy_from=policy_from,
        offline=offline,
    )
    deployment = deployment_with(policy, trust_config)
    found = resolve(
        target, deployment.hub, revision=revision, offline=offline, traces=not no_traces
    )
    basis = basis_of(deployment, found, organisation, signer)
    report = _report(found, basis, model=expect_model, run=expect_run, traces=not no_traces)
    # Loaded here, so that the command verify starts without it.
    from inferencebench_pipeline.cli.verification.explaining import print_tree

    print_tree(report, console())
    sys.exit(report.exit_code)


@dataclass(frozen=True)
class Basis:
    """A verdict on a target, and what it was reached under.

    Attributes:
        verdict: on the target's bytes.
        organisation: the namespace that the signer had to be allowed for, if any.
        trust: the trust root.
        policy: the policy, or the one that the options on the signer stand for.
    """

    verdict: Verdict
    organisation: str | None
    trust: TrustRoot
    policy: IdentityPolicy


def basis_of(
    deployment: Deployment, target: Target, organisation: str | None, signer: SignerOptions
) -> Basis:
    """Return the verdict on a target, by the policy and the signer that the options name."""
    whose = organisation or target.organisation
    trust, policy = deployment.trust(), chosen_policy(deployment, signer)
    verdict = verify_envelope(
        target.envelope, trust=trust, policy=policy, organisation=whose, traces=target.traces
    )
    return Basis(verdict, whose, trust, policy)


def _report(
    target: Target, basis: Basis, *, model: str | None, run: str | None, traces: bool
) -> VerdictReport:
    verdict = with_place(basis.verdict, target)
    verdict = with_expectations(verdict, target, model=model, run=run)
    return report_on(
        verdict,
        target,
        organisation=basis.organisation,
        traces_wanted=traces,
        trust_root=trust_source(basis.trust),
        policy=policy_source(basis.policy),
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
