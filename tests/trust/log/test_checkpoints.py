"""Checkpoints: read from envelopes and notes, and refused when a note is none or is not signed."""

from __future__ import annotations

import base64
import json

import pytest

from inferencebench_pipeline.envelope.canonical import content_hash, parse_envelope, serialise
from inferencebench_pipeline.envelope.models import SignatureBlock
from inferencebench_pipeline.trust.log.checkpoints import (
    CheckpointRefusedError,
    checkpoint_of_envelope,
    unverified_checkpoint,
    verified_checkpoint,
)
from inferencebench_pipeline.trust.verify.bundle import parse_bundle, verify_bundle
from tests.trust.conftest import World
from tests.trust.records import Signed

ROOT = bytes(range(32))
NOTE = f"log.example - 7\n42\n{base64.b64encode(ROOT).decode()}\n\n— log.example AAAA\n"


def test_a_note_states_origin_size_and_root() -> None:
    found = unverified_checkpoint(NOTE, "ab")
    assert (found.log_id, found.origin, found.size) == ("ab", "log.example - 7", 42)
    assert found.root == ROOT


@pytest.mark.parametrize(
    "note",
    [
        "",
        "one line",
        "two\nlines",
        NOTE.replace("42", "x"),
        NOTE.replace("42", "-1"),
        NOTE.replace("42", ""),
        "origin\n42\nno base64!\n",
        "origin\n42\nAAAA\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(note: str) -> None:
    with pytest.raises(CheckpointRefusedError, match="not a checkpoint"):
        unverified_checkpoint(note, "ab")


def test_the_checkpoint_of_a_keyless_envelope_is_that_of_its_proof(
    running_world: World, signed: Signed
) -> None:
    envelope = parse_envelope(signed.data)
    assert envelope.signature is not None
    bundle = parse_bundle(base64.b64decode(envelope.signature.bundle))
    verified = verify_bundle(content_hash(envelope).encode(), bundle, running_world.trust)
    found = checkpoint_of_envelope(signed.data)
    assert found is not None
    assert (found.log_id, found.size) == (verified.log_id, verified.tree_size)
    assert found.root_hash == verified.root_hash


def test_an_envelope_that_is_in_no_log_has_no_checkpoint(signed: Signed) -> None:
    envelope = parse_envelope(signed.data)
    unsigned = envelope.model_copy(update={"signature": None})
    assert checkpoint_of_envelope(serialise(unsigned)) is None
    block = SignatureBlock(method="dev-key", certificate="x", rekor_log_index=-1, bundle="AAAA")
    by_key = envelope.model_copy(update={"signature": block})
    assert checkpoint_of_envelope(serialise(by_key)) is None


def test_only_the_logs_own_key_makes_a_note_a_checkpoint_of_it(
    running_world: World, signed: Signed
) -> None:
    signature = parse_envelope(signed.data).signature
    assert signature is not None
    bundle = json.loads(base64.b64decode(signature.bundle))
    (entry,) = bundle["verificationMaterial"]["tlogEntries"]
    note = entry["inclusionProof"]["checkpoint"]["envelope"]
    key_id = base64.b64decode(entry["logId"]["keyId"])
    (own,) = [log for log in running_world.trust.logs if log.log_id.key_id == key_id]
    assert verified_checkpoint(note, own) == unverified_checkpoint(note, key_id.hex())
    for log in running_world.trust.logs:
        if log is not own:
            with pytest.raises(CheckpointRefusedError, match="did not sign"):
                verified_checkpoint(note, log)
    changed = note.replace("\n", "0\n", 2).replace("0\n", "\n", 1)
    for other in (NOTE, "", changed):
        with pytest.raises(CheckpointRefusedError, match="did not sign"):
            verified_checkpoint(other, own)
