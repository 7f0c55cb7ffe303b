"""A timestamped signature that is not yet confirmed in the log, kept before it is sent there.

A retry after a crash finds it and sends the very same entry again. A log that holds the entry
already answers with its place, so one signature never becomes two entries.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import ValidationError
from rfc3161_client import TimeStampResponse, decode_timestamp_response
from sigstore._internal.rekor import EntryRequestBody, RekorLogSubmitter
from sigstore.dsse import Envelope as DsseEnvelope
from sigstore.hashes import Hashed
from sigstore.models import Bundle, TransparencyLogEntry
from sigstore_models.common.v1 import HashAlgorithm, HashOutput, MessageSignature

from inferencebench_pipeline.documents import DocumentPart


class UnusableIntentError(ValueError):
    """The kept file is not a pending signature, or is one over something else."""


class _Kept(DocumentPart):
    """The content of ``signature.json``."""

    version: Literal[1] = 1
    """The version of the form of the document."""
    message_sha256: str
    """The SHA-256 of the signed bytes."""
    log: str
    """The log that the entry goes to."""
    certificate: str
    """The certificate as PEM."""
    signature: str
    """The signature, in base64."""
    timestamps: tuple[str, ...]
    """The signed timestamps, in base64."""


def kept_message_sha256(data: bytes) -> str | None:
    """Return the SHA-256 of the message that a kept signature is over; None of no kept one."""
    try:
        return _Kept.model_validate_json(data).message_sha256
    except ValidationError:
        return None


@dataclass(frozen=True)
class PreparedSignature:
    """Everything of a bundle but its log entry."""

    certificate: x509.Certificate
    content: MessageSignature | DsseEnvelope
    timestamps: tuple[TimeStampResponse, ...]

    def request(self, log: RekorLogSubmitter) -> EntryRequestBody:
        """Return the entry to propose; the same one each time."""
        if isinstance(self.content, DsseEnvelope):
            return log._build_dsse_request(self.content, self.certificate)
        digest = self.content.message_digest
        assert digest is not None
        hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=digest.digest)
        return log._build_hashed_rekord_request(
            hashed_input=hashed, signature=self.content.signature, certificate=self.certificate
        )

    def bundle(self, entry: TransparencyLogEntry) -> Bundle:
        """Return the finished bundle."""
        return Bundle._from_parts(self.certificate, self.content, entry, list(self.timestamps))

    def covers(self, moment: datetime) -> bool:
        """Return whether the certificate is valid at ``moment``."""
        certificate = self.certificate
        return certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc

    def kept(self, *, log: str) -> bytes:
        """Return what to keep of a signature over a message before it is sent to ``log``."""
        content = self.content
        # Only signatures on envelopes are kept. A corpus statement is made anew after a crash.
        assert isinstance(content, MessageSignature)
        assert content.message_digest is not None
        kept = _Kept(
            message_sha256=content.message_digest.digest.hex(),
            log=log,
            certificate=self.certificate.public_bytes(Encoding.PEM).decode("ascii"),
            signature=base64.b64encode(content.signature).decode("ascii"),
            timestamps=tuple(
                base64.b64encode(item.as_bytes()).decode("ascii") for item in self.timestamps
            ),
        )
        return kept.model_dump_json(indent=2).encode() + b"\n"

    @classmethod
    def from_kept(cls, data: bytes, *, message: bytes, log: str) -> Self:
        """Return the signature over ``message`` for ``log`` that :meth:`kept` wrote.

        Raises:
            UnusableIntentError: it is damaged, over another message, or for another log.
        """
        try:
            kept = _Kept.model_validate_json(data)
            certificate = x509.load_pem_x509_certificate(kept.certificate.encode())
            signature = base64.b64decode(kept.signature, validate=True)
            timestamps = tuple(
                decode_timestamp_response(base64.b64decode(item, validate=True))
                for item in kept.timestamps
            )
        except (ValidationError, ValueError) as error:
            raise UnusableIntentError(f"not a prepared signature: {error}") from error
        # The log belongs to the signature: sent to another one it would become a second entry.
        if (kept.message_sha256, kept.log) != (hashlib.sha256(message).hexdigest(), log):
            raise UnusableIntentError(f"it is over another message, or for {kept.log}")
        return cls(certificate, message_signature(message, signature), timestamps)


def message_signature(message: bytes, signature: bytes) -> MessageSignature:
    """Return a bundle's statement that ``signature`` is over the SHA-256 of ``message``."""
    return MessageSignature(
        message_digest=HashOutput(
            # The models of sigstore take their bytes as base64, as they stand in the JSON.
            algorithm=HashAlgorithm.SHA2_256,
            digest=base64.b64encode(hashlib.sha256(message).digest()),
        ),
        signature=base64.b64encode(signature),
    )
