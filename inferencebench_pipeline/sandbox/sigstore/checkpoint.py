"""Checkpoints: a log's size and root hash as a signed note (C2SP tlog-checkpoint, signed-note)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

# C2SP signed-note gives each kind of signature a byte, and this is Ed25519's.
_ED25519_NOTE = b"\x01"


@dataclass(frozen=True)
class NoteKey:
    """A log's checkpoint key: the name it signs under, its id, and how it signs."""

    name: str
    log_id: bytes
    """32 bytes; the first four are the hint that precedes each signature on a note."""
    sign: Callable[[bytes], bytes]


def rekor_v1_note_key(name: str, key: ec.EllipticCurvePrivateKey) -> NoteKey:
    """Return the note key of a v1 log, whose id is the hash of its public key (RFC 6962 3.2)."""
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return NoteKey(
        name=name,
        log_id=hashlib.sha256(spki).digest(),
        sign=lambda message: key.sign(message, ec.ECDSA(hashes.SHA256())),
    )


def rekor_v2_note_key(name: str, key: ed25519.Ed25519PrivateKey) -> NoteKey:
    """Return the note key of a v2 log, whose id covers its name as well (C2SP signed-note)."""
    raw = key.public_key().public_bytes_raw()
    log_id = hashlib.sha256(name.encode() + b"\n" + _ED25519_NOTE + raw).digest()
    return NoteKey(name=name, log_id=log_id, sign=key.sign)


def signed_checkpoint(key: NoteKey, *, origin: str, size: int, root: bytes) -> str:
    """Return the signed note that commits the log ``origin`` to a size and a root hash."""
    text = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    signature = base64.b64encode(key.log_id[:4] + key.sign(text.encode())).decode()
    return f"{text}\n\u2014 {key.name} {signature}\n"
