"""Development signatures: an Ed25519 key that the policy pins, in no log, vouched for by nobody."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from inferencebench_pipeline.envelope import Envelope, SignatureBlock, content_hash
from inferencebench_pipeline.trust.errors import SigningRefusedError
from inferencebench_pipeline.trust.verify.policy import DevKeyRule, ed25519_from_pem


class DevKeySigner:
    """Signs with an Ed25519 key from a file, for work on one's own machine.

    Nothing is logged or timestamped, no policy but one that pins this very key accepts it, and
    the Hub side refuses to publish it.
    """

    def __init__(self, path: Path) -> None:
        """Make a signer; the key is read at each signature.

        Args:
            path: an unencrypted PKCS #8 PEM file that nobody else may read.
        """
        self._path = path

    def sign(self, envelope: Envelope, intent: object = None) -> Envelope:
        """Return ``envelope`` signed; there is no log, so ``intent`` is of no use.

        Raises:
            SigningRefusedError: already signed, or the key file cannot be used.
        """
        del intent
        if envelope.signature is not None:
            raise SigningRefusedError(
                f"the envelope of run {envelope.run_id} is already signed; sign the unsigned one"
            )
        key = _private_key(self._path)
        signature = key.sign(content_hash(envelope).encode("ascii"))
        block = SignatureBlock(
            method="dev-key",
            certificate=public_pem(key.public_key()),
            rekor_log_index=-1,
            bundle=base64.b64encode(signature).decode("ascii"),
        )
        return envelope.model_copy(update={"signature": block})

    def finish(self, envelope: Envelope, intent: object) -> Envelope | None:  # noqa: ARG002
        """Return None: a signature that nobody logs is simply made again."""
        return None

    @property
    def logs(self) -> bool:
        """Return whether a public log keeps what is signed, for ever."""
        return False


def create_dev_key(path: Path) -> str:
    """Write a new key to ``path``, readable by its owner only; return its public half as PEM.

    Raises:
        SigningRefusedError: the file exists already, or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        # The mode is given at creation, so that there is no moment in which others could read the
        # key.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
    except OSError as error:
        raise SigningRefusedError(
            f"cannot write the development key {path}: {error.strerror or error}; an existing key "
            "is never replaced"
        ) from error
    return public_pem(key.public_key())


def public_pem(key: Ed25519PublicKey) -> str:
    """Return the key as the policy pins it and the envelope names it."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


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


def _private_key(path: Path) -> Ed25519PrivateKey:
    try:
        readable_by_others = path.stat().st_mode & 0o077
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise SigningRefusedError(
            f"cannot read the development key {path}: {error.strerror or error}; check "
            "INFERENCEBENCH_DEV_KEY"
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
        readable_by_others = 0
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningRefusedError(
            f"{path} is not an unencrypted Ed25519 key in PKCS #8 PEM; make one with "
            "`inferencebench dev-key`"
        )
    if readable_by_others:
        raise SigningRefusedError(f"{path} can be read by others; chmod 600 it")
    return key


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)
