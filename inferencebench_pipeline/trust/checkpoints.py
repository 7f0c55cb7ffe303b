"""Checkpoints: the signed states of a log that the proofs in bundles lead to."""

from __future__ import annotations

import base64

import orjson
from pydantic import BaseModel, ConfigDict, Field


class Checkpoint(BaseModel):
    """A log's size and root hash at one time, from a signed note that was verified."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    log_id: str
    """Hex of the id that entries of the log carry."""
    origin: str
    """The note's first line; one log, or one shard of a log, has one."""
    size: int = Field(ge=0)
    root_hash: str = Field(pattern=r"^[0-9a-f]{64}$")


def checkpoint_of_envelope(envelope: bytes) -> Checkpoint | None:
    """Return the checkpoint that a keyless envelope's inclusion proof leads to.

    Only for bytes whose verdict is good: the note's signature (C2SP tlog-checkpoint) is not looked
    at again. A development signature is in no log and has none.
    """
    signature = orjson.loads(envelope)["signature"]
    if signature["method"] == "dev-key":
        return None
    bundle = orjson.loads(base64.b64decode(signature["bundle"]))
    (entry,) = bundle["verificationMaterial"]["tlogEntries"]
    origin, size, root = entry["inclusionProof"]["checkpoint"]["envelope"].split("\n", 3)[:3]
    return Checkpoint(
        log_id=base64.b64decode(entry["logId"]["keyId"]).hex(),
        origin=origin,
        size=int(size),
        root_hash=base64.b64decode(root, validate=True).hex(),
    )
