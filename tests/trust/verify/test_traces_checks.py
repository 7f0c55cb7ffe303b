"""The bytes of a traces file that are checked are those whose digest was taken."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from inferencebench_pipeline.measure import ContentDigest, open_traces
from inferencebench_pipeline.runs.run_directory import new_run_id
from inferencebench_pipeline.trust.verify import traces_checks
from inferencebench_pipeline.trust.verify.traces_checks import sealed
from inferencebench_pipeline.trust.verify.verifier import EnvelopeVerifier
from tests.envelope.measured import traces_bytes
from tests.trust.conftest import World
from tests.trust.records import Signed


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory that every file is too large for."""
    monkeypatch.setattr(traces_checks, "_MOST_IN_MEMORY", 100)
    monkeypatch.setattr(traces_checks, "_PIECE", 1_000)


@pytest.mark.usefixtures("small_memory")
def test_a_large_file_is_sealed_against_whoever_writes_to_its_path(tmp_path: Path) -> None:
    path, data = tmp_path / "traces.parquet", traces_bytes(new_run_id())
    path.write_bytes(data)
    with sealed(path) as (digest, content):
        path.write_bytes(b"other bytes")
        assert digest == hashlib.sha256(data).hexdigest()
        assert isinstance(content, Path)
        assert content.read_bytes() == data


@pytest.mark.usefixtures("small_memory")
def test_a_large_file_verifies_like_its_bytes(world: World, signed: Signed, tmp_path: Path) -> None:
    path = tmp_path / "traces.parquet"
    path.write_bytes(signed.traces)
    assert world.verify(signed.data, path) == world.verify(signed.data, signed.traces)


@pytest.mark.usefixtures("small_memory")
def test_a_file_that_is_larger_than_any_run_leaves_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "traces.parquet"
    path.write_bytes(bytes(5_000))
    monkeypatch.setattr(traces_checks, "MOST_FILE_BYTES", 4_000)
    with pytest.raises(ValueError, match="larger than 4000 bytes"), sealed(path):
        pytest.fail("it was taken")


def test_a_small_file_and_bytes_stay_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "traces.parquet"
    path.write_bytes(b"few")
    for source in (path, b"few"):
        with sealed(source) as (digest, content):
            assert (digest, content) == (hashlib.sha256(b"few").hexdigest(), b"few")


def test_what_the_traces_hold_is_proven_in_the_same_reading(world: World, signed: Signed) -> None:
    verifier = EnvelopeVerifier(world.trust, world.policy)

    def content(data: bytes, traces: bytes | None) -> str | None:
        return verifier.prove(data, organisation=world.organisation, traces=traces).content_sha256

    opened = open_traces(signed.traces)
    digest = ContentDigest(opened.rows)
    assert [batch.lengths.size for batch in opened.observed(digest.take).chunk_batches()]
    assert content(signed.data, signed.traces) == digest.hexdigest()
    assert content(signed.data, None) is None
    assert content(signed.data, signed.traces[:-1]) is None
