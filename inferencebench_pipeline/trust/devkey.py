"""Development signatures: an Ed25519 key that the policy pins, in no log, vouched for by nobody."""

from __future__ import annotations

import base64
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from inferencebench_pipeline.envelope.models import SignatureBlock
from inferencebench_pipeline.trust.policy import DevKeyRule, ed25519_from_pem


class WrongSignatureError(ValueError):
    """The pinned key did not sign this message."""


def key_fingerprint(key: Ed25519PublicKey) -> str:
    """Return the SHA-256 of the raw key, hex: how verdicts name a development key."""
    return hashlib.sha256(_raw(key)).hexdigest()


def pinned_key(signature: SignatureBlock, pinned: list[DevKeyRule]) -> Ed25519PublicKey:
    """Return the pinned key that the envelope says signed it.

    The key in the envelope only selects; what verifies is the key from the policy.

    Raises:
        ValueError: the envelope's key is not Ed25519 in PEM, or is not pinned.
    """
    claimed = ed25519_from_pem(signature.certificate)
    for rule in pinned:
        if _raw(rule.public_key) == _raw(claimed):
            return rule.public_key
    raise ValueError(f"the policy does not pin the development key {key_fingerprint(claimed)}")


def verify_dev_key(message: bytes, signature: SignatureBlock, key: Ed25519PublicKey) -> None:
    """Check a development signature: standard padded base64 of the 64 bytes over ``message``.

    Raises:
        WrongSignatureError: the key did not sign ``message``.
        ValueError: the signature is not base64.
    """
    raw = base64.b64decode(signature.bundle, validate=True)
    try:
        key.verify(raw, message)
    except InvalidSignature as error:
        raise WrongSignatureError("the pinned development key did not sign this hash") from error


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)
