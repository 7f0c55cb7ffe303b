"""Checkpoints: the signed states of a log that the proofs in bundles lead to."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from pydantic import Field
from sigstore._internal.trust import Keyring
from sigstore._utils import KeyID
from sigstore.errors import VerificationError
from sigstore_models.trustroot.v1 import TransparencyLogInstance

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.errors import PermanentError

_SIGNATURES: Final = re.compile(r"\u2014 \S+ (\S+)\n")
"""C2SP signed-note: an em dash, the name of the key, and the base64 of hint and signature."""
_HINT_BYTES: Final = 4
_CHECKPOINT: Final = re.compile(r"([^\S\n]*\S[^\n]*)\n([0-9]{1,20})\n([A-Za-z0-9+/]{43}=)\n")
"""Only digits of ASCII: Python's ``int`` takes blanks, signs and other scripts as well."""


class CheckpointRefusedError(PermanentError):
    """A note is not a checkpoint, or not one that the log's trusted key signed."""


class Checkpoint(DocumentPart):
    """A log's size and root hash at one time, from a signed note that was verified."""

    log_id: str
    """Hex of the id that entries of the log carry."""
    origin: str
    """The note's first line; one log, or one shard of a log, has one."""
    size: int = Field(ge=0)
    """The number of entries."""
    root_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    """The root hash of the log's Merkle tree, in hex."""

    @property
    def root(self) -> bytes:
        """Root hash of the log's Merkle tree at this size."""
        return bytes.fromhex(self.root_hash)


@dataclass(frozen=True)
class SignedNote:
    """A note and its signatures (C2SP signed-note); nobody has verified them yet."""

    text: str
    """The text that is signed, with its last line break."""
    signatures: tuple[tuple[bytes, bytes], ...]
    """The four bytes that hint at each key, and the signature."""

    @classmethod
    def of(cls, note: str) -> SignedNote:
        """Return the note in ``note``.

        Raises:
            CheckpointRefusedError: it is no signed note.
        """
        text, blank, block = note.partition("\n\n")
        if not blank or "\n\n" in note[len(text) + 1 :] or not block.endswith("\n"):
            raise CheckpointRefusedError(
                "the note must be a text, one blank line, and lines of signatures"
            )
        try:
            found = [base64.b64decode(item) for item in _SIGNATURES.findall(block)]
        except ValueError as error:
            raise CheckpointRefusedError(f"a signature is no base64: {error}") from error
        if any(len(item) <= _HINT_BYTES for item in found):
            raise CheckpointRefusedError("a signature of the note is too short for any key")
        return cls(f"{text}\n", tuple((item[:_HINT_BYTES], item[_HINT_BYTES:]) for item in found))

    def verify(self, keyring: Keyring, key_id: bytes) -> None:
        """Raise ``VerificationError`` unless the key ``key_id`` of the keyring signed the note.

        The first signature with that key's hint decides, as in stock sigstore.
        """
        for hint, signature in self.signatures:
            if hint == key_id[:_HINT_BYTES]:
                keyring.verify(
                    key_id=KeyID(key_id), signature=signature, data=self.text.encode("utf-8")
                )
                return
        raise VerificationError(f"the note has no signature of the key {key_id.hex()}")


def unverified_checkpoint(note: str, log_id: str) -> Checkpoint:
    """Return what a note states, whoever signed it (C2SP tlog-checkpoint).

    Raises:
        CheckpointRefusedError: it is no checkpoint.
    """
    # C2SP tlog-checkpoint: the first three lines are the origin, the size and the root hash.
    found = _CHECKPOINT.match(note)
    if found is None:
        raise CheckpointRefusedError(
            "the note is not a checkpoint: its lines must be the name of the log, the number of "
            "entries and the root hash in base64"
        )
    return Checkpoint(
        log_id=log_id,
        origin=found[1],
        size=int(found[2]),
        root_hash=binascii.a2b_base64(found[3], strict_mode=True).hex(),
    )


def verified_checkpoint(note: str, log: TransparencyLogInstance) -> Checkpoint:
    """Return the checkpoint in ``note`` once the log's own key is found to have signed it.

    Raises:
        CheckpointRefusedError: it is no checkpoint, or another key signed it.
    """
    try:
        # A trust root may leave the id for checkpoints out. Then they carry the id of the log.
        key_id = (log.checkpoint_key_id or log.log_id).key_id
        SignedNote.of(note).verify(Keyring([log.public_key]), key_id)
    # Sigstore raises errors of many kinds for keys it does not expect. Only none is acceptance.
    except Exception as error:
        raise CheckpointRefusedError(
            f"log {log.base_url} shows a checkpoint that its trusted key did not sign: {error}"
        ) from error
    return unverified_checkpoint(note, log.log_id.key_id.hex())
