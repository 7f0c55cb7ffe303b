"""A Sigstore bundle, verified offline: stock sigstore's checks, then the ones it leaves out.

This is the only module of the verifying side that reaches below sigstore's public interface,
because the verified times and the log entry have no public accessor. The genuine bundles and the
conformance cases in the tests are run at every change of that dependency.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat import asn1
from sigstore._internal.rekor.checkpoint import SignedCheckpoint
from sigstore._internal.timestamp import TimestampSource
from sigstore._internal.trust import Keyring, RekorKeyring
from sigstore._utils import KeyID
from sigstore.errors import VerificationError
from sigstore.models import Bundle
from sigstore.verify import Verifier
from sigstore_models.rekor.v1 import TransparencyLogEntry
from sigstore_models.trustroot.v1 import CertificateAuthority, TransparencyLogInstance

from inferencebench_pipeline.trust.roots import TrustRoot, within

MAX_BUNDLE_BYTES: Final = 1 << 20
INTOTO_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"

_ISSUER_V1 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER_V2 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_USERNAME = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7")
_REKOR_V2_ENTRY = "0.0.2"


T = TypeVar("T")


class BundleRejectedError(Exception):
    """A bundle does not prove what it should. ``check`` names the check that failed."""

    def __init__(self, check: str, message: str) -> None:
        super().__init__(message)
        self.check = check


@dataclass(frozen=True)
class SignerIdentity:
    """Whom a certificate was issued to, and on whose word."""

    identity: str
    issuer: str


@dataclass(frozen=True)
class VerifiedBundle:
    """What a bundle proves once every check has passed."""

    signer: SignerIdentity
    certificate: x509.Certificate
    times: tuple[datetime, ...]
    """Every time a trusted clock (timestamp authority, Rekor v1) gave the signature, sorted."""
    timestamped: bool
    """Whether a timestamp authority is among those clocks; a timestamp that does not verify is
    passed over when Rekor v1 gave the time."""
    log_index: int
    log_id: str
    log_url: str
    integrated_time: datetime | None
    entry_version: str

    @property
    def is_rekor_v2(self) -> bool:
        """Whether the entry is in a tile-backed log."""
        return self.entry_version == _REKOR_V2_ENTRY


BUNDLE_CHECKS: Final = (
    "bundle_format",
    "bundle_verifies",
    "log_known",
    "checkpoint_size",
    "log_index_proven",
    "key_windows",
    "certificate_identity",
)
"""The checks on a bundle, in the order they are made."""


def parse_bundle(data: bytes) -> Bundle:
    """Return the bundle in ``data``.

    Raises:
        BundleRejectedError: it is too large or not a bundle.
    """
    if len(data) > MAX_BUNDLE_BYTES:
        raise BundleRejectedError(
            "bundle_format", f"the bundle is {len(data)} bytes; at most {MAX_BUNDLE_BYTES} are read"
        )
    return _guard("bundle_format", lambda: Bundle.from_json(data))


def verify_bundle(artifact: bytes, bundle: Bundle, trust: TrustRoot) -> VerifiedBundle:
    """Return what ``bundle`` proves about ``artifact``; nothing is fetched.

    The identity is returned, not judged: the caller compares it with its policy.

    Raises:
        BundleRejectedError: a check failed, or anything at all went wrong in making it.
    """
    verifier = Verifier(trusted_root=trust.trusted_root)
    _guard("bundle_verifies", lambda: verifier.verify_artifact(artifact, bundle, _HasIdentity()))
    return _beyond_stock(verifier, bundle, trust)


def verify_statement(bundle: Bundle, trust: TrustRoot) -> tuple[bytes, VerifiedBundle]:
    """Return the in-toto statement a DSSE bundle carries, and what the bundle proves.

    Raises:
        BundleRejectedError: a check failed, or the payload is not an in-toto statement.
    """
    verifier = Verifier(trusted_root=trust.trusted_root)
    kind, payload = _guard("bundle_verifies", lambda: verifier.verify_dsse(bundle, _HasIdentity()))
    if kind != INTOTO_PAYLOAD_TYPE:
        raise BundleRejectedError("bundle_verifies", f"the payload is {kind!r}, not in-toto JSON")
    return payload, _beyond_stock(verifier, bundle, trust)


def require_subject(statement: bytes, artifact: bytes) -> None:
    """Check that an in-toto statement is about ``artifact``.

    Raises:
        BundleRejectedError: no subject has its SHA-256.
    """
    digest = hashlib.sha256(artifact).hexdigest()
    subjects = _guard("bundle_verifies", lambda: json.loads(statement)["subject"])
    if not any(subject["digest"].get("sha256") == digest for subject in subjects):
        raise BundleRejectedError(
            "bundle_verifies", f"no subject of the statement has the SHA-256 {digest}"
        )


def signature_digest(bundle: Bundle) -> bytes | None:
    """Return the digest the bundle says it signs, unverified; None when it does not say."""
    signature = bundle._inner.message_signature
    digest = signature.message_digest if signature else None
    return digest.digest if digest else None


def log_index(bundle: Bundle) -> int:
    """Return the log index the bundle states, unverified."""
    return bundle.log_entry._inner.log_index


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
    if len(found) != 1 or len(names) != 1:
        raise ValueError(f"the certificate must name one identity, it names {len(names)}")
    return SignerIdentity(found[0], _issuer(certificate))


class _HasIdentity:
    """Accepts any certificate that names one identity: which one is the caller's decision."""

    def verify(self, cert: x509.Certificate) -> None:
        """Raise ``VerificationError`` when the certificate names no single identity."""
        try:
            certificate_identity(cert)
        except (ValueError, x509.ExtensionNotFound) as error:
            raise VerificationError(str(error)) from error


def _issuer(certificate: x509.Certificate) -> str:
    issuers = set()
    for extension in certificate.extensions:
        if not isinstance(extension.value, x509.UnrecognizedExtension):
            continue
        if extension.oid == _ISSUER_V1:
            issuers.add(extension.value.value.decode())
        elif extension.oid == _ISSUER_V2:
            issuers.add(asn1.decode_der(str, extension.value.value))
    if len(issuers) != 1:
        raise ValueError(f"the certificate must name one issuer, it names {sorted(issuers)}")
    return issuers.pop()


def _beyond_stock(verifier: Verifier, bundle: Bundle, trust: TrustRoot) -> VerifiedBundle:
    """Make the checks that sigstore-python 4.5 leaves out, on a bundle it accepted."""
    entry = bundle.log_entry._inner
    clocks = verifier._establish_time(bundle)
    times = tuple(sorted({clock.time.astimezone(UTC) for clock in clocks}))
    log = _guard("log_known", lambda: _log_of(bundle, trust))
    _guard("checkpoint_size", lambda: _checkpoint_size(entry))
    _guard("log_index_proven", lambda: _log_index_proven(entry))
    _guard("key_windows", lambda: _key_windows(bundle.signing_certificate, log, times, trust))
    identity = _guard(
        "certificate_identity", lambda: certificate_identity(bundle.signing_certificate)
    )
    signed_time = entry.integrated_time if entry.inclusion_promise else None
    return VerifiedBundle(
        signer=identity,
        certificate=bundle.signing_certificate,
        times=times,
        timestamped=any(clock.source is TimestampSource.TIMESTAMP_AUTHORITY for clock in clocks),
        log_index=entry.log_index,
        log_id=entry.log_id.key_id.hex(),
        log_url=log.base_url,
        integrated_time=datetime.fromtimestamp(signed_time, tz=UTC) if signed_time else None,
        entry_version=entry.kind_version.version,
    )


def _log_of(bundle: Bundle, trust: TrustRoot) -> TransparencyLogInstance:
    """Return the trusted log the entry names, which must itself have signed the checkpoint.

    Stock sigstore takes the log id as a hint and tries every key, so the id proves nothing there.
    """
    entry = bundle.log_entry._inner
    key_id = entry.log_id.key_id
    named = [log for log in trust.logs if key_id in _log_ids(log)]
    if not named:
        raise ValueError(f"the entry names log {key_id.hex()}, which the trust root does not know")
    note = SignedCheckpoint.from_text(_checkpoint(entry)).signed_note
    failure: Exception | None = None
    for log in named:
        keyring = RekorKeyring(Keyring([log.public_key]))
        try:
            note.verify(keyring, KeyID(key_id))
            if entry.inclusion_promise and entry.integrated_time:
                bundle.log_entry._verify_set(keyring)
        except VerificationError as error:
            failure = error
        else:
            return log
    raise ValueError(f"log {named[0].base_url} did not sign this checkpoint: {failure}")


def _log_ids(log: TransparencyLogInstance) -> list[bytes]:
    ids = [log.log_id.key_id]
    if log.checkpoint_key_id is not None:
        ids.append(log.checkpoint_key_id.key_id)
    return ids


def _checkpoint(entry: TransparencyLogEntry) -> str:
    proof = entry.inclusion_proof
    if proof is None or proof.checkpoint is None:
        raise ValueError("the entry has no inclusion proof with a checkpoint")
    return proof.checkpoint.envelope


def _checkpoint_size(entry: TransparencyLogEntry) -> None:
    signed = SignedCheckpoint.from_text(_checkpoint(entry)).checkpoint.log_size
    stated = entry.inclusion_proof.tree_size
    if signed != stated:
        raise ValueError(f"the proof is for a log of {stated} entries, the checkpoint for {signed}")


def _log_index_proven(entry: TransparencyLogEntry) -> None:
    """Check that the stated index is signed (Rekor v1's promise) or the proof's own."""
    promised = entry.kind_version.version != _REKOR_V2_ENTRY and entry.inclusion_promise
    proven = entry.inclusion_proof.log_index
    if not promised and entry.log_index != proven:
        raise ValueError(f"the entry states log index {entry.log_index}, its proof is for {proven}")


def _key_windows(
    certificate: x509.Certificate,
    log: TransparencyLogInstance,
    times: tuple[datetime, ...],
    trust: TrustRoot,
) -> None:
    """Check that every key was in its validity window when it was used.

    Stock sigstore compares the window of the timestamp authority only.
    """
    for moment in times:
        if not within(log.public_key.valid_for, moment):
            raise ValueError(f"log {log.base_url} was not trusted at {moment}")
    issuing = [authority for authority in trust.authorities if _issued(authority, certificate)]
    if not any(
        all(within(authority.valid_for, moment) for moment in times) for authority in issuing
    ):
        raise ValueError(f"no certificate authority that issued this was trusted at {times[0]}")
    scts = certificate.extensions.get_extension_for_class(
        x509.PrecertificateSignedCertificateTimestamps
    ).value
    for sct in scts:
        logged_at = sct.timestamp.replace(tzinfo=UTC)
        keys = [ct.public_key for ct in trust.ct_logs if _key_id(ct) == sct.log_id]
        if not any(within(key.valid_for, logged_at) for key in keys):
            raise ValueError(
                f"no trusted certificate log {sct.log_id.hex()} was trusted at {logged_at}"
            )


def _key_id(log: TransparencyLogInstance) -> bytes:
    """Return the RFC 6962 id of a log: the hash of its public key."""
    return hashlib.sha256(log.public_key.raw_bytes or b"").digest()


def _issued(authority: CertificateAuthority, certificate: x509.Certificate) -> bool:
    for stored in authority.cert_chain.certificates:
        issuer = x509.load_der_x509_certificate(stored.raw_bytes)
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False


def _guard(check: str, make: Callable[[], T]) -> T:
    """Return what ``make`` returns; whatever it raises means the check failed.

    Sigstore raises ``TypeError``, ``ValueError``, ``AttributeError`` and others for input it does
    not expect, so only "no exception at all" is acceptance.
    """
    try:
        return make()
    except BundleRejectedError:
        raise
    except Exception as error:
        raise BundleRejectedError(check, f"{type(error).__name__}: {error}") from error
