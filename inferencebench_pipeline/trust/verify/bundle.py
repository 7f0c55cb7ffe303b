"""Offline verification of a Sigstore bundle: stock sigstore's checks, then those it leaves out.

It reaches below sigstore's public interface, as ``memoised``, ``rekor_bodies`` and the log's
``checkpoints`` do, because the verified times and the log entry have no public accessor. The tests
run genuine bundles and the conformance cases at every change of that dependency.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Final, TypeVar

from cryptography import x509
from sigstore._internal.timestamp import TimestampSource
from sigstore._internal.trust import Keyring
from sigstore._utils import KeyID
from sigstore.errors import VerificationError
from sigstore.models import Bundle
from sigstore_models.rekor.v1 import TransparencyLogEntry
from sigstore_models.trustroot.v1 import TransparencyLogInstance

from inferencebench_pipeline.trust.log.checkpoints import Checkpoint, SignedNote
from inferencebench_pipeline.trust.root.trust_root import TrustRoot
from inferencebench_pipeline.trust.verify.certificates import (
    CertificateFacts,
    SignerIdentity,
    certificate_identity,
    key_hash,
    require_windows,
)
from inferencebench_pipeline.trust.verify.memoised import (
    REMEMBERED,
    SharedRoot,
    SharedVerifier,
    log_ids,
)
from inferencebench_pipeline.trust.verify.rekor_bodies import promised
from inferencebench_pipeline.untrusted import Json, parse_unambiguous_json, unambiguous_json_text

# Genuine bundles have 5 to 10 KB.
MAX_BUNDLE_BYTES: Final = 1 << 20
INTOTO_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"

# Only tile-backed logs hold hashedrekord in this version. Rekor v1 holds 0.0.1.
_REKOR_V2_ENTRY = "0.0.2"


T = TypeVar("T")


class BundleRejectedError(Exception):
    """A bundle does not prove what it should. ``check`` names the check that failed."""

    def __init__(self, check: str, message: str) -> None:
        super().__init__(message)
        self.check = check


@dataclass(frozen=True)
class VerifiedBundle:
    """The facts that a bundle proves once every check has passed."""

    signer: SignerIdentity
    certificate: x509.Certificate
    times: tuple[datetime, ...]
    """Every time a trusted clock (timestamp authority, Rekor v1) gave the signature, sorted."""
    timestamps: int
    """Number of those times that a timestamp authority vouches for."""
    timestamps_carried: int
    """Number of timestamps in the bundle. Stock passes over one that does not verify, also one
    of an authority it does not know, when another clock gave the time."""
    log_index: int
    log_id: str
    log_url: str
    integrated_time: datetime | None
    checkpoint: Checkpoint
    """The signed state of the log that the inclusion proof leads to."""
    entry_kind: str
    entry_version: str

    @property
    def timestamped(self) -> bool:
        """True if a timestamp authority vouches for the time."""
        return self.timestamps > 0

    @property
    def is_rekor_v2(self) -> bool:
        """True if the entry is in a tile-backed log."""
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


def parse_bundle(data: bytes, *, max_bytes: int = MAX_BUNDLE_BYTES) -> Bundle:
    """Return the bundle in ``data``, of which at most ``max_bytes`` are read.

    Nothing else in this project reads one. Names may be spelt in lowerCamelCase or as the fields
    are named, as protobuf's JSON allows, but no field may be there twice.

    Raises:
        BundleRejectedError: it is too large or not a bundle.
    """
    if len(data) > max_bytes:
        raise BundleRejectedError(
            "bundle_format", f"the bundle is {len(data)} bytes; at most {max_bytes} are read"
        )
    return _guard("bundle_format", lambda: _parsed(data))


def _parsed(data: bytes) -> Bundle:
    # Sigstore's models are made of what was understood here, and not of the text once more.
    return Bundle.from_json(unambiguous_json_text(data, what="the bundle", max_bytes=len(data)))


class BundleVerifier:
    """Verifies many bundles under one trust root, sharing what they have in common.

    The same bundle always gets the same answer, whatever was verified before it.
    """

    def __init__(self, trust: TrustRoot) -> None:
        """Make a verifier; a trust root that cannot be used shows at the first bundle."""
        self._trust = trust
        self._facts = lru_cache(REMEMBERED)(lambda seen: CertificateFacts.of(seen, trust))
        self._signer = lru_cache(REMEMBERED)(certificate_identity)

    @cached_property
    def _root(self) -> SharedRoot:
        return SharedRoot(self._trust.trusted_root._inner)

    @cached_property
    def _logs_by_id(self) -> dict[bytes, list[TransparencyLogInstance]]:
        """The trusted logs that an entry or a checkpoint may mean by each id."""
        found: dict[bytes, list[TransparencyLogInstance]] = {}
        for log in self._trust.logs:
            for log_id in {*log_ids(log)}:
                found.setdefault(log_id, []).append(log)
        return found

    @cached_property
    def _only_logs(self) -> dict[bytes, TransparencyLogInstance]:
        """The logs whose id stands for one key, which stock then verifies with."""
        keys = self._root.logs_keyring
        return {
            log_id: logs[0]
            for log_id, logs in self._logs_by_id.items()
            if len(logs) == 1
            and (used := keys.key(log_id)) is not None
            and used.key_id == key_hash(logs[0])
        }

    @cached_property
    def _stock(self) -> SharedVerifier:
        return SharedVerifier(self._root)

    def verify(self, artifact: bytes, bundle: Bundle) -> VerifiedBundle:
        """Return what ``bundle`` proves about ``artifact``; nothing is fetched.

        The identity is returned, not judged: the caller compares it with its policy.

        Raises:
            BundleRejectedError: a check failed, or anything at all went wrong in making it.
        """
        self._by_stock(bundle, lambda: self._stock.verify_artifact(artifact, bundle, _HAS_IDENTITY))
        return self._beyond_stock(bundle)

    def verify_statement(self, bundle: Bundle) -> tuple[bytes, VerifiedBundle]:
        """Return the in-toto statement a DSSE bundle carries, and what the bundle proves.

        Raises:
            BundleRejectedError: a check failed, or the payload is not an in-toto statement.
        """
        kind, payload = self._by_stock(
            bundle, lambda: self._stock.verify_dsse(bundle, _HAS_IDENTITY)
        )
        # Stock returns the type of the payload and leaves it to the caller to look at it.
        if kind != INTOTO_PAYLOAD_TYPE:
            raise BundleRejectedError(
                "bundle_verifies", f"the payload is {kind!r}, not in-toto JSON"
            )
        return payload, self._beyond_stock(bundle)

    def _by_stock(self, bundle: Bundle, verify: Callable[[], T]) -> T:
        """Return what stock sigstore returns; a refusal says when the log is another Sigstore's.

        Stock then names whatever it misses first, such as a trusted time, which helps nobody.
        """
        try:
            return _guard("bundle_verifies", verify)
        except BundleRejectedError as error:
            unknown = _guard("bundle_verifies", lambda: self._unknown_log(bundle))
            if unknown is None:
                raise
            raise BundleRejectedError(
                error.check,
                f"{error}; the entry names log {unknown}, which the trust root "
                f"({self._trust.origin.name}) does not know: a record of a private Sigstore needs "
                "its operator's trust configuration (--trust-config)",
            ) from error.__cause__

    def _unknown_log(self, bundle: Bundle) -> str | None:
        """Return the id of the log that the entry names, if the trust root does not know it."""
        key_id = bundle.log_entry._inner.log_id.key_id
        known = any(key_id in log_ids(log) for log in self._trust.logs)
        return None if known else key_id.hex()

    def _beyond_stock(self, bundle: Bundle) -> VerifiedBundle:
        """Make the checks that sigstore-python 4.5 leaves out, on a bundle it accepted."""
        entry = bundle.log_entry._inner
        signing = bundle.signing_certificate
        # Stock keeps these times to itself. They are remembered from its verification a moment ago.
        clocks = self._stock._establish_time(bundle)
        times = tuple(sorted({clock.time.astimezone(UTC) for clock in clocks}))
        timestamps = [clock.source for clock in clocks].count(TimestampSource.TIMESTAMP_AUTHORITY)
        log = _guard("log_known", lambda: self._log_of(bundle))
        checkpoint = self._stock.checkpoint(bundle)
        _guard("checkpoint_size", lambda: _checkpoint_size(entry, checkpoint))
        _guard("log_index_proven", lambda: _log_index_proven(entry))
        _guard("key_windows", lambda: require_windows(self._facts(signing), log, times))
        # Only the promise signs this time; without one it is the word of the bundle's maker.
        signed_time = entry.integrated_time if entry.inclusion_promise else None
        return VerifiedBundle(
            signer=_guard("certificate_identity", lambda: self._signer(signing)),
            certificate=signing,
            times=times,
            timestamps=timestamps,
            timestamps_carried=_timestamps_carried(bundle),
            log_index=entry.log_index,
            log_id=entry.log_id.key_id.hex(),
            log_url=log.base_url,
            integrated_time=datetime.fromtimestamp(signed_time, tz=UTC) if signed_time else None,
            checkpoint=checkpoint,
            entry_kind=entry.kind_version.kind,
            entry_version=entry.kind_version.version,
        )

    def _log_of(self, bundle: Bundle) -> TransparencyLogInstance:
        """Return the trusted log the entry names, which must itself have signed the checkpoint.

        Stock sigstore takes the log id as a hint and tries every key, so the id proves nothing
        there. Where the id stands for one key of the keyring, that key is the one stock has used.
        """
        entry = bundle.log_entry._inner
        key_id = entry.log_id.key_id
        # The common case costs nothing more: stock has verified with this log's one key.
        only = self._only_logs.get(key_id)
        if only is not None:
            return only
        named = self._logs_by_id.get(key_id, ())
        if not named:
            raise ValueError(
                f"the entry names log {key_id.hex()}, which the trust root does not know"
            )
        stated = entry.inclusion_proof.checkpoint
        note = SignedNote.of(stated.envelope if stated else "")
        promise = entry.inclusion_promise
        failure: Exception | None = None
        for log in named:
            keyring = Keyring([log.public_key])
            try:
                note.verify(keyring, key_id)
                if promise is not None:
                    keyring.verify(
                        key_id=KeyID(key_id),
                        signature=promise.signed_entry_timestamp,
                        data=promised(entry),
                    )
            except VerificationError as error:
                failure = error
            else:
                return log
        raise ValueError(f"log {named[0].base_url} did not sign this checkpoint: {failure}")


def verify_bundle(artifact: bytes, bundle: Bundle, trust: TrustRoot) -> VerifiedBundle:
    """Return what one bundle proves about ``artifact``; see :meth:`BundleVerifier.verify`.

    Raises:
        BundleRejectedError: a check failed, or anything at all went wrong in making it.
    """
    return BundleVerifier(trust).verify(artifact, bundle)


def verify_statement(bundle: Bundle, trust: TrustRoot) -> tuple[bytes, VerifiedBundle]:
    """Return one DSSE bundle's statement; see :meth:`BundleVerifier.verify_statement`.

    Raises:
        BundleRejectedError: a check failed, or the payload is not an in-toto statement.
    """
    return BundleVerifier(trust).verify_statement(bundle)


def require_subject(statement: bytes, artifact: bytes) -> None:
    """Check that an in-toto statement is about ``artifact``.

    Raises:
        BundleRejectedError: no subject has its SHA-256.
    """
    digest = hashlib.sha256(artifact).hexdigest()
    named = _guard(
        "bundle_verifies",
        lambda: [item["digest"]["sha256"] for item in _statement(statement)["subject"]],
    )
    if digest not in named:
        raise BundleRejectedError(
            "bundle_verifies", f"no subject of the statement has the SHA-256 {digest}"
        )


def _statement(payload: bytes) -> Json:
    return parse_unambiguous_json(payload, what="the statement", max_bytes=len(payload))


def signature_digest(bundle: Bundle) -> bytes | None:
    """Return the digest the bundle says it signs, unverified; None when it does not say."""
    signature = bundle._inner.message_signature
    digest = signature.message_digest if signature else None
    return digest.digest if digest else None


def log_index(bundle: Bundle) -> int:
    """Return the log index the bundle states, unverified."""
    return bundle.log_entry._inner.log_index


class _HasIdentity:
    """Accepts any certificate that names one identity: which one is the caller's decision."""

    def verify(self, cert: x509.Certificate) -> None:
        """Raise ``VerificationError`` when the certificate names no single identity."""
        try:
            certificate_identity(cert)
        except (ValueError, x509.ExtensionNotFound) as error:
            raise VerificationError(str(error)) from error


_HAS_IDENTITY: Final = _HasIdentity()


def _timestamps_carried(bundle: Bundle) -> int:
    data = bundle._inner.verification_material.timestamp_verification_data
    return 0 if data is None else len(data.rfc3161_timestamps)


def _checkpoint_size(entry: TransparencyLogEntry, checkpoint: Checkpoint) -> None:
    stated = entry.inclusion_proof.tree_size
    if checkpoint.size != stated:
        raise ValueError(
            f"the proof is for a log of {stated} entries, the checkpoint for {checkpoint.size}"
        )


def _log_index_proven(entry: TransparencyLogEntry) -> None:
    """Check that the stated index is signed (Rekor v1's promise) or the proof's own.

    A promise is verified by now, and so is that the entry states the time that it is about.
    """
    is_promised = entry.kind_version.version != _REKOR_V2_ENTRY and entry.inclusion_promise
    proven = entry.inclusion_proof.log_index
    if not is_promised and entry.log_index != proven:
        raise ValueError(f"the entry states log index {entry.log_index}, its proof is for {proven}")


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
