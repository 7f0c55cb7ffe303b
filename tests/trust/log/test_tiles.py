"""Tiles: proofs put together from them are those of the tree, at every size."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from inferencebench_pipeline.sandbox.sigstore import tiles as served
from inferencebench_pipeline.sandbox.sigstore.log import TransparencyLog
from inferencebench_pipeline.trust.log.tiles import (
    TileError,
    entry_leaf,
    inclusion_hashes,
)

ENTRIES = 600


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TransparencyLog]:
    log = TransparencyLog(tmp_path_factory.mktemp("log") / "log.jsonl")
    for number in range(ENTRIES):
        log.append(f"entry {number}".encode() * (number % 7 + 1))
    yield log
    log.close()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 255, 256, 257, 511, 512, 513, 600])
def test_an_entry_and_its_proof(log: TransparencyLog, size: int) -> None:
    def read(path: str) -> bytes:
        return served.read(log, path.removeprefix("tile/"))

    for index in {0, 1, size // 2, size - 2, size - 1} & set(range(size)):
        leaf = entry_leaf(read, index, size)
        assert leaf == log.entry(index).leaf
        hashes = inclusion_hashes(read, index, size)
        assert hashes == log.tree.inclusion(index, size)


@pytest.mark.parametrize(
    ("index", "path"),
    [(5, "tile/entries/000.p/6"), (1_234_067, "tile/entries/x004/820.p/148")],
)
def test_the_last_tile_is_asked_for_at_the_width_it_has(index: int, path: str) -> None:
    asked = []

    def read(path: str) -> bytes:
        asked.append(path)
        return b""

    with pytest.raises(TileError):
        entry_leaf(read, index, index + 1)
    assert asked == [path]


def test_a_short_tile_is_an_error() -> None:
    with pytest.raises(TileError):
        inclusion_hashes(lambda _path: b"short", 0, 9)


def test_a_bundle_of_entries_that_ends_too_early_is_told() -> None:
    whole = b"".join(len(entry).to_bytes(2, "big") + entry for entry in (b"one", b"two"))
    assert entry_leaf(lambda _path: whole, 1, 2) == b"two"
    for cut in (1, 2, 3):
        with pytest.raises(TileError):
            entry_leaf(lambda _path, cut=cut: whole[:-cut], 1, 2)
