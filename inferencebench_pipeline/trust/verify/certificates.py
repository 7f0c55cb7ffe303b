"""Fulcio certificates: the identity they name, their issuer, and the time they are trusted for."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.serialization import Encoding
from sigstore_models.trustroot.v1 import CertificateAuthority, TransparencyLogInstance

from inferencebench_pipeline.trust.root.trust_root import TrustRoot, within
from inferencebench_pipeline.untrusted import printable

# Fulcio's oid-info.md: extension 1 holds the issuer as raw bytes, 8 as a DER UTF8String, and an
# OtherName of type 7 holds a user name.
_ISSUER_V1 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER_V2 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_USERNAME = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7")

WORKFLOW_CLAIMS: Final = {
    x509.ObjectIdentifier(f"1.3.6.1.4.1.57264.1.{number}"): name
    for number, name in {
        9: "build_signer_uri",
        10: "build_signer_digest",
        11: "runner_environment",
        12: "source_repository_uri",
        13: "source_repository_digest",
        14: "source_repository_ref",
        15: "source_repository_identifier",
        16: "source_repository_owner_uri",
        17: "source_repository_owner_identifier",
        18: "build_config_uri",
        19: "build_config_digest",
        20: "build_trigger",
        21: "run_invocation_uri",
        22: "source_repository_visibility",
    }.items()
}
"""Fulcio's certificate extensions about a CI build (docs/oid-info.md), each a DER UTF8String."""


class NameKind(StrEnum):
    """The kind of name in a certificate (RFC 5280 section 4.2.1.6), as Fulcio uses it."""

    EMAIL = "e-mail address"
    URI = "URI"
    USER_NAME = "user name"

    @staticmethod
    @lru_cache(256)
    def of_text(identity: str) -> NameKind:
        """Return the kind of name that an identity written down as text is meant as.

        What begins with a scheme (RFC 3986 section 3.1) is a URI, what else has an ``@`` is an
        e-mail address, and the rest is a user name, which Fulcio writes as ``user!domain``.
        """
        if _SCHEME.match(identity):
            return NameKind.URI
        return NameKind.EMAIL if "@" in identity else NameKind.USER_NAME

    @property
    def with_article(self) -> str:
        """The kind with its article, for a sentence."""
        return f"{'an' if self is NameKind.EMAIL else 'a'} {self.value}"


_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


@dataclass(frozen=True)
class SignerIdentity:
    """The identity in a certificate, and the issuer that vouched for it."""

    identity: str
    issuer: str
    workflow: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Claims of the issuer about the CI build, by the names in :data:`WORKFLOW_CLAIMS`."""
    kind: NameKind = field(kw_only=True, compare=False)
    """The kind of name that the certificate gives the identity as."""


@dataclass(frozen=True)
class IssuingChain:
    """The certificates of a trusted authority above one that it issued, up to the root."""

    authority: CertificateAuthority
    starts: datetime
    """The time from which all of them are valid."""
    ends: datetime
    """The last second in which all of them are."""

    @classmethod
    def of(cls, authority: CertificateAuthority, certificate: x509.Certificate) -> Self | None:
        """Return the chain above ``certificate``; None where the authority did not issue it."""
        # From the certificate that issues to the root (protobuf-specs, CertificateAuthority).
        chain = [
            x509.load_der_x509_certificate(item.raw_bytes)
            for item in authority.cert_chain.certificates
        ]
        for place, issuer in enumerate(chain):
            try:
                certificate.verify_directly_issued_by(issuer)
            except (ValueError, TypeError, InvalidSignature):
                continue
            above = chain[place:]
            return cls(
                authority,
                max(item.not_valid_before_utc for item in above),
                min(item.not_valid_after_utc for item in above),
            )
        return None

    def is_valid_at(self, moment: datetime) -> bool:
        """Return whether no certificate of the chain had expired, the root included."""
        return self.starts <= moment <= self.ends


@dataclass(frozen=True)
class CertificateFacts:
    """The chain above a certificate, the same for every bundle that carries it."""

    issuing: tuple[IssuingChain, ...]
    """The chains of the trusted authorities that signed it."""

    @classmethod
    def of(cls, certificate: x509.Certificate, trust: TrustRoot) -> CertificateFacts:
        """Return the facts of ``certificate`` under ``trust``.

        Raises:
            ValueError: a certificate log that promised to list it (SCT) was not trusted then.
            cryptography.x509.ExtensionNotFound: it carries no promise at all.
        """
        promises = certificate.extensions.get_extension_for_class(
            x509.PrecertificateSignedCertificateTimestamps
        ).value
        for promise in promises:
            _require_ct_window(promise.log_id, promise.timestamp.replace(tzinfo=UTC), trust)
        chains = (IssuingChain.of(authority, certificate) for authority in trust.authorities)
        return cls(issuing=tuple(chain for chain in chains if chain is not None))


def certificate_identity(certificate: x509.Certificate) -> SignerIdentity:
    """Return the one identity in a Fulcio certificate.

    Raises:
        ValueError: none or several names, no issuer, or two issuers that differ.
        cryptography.x509.ExtensionNotFound: no subject alternative name at all.
    """
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = [_named(name) for name in names]
    if len(found) != 1:
        raise ValueError(f"the certificate must name one identity, it names {len(found)}")
    kind, identity = found[0]
    return SignerIdentity(identity, _issuer(certificate), _workflow(certificate), kind=kind)


def _named(name: x509.GeneralName) -> tuple[NameKind, str]:
    if isinstance(name, x509.RFC822Name):
        return NameKind.EMAIL, name.value
    if isinstance(name, x509.UniformResourceIdentifier):
        return NameKind.URI, name.value
    if isinstance(name, x509.OtherName) and name.type_id == _USERNAME:
        return NameKind.USER_NAME, asn1.decode_der(str, name.value)
    raise ValueError(
        "the certificate must name one identity by an e-mail address, a URI or a user name, it "
        f"names {printable(name)}"
    )


@lru_cache(64)
def written_out(certificate: x509.Certificate) -> str:
    """Return a certificate as envelopes carry it: PEM (RFC 7468), without the last line break."""
    return certificate.public_bytes(Encoding.PEM).decode("ascii").strip()


def require_windows(
    facts: CertificateFacts, log: TransparencyLogInstance, times: tuple[datetime, ...]
) -> None:
    """Check that log and certificate authority were in their validity windows at all ``times``.

    Stock sigstore compares the window of the timestamp authority only, and takes a certificate
    that it trusts at any time, also after its end (as in CVE-2026-24122). The window of the
    certificate log is part of the facts.

    Raises:
        ValueError: the log or the certificate authority was not trusted then.
    """
    # A signature may carry the word of several clocks, and none of them may contradict the window.
    for moment in times:
        if not within(log.public_key.valid_for, moment):
            raise ValueError(f"log {log.base_url} was not trusted at {moment}")
    trusted = [
        chain
        for chain in facts.issuing
        if all(within(chain.authority.valid_for, moment) for moment in times)
    ]
    if not trusted:
        raise ValueError(f"no certificate authority that issued this was trusted at {times[0]}")
    if not any(all(map(chain.is_valid_at, times)) for chain in trusted):
        raise ValueError(
            f"a certificate of {trusted[0].authority.uri}, or the root above it, was not valid at "
            f"{times[0]}"
        )


def _require_ct_window(log_id: bytes, moment: datetime, trust: TrustRoot) -> None:
    # RFC 6962 section 3.2: a promise names its log by the hash of the log's key.
    keys = [log.public_key for log in trust.ct_logs if key_hash(log) == log_id]
    if not any(within(key.valid_for, moment) for key in keys):
        raise ValueError(f"no trusted certificate log {log_id.hex()} was trusted at {moment}")


def key_hash(log: TransparencyLogInstance) -> bytes:
    """Return the RFC 6962 id of a log: the hash of its public key."""
    return hashlib.sha256(log.public_key.raw_bytes or b"").digest()


def _issuer(certificate: x509.Certificate) -> str:
    issuers = set()
    for extension in certificate.extensions:
        if not isinstance(extension.value, x509.UnrecognizedExtension):
            continue
        if extension.oid == _ISSUER_V1:
            issuers.add(extension.value.value.decode())
        elif extension.oid == _ISSUER_V2:
            issuers.add(asn1.decode_der(str, extension.value.value))
    # A certificate may state the issuer in both forms. Two that differ would let a reader choose.
    if len(issuers) != 1:
        raise ValueError(f"the certificate must name one issuer, it names {sorted(issuers)}")
    return issuers.pop()


def _workflow(certificate: x509.Certificate) -> dict[str, str]:
    return {
        WORKFLOW_CLAIMS[extension.oid]: asn1.decode_der(str, extension.value.value)
        for extension in certificate.extensions
        if isinstance(extension.value, x509.UnrecognizedExtension)
        and extension.oid in WORKFLOW_CLAIMS
    }
