"""Our canonical form agrees with the format's vectors and with every published envelope."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from inferencebench_pipeline.envelope.canonical import (
    EnvelopeError,
    canonical_body,
    content_hash,
    parse_envelope,
    serialise,
)
from tests.envelope.vectors import our_vectors


def assert_agrees(vector: dict[str, Any]) -> None:
    data = vector["input_text"].encode("utf-8", "surrogatepass")
    if not vector["accepted"]:
        with pytest.raises(EnvelopeError):
            parse_envelope(data)
        return
    envelope = parse_envelope(data)
    assert canonical_body(envelope).decode() == vector["canonical"]
    assert content_hash(envelope) == vector["sha256"]
    assert hashlib.sha256(vector["canonical"].encode()).hexdigest() == vector["sha256"]


@pytest.mark.parametrize("vector", our_vectors(), ids=lambda vector: vector["name"])
def test_our_vectors_agree(vector: dict[str, Any]) -> None:
    assert_agrees(vector)


def test_every_vector_of_the_format_agrees(shared_data: Path) -> None:
    folder = shared_data / "envelope-vectors"
    names = [item["file"] for item in json.loads((folder / "manifest.json").read_text())["vectors"]]
    vectors = [json.loads((folder / name).read_text()) for name in names]
    read = [vector for vector in vectors if "input_text" in vector]
    assert len(read) > 50
    for vector in read:
        assert_agrees(vector)


def test_every_published_envelope_agrees_and_survives_rewriting(shared_data: Path) -> None:
    folder = shared_data / "corpus"
    listed = json.loads((folder / "manifest.json").read_text())["envelopes"]
    assert len(listed) == 50
    for item in listed:
        envelope = parse_envelope((folder / item["path"]).read_bytes())
        assert content_hash(envelope) == item["content_hash"]
        assert envelope.hardware_fingerprint.fingerprint_sha256 == item["fingerprint_sha256"]
        assert content_hash(parse_envelope(serialise(envelope))) == item["content_hash"]
