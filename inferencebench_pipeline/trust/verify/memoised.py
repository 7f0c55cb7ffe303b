"""A verifier that remembers the keys, certificates and signatures it has already verified.

Every check of the stock verifier is kept. It remembers only *that* a check succeeded, under every
byte that the check depends on, and repeats a check that failed each time. Nothing is patched: stock
sigstore is given these subclasses. A test holds the digests of the stock functions that
:class:`SharedVerifier` abbreviates, so that a change of them is seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache, partial
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import Certificate
from rfc3161_client import TimeStampResponse
from sigstore._internal.timestamp import TimestampSource, TimestampVerificationResult
from sigstore._internal.trust import (
    CertificateAuthority,
    CTKeyring,
    Key,
    Keyring,
    KeyringPurpose,
    RekorKeyring,
)
from sigstore._utils import KeyID, sha256_digest
from sigstore.errors import MetadataError, VerificationError
from sigstore.hashes import Hashed
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier
from sigstore.verify.policy import VerificationPolicy
from sigstore_models.common.v1 import PublicKey
from sigstore_models.rekor.v1 import TransparencyLogEntry
from sigstore_models.trustroot.v1 import TransparencyLogInstance

from inferencebench_pipeline.trust.log.checkpoints import (
    Checkpoint,
    SignedNote,
    unverified_checkpoint,
)
from inferencebench_pipeline.trust.log.merkle import leaf_hash, require_inclusion
from inferencebench_pipeline.trust.verify.rekor_bodies import SigningCertificate, promised
from inferencebench_pipeline.trust.verify.timestamp_clock import TimestampClock

REMEMBERED: Final = 1024
"""Number of successes that each kind of check remembers; a batch needs a few."""

_ECDSA_OF_DIGEST: Final = ec.ECDSA(Prehashed(SHA256()))


class RememberingKey(Key):
    """A trusted key that does not repeat a signature check that has succeeded."""

    def __init__(self, public_key: PublicKey) -> None:
        super().__init__(public_key)
        key, algorithm = self.key, self.hash_algorithm
        # The kind of key decides how stock verifies, and it is decided here once.
        if isinstance(key, ec.EllipticCurvePublicKey) and algorithm is not None:
            how = ec.ECDSA(algorithm)
            self._succeeded = lru_cache(REMEMBERED)(partial(_verify_ecdsa, key, how))
        else:
            self._succeeded = lru_cache(REMEMBERED)(super().verify)

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raise unless the key signed exactly ``data``; exceptions are not remembered."""
        self._succeeded(signature, data)


def _verify_ecdsa(
    key: ec.EllipticCurvePublicKey, how: ec.ECDSA, signature: bytes, data: bytes
) -> None:
    key.verify(signature, data, how)


class SharedKeyring(Keyring):
    """The keys of some logs, found by the hash of the key or by the id the trust root states.

    Stock finds by the hash only and otherwise tries every key. A stated id narrows that to the
    one key it stands for, which matters for Rekor v2, whose ids are not hashes of keys.
    """

    def __init__(self, logs: Iterable[tuple[TransparencyLogInstance, RememberingKey]]) -> None:
        super().__init__()
        self._stated: dict[bytes, RememberingKey] = {}
        # An id that two keys share decides nothing. Without it, stock's way tries every key.
        ambiguous: set[bytes] = set()
        for log, key in logs:
            self._keyring[key.key_id] = key
            for stated in log_ids(log):
                if self._stated.setdefault(stated, key) is not key:
                    ambiguous.add(stated)
        for stated in ambiguous:
            del self._stated[stated]

    def key(self, key_id: bytes) -> Key | None:
        """Return the only key that :meth:`verify` would try for this id."""
        return self._stated.get(key_id) or self._keyring.get(KeyID(key_id))

    def verify(self, *, key_id: KeyID, signature: bytes, data: bytes) -> None:
        """Raise unless a key of this keyring, the named one if it is known, signed ``data``."""
        named = self._stated.get(key_id)
        if named is None:
            super().verify(key_id=key_id, signature=signature, data=data)
            return
        try:
            named.verify(signature, data)
        except InvalidSignature as error:
            raise VerificationError("keyring: invalid signature") from error


class SharedRoot(TrustedRoot):
    """A trusted root whose keys and certificates are decoded once instead of at each check."""

    def rekor_keyring(self, purpose: KeyringPurpose) -> RekorKeyring:
        """Return the keyring of all transparency logs."""
        if purpose is not KeyringPurpose.VERIFY:
            return super().rekor_keyring(purpose)
        return RekorKeyring(self.logs_keyring)

    def ct_keyring(self, purpose: KeyringPurpose) -> CTKeyring:
        """Return the keyring of all certificate logs."""
        if purpose is not KeyringPurpose.VERIFY:
            return super().ct_keyring(purpose)
        return CTKeyring(self._ct_keyring)

    def get_fulcio_certs(self) -> list[Certificate]:
        """Return the certificates of all certificate authorities."""
        return self._fulcio_certs

    def get_timestamp_authorities(self) -> list[CertificateAuthority]:
        """Return all timestamp authorities."""
        return self._timestamp_authorities

    @cached_property
    def logs_keyring(self) -> SharedKeyring:
        """The keys of all transparency logs."""
        return self._keyring_of(self._inner.tlogs)

    @cached_property
    def _ct_keyring(self) -> SharedKeyring:
        return self._keyring_of(self._inner.ctlogs)

    @cached_property
    def _fulcio_certs(self) -> list[Certificate]:
        return super().get_fulcio_certs()

    @cached_property
    def _timestamp_authorities(self) -> list[CertificateAuthority]:
        return super().get_timestamp_authorities()

    def _keyring_of(self, logs: list[TransparencyLogInstance]) -> SharedKeyring:
        found = []
        for log in logs:
            # Stock's choice: a log that starts in the future, or has a key it cannot use, is out.
            if not list(self._get_tlog_keys([log], KeyringPurpose.VERIFY)):
                continue
            try:
                found.append((log, RememberingKey(log.public_key)))
            except VerificationError:
                continue
        if not found:
            raise MetadataError("no usable log keys in the trusted root")
        return SharedKeyring(found)


@dataclass(frozen=True)
class _Span:
    """The time in which every certificate of a chain is valid; both ends belong to it."""

    starts: datetime
    ends: datetime

    @classmethod
    def of(cls, chain: Iterable[Certificate]) -> _Span:
        certificates = list(chain)
        return cls(
            max(item.not_valid_before_utc for item in certificates),
            min(item.not_valid_after_utc for item in certificates),
        )

    def covers(self, times: Iterable[TimestampVerificationResult]) -> bool:
        return all(self.starts <= result.time <= self.ends for result in times)


@dataclass
class _Latest:
    """The facts about the bundle that was seen last, which are asked for more than once."""

    bundle: Bundle
    """Kept alive by this, so that no later object can be taken for it."""
    times: list[TimestampVerificationResult]
    checkpoint: Checkpoint | None = None


class SharedVerifier(Verifier):
    """The stock verifier, examining a certificate fully once and a bundle's times once.

    In both of its ways it refuses an inclusion promise that stock would pass over.
    """

    def __init__(self, root: SharedRoot) -> None:
        super().__init__(trusted_root=root)
        self._logs = root.rekor_keyring(KeyringPurpose.VERIFY)
        self._clocks = [TimestampClock(item) for item in root.get_timestamp_authorities()]
        self._spans: dict[tuple[Certificate, VerificationPolicy], _Span] = {}
        self._signing = lru_cache(REMEMBERED)(SigningCertificate.of)
        self._latest: _Latest | None = None

    def verify_artifact(
        self, input_: bytes | Hashed, bundle: Bundle, policy: VerificationPolicy
    ) -> None:
        """Make stock's checks; 7 and 8 without decoding the key and the log entry each time.

        Stock decodes the entry and compares it with the one these parts should have. An entry
        that is the canonical form of that one, byte for byte, cannot come out otherwise; any other
        goes stock's way from the start.
        """
        digest = _sha256(input_)
        signed = bundle._inner.message_signature
        entry = bundle.log_entry._inner
        signing = self._signing(bundle.signing_certificate)
        if (
            signed is None
            or signing is None
            or (signed.message_digest is not None and signed.message_digest.digest != digest)
            or entry.kind_version.kind != "hashedrekord"
            or entry.canonicalized_body
            != signing.entry_body(entry.kind_version.version, signed.signature, digest)
        ):
            super().verify_artifact(input_, bundle, policy)
            return
        self._verify_common_signing_cert(bundle, policy)
        try:
            signing.key.verify(signed.signature, digest, _ECDSA_OF_DIGEST)
        except InvalidSignature as error:
            raise VerificationError("Signature is invalid for input") from error

    def checkpoint(self, bundle: Bundle) -> Checkpoint:
        """Return the checkpoint of a bundle that was verified a moment ago.

        Raises:
            ValueError: another bundle was, or this one did not verify.
        """
        latest = self._latest
        if latest is None or latest.bundle is not bundle or latest.checkpoint is None:
            raise ValueError("the bundle that verified last is another one")
        return latest.checkpoint

    def _establish_time(self, bundle: Bundle) -> list[TimestampVerificationResult]:
        """Return the verified times of a bundle; those of the bundle just seen are known."""
        latest = self._latest
        if latest is not None and latest.bundle is bundle:
            return latest.times
        times = super()._establish_time(bundle)
        self._latest = _Latest(bundle, times)
        return times

    def _verify_timestamp_authority(self, bundle: Bundle) -> list[TimestampVerificationResult]:
        """Return the verified timestamps; no more than stock allows, none of them twice."""
        data = bundle.verification_material.timestamp_verification_data
        responses = [] if data is None else data.rfc3161_timestamps
        if len(responses) > 1:
            return super()._verify_timestamp_authority(bundle)
        signature = bundle.signature
        found = (self._verify_signed_timestamp(response, signature) for response in responses)
        return [result for result in found if result is not None]

    def _verify_signed_timestamp(
        self, timestamp_response: TimeStampResponse, message: bytes
    ) -> TimestampVerificationResult | None:
        """Return the time that a trusted authority gave the signature, if one of them did."""
        for clock in self._clocks:
            time = clock.verified_time(timestamp_response, message)
            if time is not None:
                return TimestampVerificationResult(
                    source=TimestampSource.TIMESTAMP_AUTHORITY, time=time
                )
        return None

    def _verify_common_signing_cert(self, bundle: Bundle, policy: VerificationPolicy) -> None:
        """Make stock's steps 0 to 6; for a certificate seen before only those about this entry.

        Steps 1 to 3 (chain, SCT, key usage, policy) depend on the certificate, the trusted root
        and the time. A chain that verified once verifies at any time at which all its
        certificates are valid, so inside that span these steps, and 6, cannot come out otherwise.
        Steps 4 and 5 are made here in any case: they read no less than stock's do.
        """
        certificate = bundle.signing_certificate
        about = (certificate, policy)
        times = self._establish_time(bundle)
        known = self._spans.get(about)
        if known is None or not times or not known.covers(times):
            super()._verify_common_signing_cert(bundle, policy)
            chain = self._verify_chain_at_time(certificate, times[-1])
            self._remember(about, _Span.of([certificate, *chain]))
        checkpoint = self._verified_entry(bundle.log_entry._inner)
        self._latest = _Latest(bundle, times, checkpoint)

    def _verified_entry(self, entry: TransparencyLogEntry) -> Checkpoint:
        """Return the checkpoint of an entry whose proof, checkpoint and promise verify.

        Stock's steps 4 and 5, but that a promise without a time, which stock passes over, is
        refused: nobody can say what it promises.
        """
        proof, key_id = entry.inclusion_proof, entry.log_id.key_id
        require_inclusion(
            proof.log_index,
            proof.tree_size,
            leaf_hash(entry.canonicalized_body),
            proof.root_hash,
            proof.hashes,
        )
        # Stock has refused a bundle without a checkpoint when it was parsed.
        note = SignedNote.of(proof.checkpoint.envelope if proof.checkpoint else "")
        checkpoint = unverified_checkpoint(note.text, key_id.hex())
        note.verify(self._logs, key_id)
        if checkpoint.root_hash != proof.root_hash.hex():
            raise VerificationError(
                f"the inclusion proof leads to the root {proof.root_hash.hex()}, the checkpoint "
                f"signs {checkpoint.root_hash}"
            )
        promise = entry.inclusion_promise
        if promise is None:
            return checkpoint
        if not entry.integrated_time:
            raise VerificationError(
                "the inclusion promise comes without the integrated time that it is about"
            )
        try:
            self._logs.verify(
                key_id=KeyID(key_id),
                signature=promise.signed_entry_timestamp,
                data=promised(entry),
            )
        except VerificationError as error:
            raise VerificationError(f"SET: invalid inclusion promise: {error}") from error
        return checkpoint

    def _remember(self, about: tuple[Certificate, VerificationPolicy], span: _Span) -> None:
        # Anybody can send certificates without end. Forgetting all of them costs time and nothing
        # else.
        if len(self._spans) >= REMEMBERED:
            self._spans.clear()
        self._spans[about] = span


def _sha256(input_: bytes | Hashed) -> bytes:
    if isinstance(input_, bytes):
        return hashlib.sha256(input_).digest()
    return sha256_digest(input_).digest


def log_ids(log: TransparencyLogInstance) -> list[bytes]:
    """Return the ids by which entries and checkpoints may name a log."""
    ids = [log.log_id.key_id]
    if log.checkpoint_key_id is not None:
        ids.append(log.checkpoint_key_id.key_id)
    return ids
