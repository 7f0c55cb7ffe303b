"""The certificate transparency log: every certificate is logged before Fulcio hands it out.

It has no read API: Sigstore clients check the signed timestamp and never ask the log.
"""

from __future__ import annotations

import hashlib
import struct
import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from inferencebench_pipeline.sandbox.sigstore.keys import spki_der
from inferencebench_pipeline.sandbox.sigstore.log import TransparencyLog

_VERSION_1 = b"\x00"
_CERTIFICATE_TIMESTAMP = b"\x00"
_TIMESTAMPED_ENTRY = b"\x00"
_PRECERT_ENTRY = 1
_NO_EXTENSIONS = b"\x00\x00"
# The hash is sha256 (4) and the signature ecdsa (3), as TLS numbers them (RFC 5246, 7.4.1.4.1).
_SHA256_ECDSA = b"\x04\x03"


class CertificateLog:
    """Logs precertificates and answers with signed certificate timestamps (RFC 6962 section 3)."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, log: TransparencyLog) -> None:
        self._key = key
        self._log = log
        self._log_id = hashlib.sha256(spki_der(key.public_key())).digest()

    def add_precertificate(self, issuer: ec.EllipticCurvePublicKey, tbs: bytes) -> bytes:
        """Log a TBSCertificate and return the list of its one SCT, TLS-encoded (section 3.3).

        Args:
            issuer: the key that will sign the certificate.
            tbs: the DER TBSCertificate without the extension the list will go into.

        Raises:
            LogStorageError: it could not be logged.
        """
        time_ms = time.time_ns() // 1_000_000
        entry = (
            struct.pack(">QH", time_ms, _PRECERT_ENTRY)
            + hashlib.sha256(spki_der(issuer)).digest()
            + len(tbs).to_bytes(3, "big")
            + tbs
            + _NO_EXTENSIONS
        )
        # The leaf (section 3.4) and what is signed (section 3.2) are the same bytes.
        self._log.append(_VERSION_1 + _TIMESTAMPED_ENTRY + entry, time_ms=time_ms)
        signature = self._key.sign(
            _VERSION_1 + _CERTIFICATE_TIMESTAMP + entry, ec.ECDSA(hashes.SHA256())
        )
        sct = (
            _VERSION_1
            + self._log_id
            + struct.pack(">Q", time_ms)
            + _NO_EXTENSIONS
            + _SHA256_ECDSA
            + _opaque(signature)
        )
        return _opaque(_opaque(sct))


def _opaque(data: bytes) -> bytes:
    """Return a TLS variable-length vector with a 16-bit length (RFC 8446 section 3.4)."""
    return struct.pack(">H", len(data)) + data
