"""Rekor's ``hashedrekord`` entry bodies, and the payload of its signed entry timestamp.

Source: sigstore/rekor ``pkg/types/hashedrekord/v0.0.1``, rekor-v2-spec (0.0.2); RFC 8785.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate
from sigstore.verify.verifier import _v2_verifier_from_certificate
from sigstore_models.rekor.v1 import TransparencyLogEntry

# Canonical as RFC 8785 writes it: sorted keys, no blanks. Hex and base64 need no escapes.
_V1 = (
    '{{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{{"data":{{"hash":{{"algorithm":"sha256",'
    '"value":"{digest}"}}}},"signature":{{"content":"{signature}",'
    '"publicKey":{{"content":"{pem}"}}}}}}}}'
)
_V2 = (
    '{{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{{"hashedRekordV002":{{"data":'
    '{{"algorithm":"SHA2_256","digest":"{digest}"}},"signature":{{"content":"{signature}",'
    '"verifier":{{"keyDetails":"{details}","x509Certificate":{{"rawBytes":"{der}"}}}}}}}}}}}}'
)
_EXACT_INTEGERS_END = 2**53
"""The first integer that RFC 8785 refuses; those below are their plain digits."""


@dataclass(frozen=True)
class SigningCertificate:
    """A certificate with an elliptic-curve key, decoded, and as log entries hold it."""

    key: ec.EllipticCurvePublicKey
    pem: str
    der: str
    details: str
    """The key's algorithm in Rekor v2's words."""

    @classmethod
    def of(cls, certificate: Certificate) -> SigningCertificate | None:
        """Return what there is to know about ``certificate``; None for another kind of key."""
        key = certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return None
        return cls(
            key,
            _base64(certificate.public_bytes(Encoding.PEM)),
            _base64(certificate.public_bytes(Encoding.DER)),
            str(_v2_verifier_from_certificate(certificate).key_details.value),
        )

    def entry_body(self, version: str, signature: bytes, sha256: bytes) -> bytes | None:
        """Return the body of the entry for ``signature`` over the digest ``sha256``.

        None for a version of ``hashedrekord`` other than 0.0.1 and 0.0.2.
        """
        content = _base64(signature)
        if version == "0.0.1":
            body = _V1.format(digest=sha256.hex(), signature=content, pem=self.pem)
        elif version == "0.0.2":
            body = _V2.format(
                digest=_base64(sha256), signature=content, details=self.details, der=self.der
            )
        else:
            return None
        return body.encode("ascii")


def promised(entry: TransparencyLogEntry) -> bytes:
    """Return what the inclusion promise of a Rekor v1 entry is a signature over.

    Raises:
        ValueError: the entry states no integrated time, or a number too large for RFC 8785.
    """
    integrated_time, log_index = entry.integrated_time, entry.log_index
    if integrated_time is None:
        raise ValueError("a promise is about an integrated time, and the entry states none")
    if max(integrated_time, log_index) >= _EXACT_INTEGERS_END:
        raise ValueError(f"{max(integrated_time, log_index)} exceeds what RFC 8785 can write")
    return (
        f'{{"body":"{_base64(entry.canonicalized_body)}",'
        f'"integratedTime":{integrated_time},"logID":"{entry.log_id.key_id.hex()}",'
        f'"logIndex":{log_index}}}'
    ).encode("ascii")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
