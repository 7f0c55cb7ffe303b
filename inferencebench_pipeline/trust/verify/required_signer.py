"""The signer whom a reader names, and the policy that lets exactly that signer through.

It is for a stranger who has no reviewed policy and knows whom to believe, or who has one and
believes only some of those it allows. Only a certificate can satisfy it, never a pinned key. It
means the name that the reader knows: nothing in a record or on a card may choose it.
"""

from __future__ import annotations

import hashlib
import json
import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from pydantic import ConfigDict, SkipValidation

from inferencebench_pipeline.trust.errors import PolicyError
from inferencebench_pipeline.trust.verify.certificates import NameKind, SignerIdentity
from inferencebench_pipeline.trust.verify.policy import DevKeyRule, IdentityPolicy
from inferencebench_pipeline.untrusted import LinearExpression, RegularExpressionError, printable

GITHUB: Final = "https://github.com"
GITHUB_ISSUER: Final = "https://token.actions.githubusercontent.com"
"""The only issuer that vouches for workflows on github.com (Fulcio's oid-info.md)."""

_OWNER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,38}")
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_SMALL: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_NOBODY: Final = ("https://nowhere.invalid/nobody/nothing@refs/heads/x", "nobody@nowhere.invalid")
"""Names that nobody can have (RFC 2606): an expression that accepts one names nobody."""


@dataclass(frozen=True)
class Name:
    """A name that must match exactly, or by a regular expression as a whole."""

    text: str
    expression: LinearExpression | None = field(default=None, compare=False)

    @classmethod
    def pattern(cls, text: str) -> Name:
        """Return the names that a regular expression matches from beginning to end.

        Raises:
            PolicyError: it cannot be matched in linear time, or it accepts everybody.
        """
        try:
            expression = LinearExpression(text)
        except RegularExpressionError as error:
            raise PolicyError(str(error)) from error
        if accepted := next((name for name in _NOBODY if expression.matches(name)), None):
            raise PolicyError(
                f"the regular expression {text!r} also matches {accepted!r}, so it names nobody; "
                r"write out whom you believe, as in https://github\.com/acme/bench/.*"
            )
        return cls(text, expression)

    def matches(self, name: str) -> bool:
        """Return whether ``name`` is one of those that are meant."""
        return name == self.text if self.expression is None else self.expression.matches(name)

    def __str__(self) -> str:
        """Return the name, or the expression in the way in which it is meant."""
        return self.text if self.expression is None else f"/^{self.text}$/"


@dataclass(frozen=True)
class RequiredSigner:
    """Whom a certificate must name, and who must vouch for that.

    Attributes:
        asked: the words in which the reader asked for it, such as ``--owner acme``.
        issuer: the OIDC issuer that must have vouched for the signer.
        identity: the subject alternative name.
        below: the address on github.com that the identity must lie below, in any case of its
            ASCII letters. None when any identity will do.
        claims: what the certificate must say about the CI build: addresses on github.com, in any
            case of their ASCII letters.
    """

    asked: str
    issuer: Name
    identity: Name | None = None
    below: str | None = None
    claims: Mapping[str, str] = field(default_factory=dict)

    def refusal(self, signer: SignerIdentity) -> str | None:
        """Return why ``signer`` is another one than was required, or None when it is the one."""
        who = f"signed by {printable(signer.identity)} ({printable(signer.issuer)})"
        if not self.issuer.matches(signer.issuer):
            return f"{who}; {self.asked} requires the issuer {self.issuer}"
        if self.identity is not None and not self.identity.matches(signer.identity):
            return f"{who}; {self.asked} requires the identity {self.identity}"
        if self.below is not None and not _folded(signer.identity).startswith(_folded(self.below)):
            return f"{who}; {self.asked} requires an identity below {self.below}"
        meant = NameKind.of_text(signer.identity)
        if signer.kind is not meant:
            return (
                f"{who}; the certificate gives that name as {signer.kind.with_article}, and "
                f"{self.asked} means {meant.with_article}"
            )
        for name, value in self.claims.items():
            found = signer.workflow.get(name)
            if found is None or _folded(found) != _folded(value):
                said = "nothing" if found is None else printable(found)
                return (
                    f"{who}; {self.asked} requires a certificate with {name} {value}, it says "
                    f"{said}"
                )
        return None

    @property
    def sha256(self) -> str:
        """The digest of what is required, the same whenever the same is asked for."""
        document = {
            "issuer": str(self.issuer),
            "identity": None if self.identity is None else str(self.identity),
            "below": None if self.below is None else _folded(self.below),
            "claims": {name: _folded(value) for name, value in self.claims.items()},
        }
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _folded(address: str) -> str:
    """Return an address on github.com in one spelling, for comparison.

    Names there are ASCII and differ in more than the case of their letters. Unicode's own folding
    would take other letters for them: the Kelvin sign for a k, and the long s for an s.
    """
    return address.translate(_SMALL)


def signer_of_owner(owner: str, *, identity: Name | None = None) -> RequiredSigner:
    """Return the workflows of all repositories of a user or organisation on github.com.

    The certificate must say that the repository whose commit was built is theirs, as ``gh
    attestation verify --owner`` demands, and the workflow that signed must be theirs as well.

    Args:
        owner: the name on github.com, in any case of its letters.
        identity: the workflow that must have signed, when it is another's reusable one.

    Raises:
        PolicyError: nobody on github.com can have that name.
    """
    if not _OWNER.fullmatch(owner):
        raise PolicyError(
            f"--owner {owner!r} is no name of a user or organisation on github.com; write the name "
            f"alone, as in --owner acme for {GITHUB}/acme"
        )
    address = f"{GITHUB}/{owner}"
    return _on_github(
        f"--owner {owner}", address, {"source_repository_owner_uri": address}, identity
    )


def signer_of_repository(repository: str, *, identity: Name | None = None) -> RequiredSigner:
    """Return the workflows of one repository on github.com; see :func:`signer_of_owner`.

    Raises:
        PolicyError: it is not of the form ``OWNER/REPO``.
    """
    owner, _, name = repository.partition("/")
    named = _REPOSITORY.fullmatch(name) is not None and name not in (".", "..")
    if not (named and _OWNER.fullmatch(owner)):
        raise PolicyError(
            f"--repo {repository!r} is no repository on github.com; write OWNER/REPO, as in --repo "
            f"acme/bench for {GITHUB}/acme/bench"
        )
    address = f"{GITHUB}/{repository}"
    claims = {"source_repository_uri": address}
    return _on_github(f"--repo {repository}", address, claims, identity)


def _on_github(
    asked: str, address: str, claims: Mapping[str, str], identity: Name | None
) -> RequiredSigner:
    return RequiredSigner(
        asked=asked,
        issuer=Name(GITHUB_ISSUER),
        identity=identity,
        # The slash, without which acme-evil would lie below acme.
        below=None if identity is not None else f"{address}/",
        claims=claims,
    )


class RequiredSignerPolicy(IdentityPolicy):
    """A policy under which only the required signer counts, for any organisation and suite."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    required: SkipValidation[RequiredSigner]
    """Whom the reader believes."""
    narrowed: SkipValidation[IdentityPolicy | None] = None
    """The policy that must allow the signer as well; null when the reader has none."""

    @property
    def reviewed_sha256(self) -> str | None:
        """The digest of the policy that must allow the signer as well; None without one."""
        return None if self.narrowed is None else self.narrowed.reviewed_sha256

    def signer_refusal(
        self,
        *,
        organisation: str | None,
        suite_id: str,
        signer: SignerIdentity,
        signed_at: Iterable[datetime],
    ) -> str | None:
        """Return why this keyless signature is not allowed, or None when it is.

        A certificate lives for ten minutes, so that without a policy no span of time is needed.
        """
        refusal = self.required.refusal(signer)
        if refusal is not None or self.narrowed is None:
            return refusal
        return self.narrowed.signer_refusal(
            organisation=organisation, suite_id=suite_id, signer=signer, signed_at=signed_at
        )

    def pinned_keys(self, *, organisation: str | None, suite_id: str) -> list[DevKeyRule]:
        """Return no key: nobody gets past a required signer by a key of their own."""
        del organisation, suite_id
        return []


def policy_for(required: RequiredSigner, narrowed: IdentityPolicy | None = None) -> IdentityPolicy:
    """Return a policy that lets only the required signer through.

    Args:
        required: whom the reader believes.
        narrowed: a reviewed policy that must allow the signer as well. Its digest stays the
            policy's, since that is what was reviewed.
    """
    return RequiredSignerPolicy(
        version=1,
        signers=() if narrowed is None else narrowed.signers,
        sha256=required.sha256 if narrowed is None else narrowed.sha256,
        origin=required.asked if narrowed is None else f"{narrowed.origin}, and {required.asked}",
        required=required,
        narrowed=narrowed,
    )
