"""The check both Rekor versions make before they log anything: the signature is the key's."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from inferencebench_pipeline.errors import PermanentError


class SignatureRefusedError(PermanentError):
    """A certificate, key or signature that cannot be logged."""


def key_of_certificate(der: bytes) -> ec.EllipticCurvePublicKey:
    """Return the P-256 key of a DER certificate.

    Raises:
        SignatureRefusedError: it is no certificate, or its key is of another kind.
    """
    try:
        return _p256(x509.load_der_x509_certificate(der).public_key())
    except ValueError as error:
        raise SignatureRefusedError("the certificate cannot be parsed") from error


def key_of_pem(pem: bytes) -> ec.EllipticCurvePublicKey:
    """Return the P-256 key of a PEM certificate or public key.

    Raises:
        SignatureRefusedError: it is neither, or the key is of another kind.
    """
    try:
        if b"BEGIN CERTIFICATE" in pem:
            return _p256(x509.load_pem_x509_certificate(pem).public_key())
        return _p256(load_pem_public_key(pem))
    except ValueError as error:
        raise SignatureRefusedError("the public key cannot be parsed") from error


def check_signature(key: ec.EllipticCurvePublicKey, signature: bytes, digest: bytes) -> None:
    """Check an ECDSA signature over a SHA-256 digest.

    Raises:
        SignatureRefusedError: the signature is not this key's over this digest.
    """
    if len(digest) != hashes.SHA256.digest_size:
        raise SignatureRefusedError("the digest is not a SHA-256 digest")
    try:
        key.verify(signature, digest, ec.ECDSA(Prehashed(hashes.SHA256())))
    except InvalidSignature as error:
        raise SignatureRefusedError("the signature does not verify with the public key") from error


def _p256(key: object) -> ec.EllipticCurvePublicKey:
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise SignatureRefusedError("the public key is not an ECDSA P-256 key, the only kind logged")
