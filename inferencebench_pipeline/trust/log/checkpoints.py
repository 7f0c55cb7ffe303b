"""Checkpoints: the signed states of a log that the proofs in bundles lead to."""

from __future__ import annotations

import base64
import json

from pydantic import Field
from sigstore._internal.rekor.checkpoint import SignedCheckpoint
from sigstore._internal.trust import Keyring, RekorKeyring
from sigstore._utils import KeyID
from sigstore_models.trustroot.v1 import TransparencyLogInstance

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.envelope import parse_envelope
from inferencebench_pipeline.errors import PermanentError


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


def checkpoint_of_envelope(envelope: bytes) -> Checkpoint | None:
    """Return the checkpoint that a keyless envelope's inclusion proof leads to.

    Only for bytes whose verdict is good: the note's signature is not looked at again. A
    development signature is in no log and has none.
    """
    signature = parse_envelope(envelope).signature
    if signature is None or signature.method == "dev-key":
        return None
    bundle = json.loads(base64.b64decode(signature.bundle))
    # The verdict is good, and the verifier accepts a bundle with exactly one entry only.
    (entry,) = bundle["verificationMaterial"]["tlogEntries"]
    note = entry["inclusionProof"]["checkpoint"]["envelope"]
    return unverified_checkpoint(note, base64.b64decode(entry["logId"]["keyId"]).hex())


def unverified_checkpoint(note: str, log_id: str) -> Checkpoint:
    """Return what a note states, whoever signed it (C2SP tlog-checkpoint).

    Raises:
        CheckpointRefusedError: it is no checkpoint.
    """
    try:
        # C2SP tlog-checkpoint: the first three lines are the origin, the size and the root hash.
        origin, size, root = note.split("\n", 3)[:3]
        return Checkpoint(
            log_id=log_id,
            origin=origin,
            size=int(size),
            root_hash=base64.b64decode(root, validate=True).hex(),
        )
    except ValueError as error:
        raise CheckpointRefusedError(f"the note is not a checkpoint: {error}") from error


def verified_checkpoint(note: str, log: TransparencyLogInstance) -> Checkpoint:
    """Return the checkpoint in ``note`` once the log's own key is found to have signed it.

    Raises:
        CheckpointRefusedError: it is no checkpoint, or another key signed it.
    """
    try:
        signed = SignedCheckpoint.from_text(note).signed_note
        # A trust root may leave the id for checkpoints out. Then they carry the id of the log.
        key_id = (log.checkpoint_key_id or log.log_id).key_id
        signed.verify(RekorKeyring(Keyring([log.public_key])), KeyID(key_id))
    # Sigstore raises errors of many kinds for text it does not expect. Only none is acceptance.
    except Exception as error:
        raise CheckpointRefusedError(
            f"log {log.base_url} shows a checkpoint that its trusted key did not sign: {error}"
        ) from error
    return unverified_checkpoint(note, log.log_id.key_id.hex())
