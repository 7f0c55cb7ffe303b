from __future__ import annotations

import pytest

from inferencebench_pipeline.sandbox.sigstore import tiles
from inferencebench_pipeline.sandbox.sigstore.log import TransparencyLog
from tests.sandbox.sigstore.proofs import hash_leaf, tree_hash


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> TransparencyLog:
    grown = TransparencyLog(tmp_path_factory.mktemp("tiles") / "log.jsonl")
    for number in range(600):
        grown.append(b"%d" % number)
    return grown


def test_full_tiles_carry_no_width_and_the_last_one_does(log: TransparencyLog) -> None:
    leaves = [hash_leaf(b"%d" % number) for number in range(600)]
    assert tiles.read(log, "0/000") == b"".join(leaves[:256])
    assert tiles.read(log, "0/001") == b"".join(leaves[256:512])
    assert tiles.read(log, "0/002.p/88") == b"".join(leaves[512:])
    with pytest.raises(tiles.NoSuchTileError):
        tiles.read(log, "0/002")


def test_a_tile_above_holds_the_roots_of_the_tiles_below(log: TransparencyLog) -> None:
    bodies = [b"%d" % number for number in range(512)]
    assert tiles.read(log, "1/000.p/2") == tree_hash(bodies[:256]) + tree_hash(bodies[256:])


def test_a_partial_tile_stays_readable_after_the_log_has_grown(log: TransparencyLog) -> None:
    assert tiles.read(log, "0/000.p/3") == tiles.read(log, "0/000")[:96]
    assert tiles.read(log, "entries/000.p/2") == b"\x00\x010\x00\x011"
