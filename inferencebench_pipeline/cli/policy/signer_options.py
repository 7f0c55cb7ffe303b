"""The options of ``verify`` and its like that say whose signature to believe, and their resolution.

They are spelt as ``gh attestation verify`` and ``cosign verify`` spell them. The rule stands in
docs/trust.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.trust import (
    IdentityPolicy,
    Name,
    RequiredSigner,
    policy_for,
    signer_of_owner,
    signer_of_repository,
    verify_published_policy,
)

_PANEL: Final = "Whose signature to believe"
WAYS: Final = (
    "--owner ORG or --repo OWNER/REPO (their workflows on github.com), --certificate-identity or "
    "--certificate-identity-regexp with --certificate-oidc-issuer or "
    "--certificate-oidc-issuer-regexp (exactly whom), --policy FILE, or INFERENCEBENCH_POLICY (a "
    "reviewed file; `inferencebench policy init` writes one)"
)
"""All ways to say whose signature to believe, for an error."""

OwnerOption = Annotated[
    str | None,
    typer.Option(
        "--owner",
        metavar="ORG",
        help="Believe workflows of all repositories of this user or organisation on github.com.",
        rich_help_panel=_PANEL,
    ),
]
RepoOption = Annotated[
    str | None,
    typer.Option(
        "--repo",
        metavar="OWNER/REPO",
        help="Believe workflows of this repository on github.com.",
        rich_help_panel=_PANEL,
    ),
]
IdentityOption = Annotated[
    str | None,
    typer.Option(
        "--certificate-identity",
        "--require-identity",
        help="Believe exactly this identity in the certificate, vouched for by the issuer.",
        rich_help_panel=_PANEL,
    ),
]
IdentityRegexpOption = Annotated[
    str | None,
    typer.Option(
        "--certificate-identity-regexp",
        help="Believe identities that this regular expression matches as a whole.",
        rich_help_panel=_PANEL,
    ),
]
IssuerOption = Annotated[
    str | None,
    typer.Option(
        "--certificate-oidc-issuer",
        "--require-issuer",
        help="The issuer that must have vouched for the identity.",
        rich_help_panel=_PANEL,
    ),
]
IssuerRegexpOption = Annotated[
    str | None,
    typer.Option(
        "--certificate-oidc-issuer-regexp",
        help="A regular expression that must match the whole issuer.",
        rich_help_panel=_PANEL,
    ),
]
PolicyFromOption = Annotated[
    str | None,
    typer.Option(
        "--policy-from",
        metavar="hf://datasets/ORG/NAME\\[@REV]",
        help="Use the policy that is published there. The other options then name who must have "
        "signed the policy.",
        rich_help_panel=_PANEL,
    ),
]


class SignerOptionError(PermanentError):
    """The options name nobody whose signature to believe, or not clearly."""


@dataclass(frozen=True)
class SignerOptions:
    """The words of a command line about the signer."""

    owner: str | None = None
    repo: str | None = None
    identity: str | None = None
    identity_regexp: str | None = None
    issuer: str | None = None
    issuer_regexp: str | None = None
    policy_from: str | None = None
    offline: bool = False

    def required(self) -> RequiredSigner | None:
        """Return the signer that the options require, or None when none of them was given.

        Raises:
            SignerOptionError: two options exclude each other, or one lacks its other half.
            PolicyError: a value is no name, or no regular expression that can be used.
        """
        self._exclude(("--owner", self.owner), ("--repo", self.repo))
        identity = self._name(
            ("--certificate-identity", self.identity),
            ("--certificate-identity-regexp", self.identity_regexp),
        )
        issuer = self._name(
            ("--certificate-oidc-issuer", self.issuer),
            ("--certificate-oidc-issuer-regexp", self.issuer_regexp),
        )
        if self.owner is not None or self.repo is not None:
            return self._on_github(identity, issuer)
        if identity is None and issuer is None:
            return None
        if identity is None or issuer is None:
            missing = "an issuer" if issuer is None else "an identity"
            raise SignerOptionError(
                f"the options lack {missing}: an identity means nothing without the issuer that "
                f"vouches for it, nor an issuer without an identity. Name one of: {WAYS}"
            )
        asked = f"--certificate-identity {identity} --certificate-oidc-issuer {issuer}"
        return RequiredSigner(asked=asked, issuer=issuer, identity=identity)

    def _on_github(self, identity: Name | None, issuer: Name | None) -> RequiredSigner:
        if issuer is not None:
            raise SignerOptionError(
                "--owner and --repo mean workflows on github.com, whose issuer is fixed; leave out "
                "--certificate-oidc-issuer, or name the signer by --certificate-identity alone"
            )
        if self.owner is not None:
            return signer_of_owner(self.owner, identity=identity)
        return signer_of_repository(self.repo or "", identity=identity)

    def _name(self, exact: tuple[str, str | None], pattern: tuple[str, str | None]) -> Name | None:
        self._exclude(exact, pattern)
        if exact[1] is not None:
            return Name(exact[1])
        return None if pattern[1] is None else Name.pattern(pattern[1])

    def _exclude(self, *options: tuple[str, str | None]) -> None:
        given = [name for name, value in options if value is not None]
        if len(given) > 1:
            raise SignerOptionError(f"{' and '.join(given)} exclude each other; give one of them")
        for name, value in options:
            if value == "":
                raise SignerOptionError(f"{name} is empty; name whom you believe: {WAYS}")


def chosen_policy(deployment: Deployment, options: SignerOptions) -> IdentityPolicy:
    """Return the policy that decides whose signature counts.

    A signer that the options name counts alone, or must be allowed by the policy as well when one
    is named. A published policy counts when that signer has signed it. Nothing is believed because
    it was believed before.

    Raises:
        SignerOptionError: neither the options nor a policy say whose signature to believe.
        PolicyError: the policy or a value of the options cannot be used.
    """
    required = options.required()
    if options.policy_from is not None:
        if options.offline:
            raise SignerOptionError(
                f"{options.policy_from} is on the Hub, which --offline does not allow; download "
                "the policy, and name the file by --policy"
            )
        return _published(deployment, options.policy_from, required)
    if deployment.settings.policy is None:
        if required is None:
            raise SignerOptionError(
                "nothing says whose signature to believe, and a signature of just anybody proves "
                f"nothing. Name one of: {WAYS}"
            )
        return policy_for(required)
    policy = deployment.policy()
    return policy if required is None else policy_for(required, policy)


def _published(
    deployment: Deployment, address: str, required: RequiredSigner | None
) -> IdentityPolicy:
    """Return the policy that is published at an address, signed by whom the reader requires."""
    if required is None:
        raise SignerOptionError(
            "--policy-from names a policy and nobody who must have signed it; add --owner, --repo, "
            "or --certificate-identity with --certificate-oidc-issuer"
        )
    if deployment.settings.policy is not None and deployment.policy_named_by == "--policy":
        raise SignerOptionError("--policy and --policy-from exclude each other; give one of them")
    from inferencebench_pipeline.cli.policy.published_policies import fetch_policy

    return verify_published_policy(
        fetch_policy(address, deployment.hub()),
        trust=deployment.trust(),
        signer=required,
        now=datetime.now(UTC),
    )
