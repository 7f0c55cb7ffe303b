"""Fulcio certificates: the identity they name, their issuer, and the time they are trusted for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat import asn1
from sigstore_models.trustroot.v1 import CertificateAuthority, TransparencyLogInstance

from inferencebench_pipeline.trust.root.trust_root import TrustRoot, within

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


@dataclass(frozen=True)
class SignerIdentity:
    """The identity in a certificate, and the issuer that vouched for it."""

    identity: str
    issuer: str
    workflow: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Claims of the issuer about the CI build, by the names in :data:`WORKFLOW_CLAIMS`."""


@dataclass(frozen=True)
class CertificateFacts:
    """The chain above a certificate, the same for every bundle that carries it."""

    issuing: tuple[CertificateAuthority, ...]
    """The trusted authorities that signed it."""

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
        return cls(issuing=tuple(a for a in trust.authorities if _issued(a, certificate)))


def certificate_identity(certificate: x509.Certificate) -> SignerIdentity:
    """Return the one identity in a Fulcio certificate.

    Raises:
        ValueError: none or several names, no issuer, or two issuers that differ.
        cryptography.x509.ExtensionNotFound: no subject alternative name at all.
    """
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found: list[str] = [
        *names.get_values_for_type(x509.RFC822Name),
        *names.get_values_for_type(x509.UniformResourceIdentifier),
        *(
            asn1.decode_der(str, other.value)
            for other in names.get_values_for_type(x509.OtherName)
            if other.type_id == _USERNAME
        ),
    ]
    # The second count includes names of kinds that are not looked into, such as DNS names.
    if len(found) != 1 or len(names) != 1:
        raise ValueError(f"the certificate must name one identity, it names {len(names)}")
    return SignerIdentity(found[0], _issuer(certificate), _workflow(certificate))


def require_windows(
    facts: CertificateFacts, log: TransparencyLogInstance, times: tuple[datetime, ...]
) -> None:
    """Check that log and certificate authority were in their validity windows at all ``times``.

    Stock sigstore compares the window of the timestamp authority only. That of the certificate
    log is part of the facts.

    Raises:
        ValueError: the log or the certificate authority was not trusted then.
    """
    # A signature may carry the word of several clocks, and none of them may contradict the window.
    for moment in times:
        if not within(log.public_key.valid_for, moment):
            raise ValueError(f"log {log.base_url} was not trusted at {moment}")
    for authority in facts.issuing:
        if all(within(authority.valid_for, moment) for moment in times):
            return
    raise ValueError(f"no certificate authority that issued this was trusted at {times[0]}")


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


def _issued(authority: CertificateAuthority, certificate: x509.Certificate) -> bool:
    # An authority signs with its root or with an intermediate, and the chain holds both.
    for stored in authority.cert_chain.certificates:
        issuer = x509.load_der_x509_certificate(stored.raw_bytes)
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False
