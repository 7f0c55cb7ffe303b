"""The identity policy: the signers allowed for each organisation and suite, with their dates.

Identities match exactly; only suites may be patterns. The policy is a reviewed file, and its
digest goes into every verdict made under it.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import (
    AfterValidator,
    AwareDatetime,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.trust.errors import PolicyError
from inferencebench_pipeline.trust.verify.certificates import (
    WORKFLOW_CLAIMS,
    NameKind,
    SignerIdentity,
)
from inferencebench_pipeline.untrusted import (
    MappingNode,
    SequenceNode,
    YamlDocumentError,
    YamlNode,
    parse_yaml,
    printable,
    problems_of,
)

MAX_POLICY_BYTES = 1 << 20
_MAX_POLICY_NODES = 50_000
_MESSAGE_CHARACTERS = 400


def _known_claim(name: str) -> str:
    if name not in WORKFLOW_CLAIMS.values():
        raise ValueError(
            f"no certificate says {name}; known: {', '.join(WORKFLOW_CLAIMS.values())}"
        )
    return name


_NAMES_A_REPOSITORY = {"source_repository_uri", "source_repository_identifier", "build_config_uri"}

WorkflowClaim = Annotated[str, AfterValidator(_known_claim)]
Suites = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class _Rule(DocumentPart):
    organisation: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The Hub namespace; exact, a pattern would let one signer speak for everybody."""
    suites: Suites
    """``fnmatch`` patterns of suite ids, such as ``llm.inference.*``."""

    def covers(self, organisation: str | None, suite_id: str) -> bool:
        """Return whether the rule is about this suite, and this organisation when one is given."""
        # The plain fnmatch would ignore case on some systems.
        return organisation in (None, self.organisation) and any(
            fnmatch.fnmatchcase(suite_id, pattern) for pattern in self.suites
        )


class SignerRule(_Rule):
    """An identity that may sign, vouched for by one issuer, within a span of time."""

    issuer: str = Field(min_length=1)
    """The OIDC issuer that vouches for the identity."""
    identity: str | None = Field(default=None, min_length=1)
    """The certificate's subject alternative name, exactly."""
    workflow: dict[WorkflowClaim, str] = Field(default_factory=dict)
    """Exact claims that the certificate must make about the CI build: for workflows whose identity
    changes with the tag or branch. Names the repository at least."""
    valid_from: AwareDatetime
    """The first instant at which a signature is allowed."""
    valid_until: AwareDatetime | None = None
    """First instant no longer allowed."""

    @model_validator(mode="after")
    def _starts_before_it_ends(self) -> Self:
        if self.valid_until is not None and self.valid_until <= self.valid_from:
            raise ValueError(f"valid_until {self.valid_until} is not after valid_from")
        return self

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        if self.identity is None and not self.workflow.keys() & _NAMES_A_REPOSITORY:
            raise ValueError(
                "name the identity, or in workflow one of "
                f"{', '.join(sorted(_NAMES_A_REPOSITORY))}: the issuer alone would let every user "
                "of it sign"
            )
        return self

    def names(self, signer: SignerIdentity) -> bool:
        """Return whether ``signer`` is the one this rule is about; the time is not looked at.

        Nor is the kind of name: whoever looks for misuse of an identity wants both.
        """
        return (
            signer.issuer == self.issuer
            and self.identity in (None, signer.identity)
            and all(signer.workflow.get(name) == value for name, value in self.workflow.items())
        )

    @property
    def kind(self) -> NameKind:
        """The kind of name that the certificate must give the identity as."""
        # Workflows are named by URIs, whatever the tag or branch.
        return NameKind.URI if self.identity is None else NameKind.of_text(self.identity)

    def describe(self) -> str:
        """Return whom the rule allows, for a message."""
        claims = (f"{name}={value}" for name, value in sorted(self.workflow.items()))
        who = ", ".join([*([self.identity] if self.identity else []), *claims])
        return f"{who} ({self.issuer})"

    def valid_at(self, moment: datetime) -> bool:
        """Return whether a signature made at ``moment`` is inside the rule's span."""
        return self.valid_from <= moment and (self.valid_until is None or moment < self.valid_until)


class DevKeyRule(_Rule):
    """A pinned Ed25519 key that may sign without a certificate. It is in no log."""

    public_key_pem: str
    """The public key as PEM."""

    @field_validator("public_key_pem")
    @classmethod
    def _is_ed25519(cls, value: str) -> str:
        ed25519_from_pem(value)
        return value

    @property
    def public_key(self) -> Ed25519PublicKey:
        """The pinned Ed25519 key, parsed from its PEM."""
        return ed25519_from_pem(self.public_key_pem)


class IdentityPolicy(DocumentPart):
    """A reviewed list of signers. What is not allowed is refused."""

    version: Literal[1]
    """The version of the form of the document."""
    signers: tuple[SignerRule, ...] = ()
    """The identities that may sign."""
    dev_keys: tuple[DevKeyRule, ...] = ()
    """The pinned keys that may sign."""
    sha256: str
    """Digest of the file's bytes."""
    origin: str = "a policy made by the program that asked"
    """The reason why the policy is the one that counts, for whoever reads a verdict."""

    @property
    def reviewed_sha256(self) -> str | None:
        """The digest of the document that was reviewed; None where a signer was named instead."""
        return self.sha256

    def signer_refusal(
        self,
        *,
        organisation: str | None,
        suite_id: str,
        signer: SignerIdentity,
        signed_at: Iterable[datetime],
    ) -> str | None:
        """Return why this keyless signature is not allowed, or None when a rule allows it.

        Args:
            organisation: the namespace the record is published under; None when it is not yet.
            suite_id: the envelope's suite.
            signer: whom the certificate names.
            signed_at: every time a trusted clock gave for the signature; all must be in the span.
        """
        times = list(signed_at)
        for rule in self.signers:
            if (
                rule.covers(organisation, suite_id)
                and rule.names(signer)
                and rule.kind is signer.kind
                and all(map(rule.valid_at, times))
            ):
                return None
        rules = [rule for rule in self.signers if rule.covers(organisation, suite_id)]
        if not rules:
            return f"the policy names no signer for {_place(organisation, suite_id)}"
        named = [rule for rule in rules if rule.names(signer)]
        who = f"{signer.identity} ({signer.issuer})"
        if not named:
            allowed = ", ".join(sorted({rule.describe() for rule in rules}))
            where = _place(organisation, suite_id)
            return f"{who} may not sign for {where}; allowed: {allowed}"
        kinds = sorted({rule.kind for rule in named})
        named = [rule for rule in named if rule.kind is signer.kind]
        if not named:
            return (
                f"the certificate gives {who} as {signer.kind.with_article}, and the policy allows "
                f"it as {kinds[0].with_article} only"
            )
        spans = "; ".join(f"{rule.valid_from} to {rule.valid_until or 'now'}" for rule in named)
        return f"{who} signed at {times[0]}, outside its time in the policy ({spans})"

    def pinned_keys(self, *, organisation: str | None, suite_id: str) -> list[DevKeyRule]:
        """Return the development keys that count for this organisation and suite.

        Where the policy names a keyless signer, no development key counts: the key of a laptop
        must not be able to take the place of an identity.
        """
        return [
            rule
            for rule in self.dev_keys
            if rule.covers(organisation, suite_id)
            # Asked with the rule's organisation: the one that was given may be None, which covers
            # all.
            and not any(other.covers(rule.organisation, suite_id) for other in self.signers)
        ]


class PolicySource(DocumentPart):
    """The policy that a verdict was reached under."""

    name: str
    """A few words on its origin, such as its file and the option that named it."""
    sha256: str
    """The SHA-256 of its bytes."""


def policy_source(policy: IdentityPolicy) -> PolicySource:
    """Return the origin and the digest of a policy, as a person reads them beside a verdict."""
    return PolicySource(name=policy.origin, sha256=policy.sha256)


def ed25519_from_pem(pem: str) -> Ed25519PublicKey:
    """Return the Ed25519 public key in ``pem``.

    Raises:
        ValueError: it is not PEM, or another kind of key.
    """
    try:
        key = load_pem_public_key(pem.encode())
    except UnsupportedAlgorithm as error:
        raise ValueError(f"unsupported public key: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(f"expected an Ed25519 public key, got {type(key).__name__}")  # noqa: TRY004
    return key


def load_policy(path: Path, *, named_by: str = "INFERENCEBENCH_POLICY") -> IdentityPolicy:
    """Return the policy in the YAML file at ``path``.

    Args:
        path: the file.
        named_by: the variable or option that named it, for messages and the verdict.

    Raises:
        PolicyError: the file cannot be read, or a rule is wrong; the message names it.
    """
    try:
        with path.open("rb") as handle:
            data = handle.read(MAX_POLICY_BYTES + 1)
    except OSError as error:
        raise PolicyError(
            f"cannot read the identity policy {path}: {error.strerror or error}; check {named_by}"
        ) from error
    return parse_policy(data, where=str(path), origin=f"{path}, named by {named_by}")


def parse_policy(data: bytes, *, where: str, origin: str | None = None) -> IdentityPolicy:
    """Return the policy that the YAML text ``data`` states.

    Args:
        data: the text.
        where: its place, for messages.
        origin: how it came to be the one that counts. If None, its place is its name.

    Raises:
        PolicyError: it is too large, not YAML, repeats a key, or a rule is wrong.
    """
    if len(data) > MAX_POLICY_BYTES:
        raise PolicyError(f"the identity policy {where} is larger than {MAX_POLICY_BYTES} bytes")
    try:
        document = parse_yaml(
            data, what=where, max_bytes=MAX_POLICY_BYTES, max_nodes=_MAX_POLICY_NODES
        )
    except YamlDocumentError as error:
        said = "" if error.repeated is None else f" (the key {error.repeated!r} appears twice)"
        raise PolicyError(f"the identity policy is not valid YAML: {error}{said}") from error
    content = document.value
    # Digest and origin are the file's own, which must not state others.
    if not isinstance(content, dict) or content.keys() & {"sha256", "origin"}:
        raise PolicyError(
            f"the identity policy {where} must be a mapping with version, signers and dev_keys"
        )
    try:
        return IdentityPolicy(
            **{str(key): value for key, value in content.items()},
            sha256=hashlib.sha256(data).hexdigest(),
            origin=origin or where,
        )
    except ValidationError as error:
        said = problems_of(error, whole="the policy", values=True)
        problems = tuple(_with_lines(error, document.root, where))
        raise PolicyError(f"the identity policy {where} is not usable: {said}", problems) from error


def _with_lines(error: ValidationError, root: YamlNode | None, where: str) -> Iterator[str]:
    """Yield a sentence for each problem, which begins with the line it stands on."""
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        node, field = root, ".".join(str(step) for step in problem["loc"])
        for step in problem["loc"]:
            inner = _inside(node, step)
            if inner is None:  # a field that is missing: the line of what lacks it
                break
            node = inner
        line = "" if node is None else f":{node.start_mark.line + 1}"
        message = printable(problem["msg"].removeprefix("Value error, "), _MESSAGE_CHARACTERS)
        yield f"{where}{line}: {printable(field) or 'the policy'}: {message}"


def _inside(node: YamlNode | None, step: str | int) -> YamlNode | None:
    if isinstance(node, SequenceNode) and isinstance(step, int):
        return node.value[step] if step < len(node.value) else None
    if isinstance(node, MappingNode):
        return next((value for key, value in node.value if key.value == str(step)), None)
    return None


def _place(organisation: str | None, suite_id: str) -> str:
    return f"suite {suite_id}" if organisation is None else f"{organisation}, suite {suite_id}"
