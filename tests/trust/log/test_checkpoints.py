"""Checkpoints: read from envelopes and notes, and refused when a note is none or is not signed."""

from __future__ import annotations

import base64
import json

import pytest
from sigstore._internal.trust import Keyring
from sigstore.errors import VerificationError

from inferencebench_pipeline.envelope.canonical import parse_envelope
from inferencebench_pipeline.trust.log.checkpoints import (
    CheckpointRefusedError,
    SignedNote,
    unverified_checkpoint,
    verified_checkpoint,
)
from tests.trust.conftest import World
from tests.trust.records import Signed

# C2SP signed-note: a text, a blank line, and lines of a dash, a name and the base64 of a signature.
WELL_FORMED = "text\n\n\u2014 log.example AAAAAAA=\n"


def test_a_signed_note_is_its_text_and_its_signatures() -> None:
    note = SignedNote.of(WELL_FORMED + "\u2014 other AQIDBAU=\n")
    assert note.text == "text\n"
    assert note.signatures == ((bytes(4), b"\0"), (b"\1\2\3\4", b"\5"))


@pytest.mark.parametrize(
    ("note", "said"),
    [
        ("", "one blank line"),
        ("text\n", "one blank line"),
        ("text\n\n", "one blank line"),
        (WELL_FORMED.rstrip(), "one blank line"),
        (WELL_FORMED.replace("\n\n", "\n\n\n"), "one blank line"),
        (WELL_FORMED + "\n\n", "one blank line"),
        (WELL_FORMED.replace("AAAAAAA=", "A"), "no base64"),
        (WELL_FORMED.replace("AAAAAAA=", "\u00e9AAA"), "no base64"),
        (WELL_FORMED.replace("AAAAAAA=", "AAAAAA=="), "too short for any key"),
    ],
)
def test_what_is_no_signed_note_is_refused(note: str, said: str) -> None:
    with pytest.raises(CheckpointRefusedError, match=said):
        SignedNote.of(note)


def test_a_note_without_a_signature_of_the_key_is_not_signed_by_it() -> None:
    with pytest.raises(VerificationError, match="no signature of the key 010203"):
        SignedNote.of(WELL_FORMED).verify(Keyring(), b"\1\2\3\4")


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
        NOTE.replace("42", "4_2"),
        NOTE.replace("42", " 42"),
        NOTE.replace("42", "+42"),
        NOTE.replace("42", "\u0664\u0662"),
        NOTE.replace("42", "9" * 21),
        NOTE.replace("log.example - 7", " "),
        NOTE.replace("=\n", "A\n"),
        "origin\n42\nno base64!\n",
        "origin\n42\nAAAA\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(note: str) -> None:
    with pytest.raises(CheckpointRefusedError, match="not a checkpoint"):
        unverified_checkpoint(note, "ab")


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
