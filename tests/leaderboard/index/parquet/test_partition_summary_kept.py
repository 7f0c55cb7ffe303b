"""The state of a partition's rows is looked up once."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferencebench_pipeline.leaderboard.index.parquet.made_by import made_by
from inferencebench_pipeline.leaderboard.index.parquet.partition_summary import (
    STANDING_FILE,
    PartitionStanding,
    load_standing,
    save_standing,
    standing_of,
)

FINDING: dict[str, str | None] = {
    "repo_id": "org/a", "row_id": "0" * 16, "kind": "malformed", "severity": "error",
    "revision": None, "detail": "\x1f</script>", "seen_at": "2026-05-30T09:00:00+00:00",
}  # fmt: skip
MAY = PartitionStanding(states={"verified": 3}, groups={"g": ("k1", 2), "h": ("k2", 1)})
JUNE = PartitionStanding(
    states={"verified": 1, "failed": 1}, groups={"g": ("k3", 1)},
    findings=[FINDING],
)  # fmt: skip
JULY = PartitionStanding(states={"verified": 1})
REJECTED = PartitionStanding(states={"failed": 2})


def test_what_was_looked_into_comes_back_as_it_was(tmp_path: Path):
    save_standing(tmp_path, {"may": MAY, "june": JUNE, "rejected": REJECTED})

    assert load_standing(tmp_path) == {"may": MAY, "june": JUNE, "rejected": REJECTED}


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"made_by": "somebody else", "partitions": {}}',
        b'{"made_by": "%b", "partitions": {"x": [{}, {"g": "k"}]}}' % made_by().encode(),
    ],
)
def test_what_cannot_be_used_is_looked_into_again(tmp_path: Path, damage: bytes):
    (tmp_path / STANDING_FILE).write_bytes(damage)

    assert load_standing(tmp_path) == {}


def test_rows_of_a_group_are_found_wherever_they_are():
    standing = standing_of({"may": MAY, "june": JUNE, "july": JULY})

    assert list(standing.states.items()) == [("failed", 1), ("verified", 5)]
    assert (standing.groups["g"].rows, standing.groups["g"].partitions) == (3, ["may", "june"])
    assert standing.groups["h"].partitions == ["may"]
    assert [finding.model_dump() for finding in standing.findings] == [FINDING]


def test_a_group_has_another_key_when_rows_of_it_changed_anywhere():
    def key(*partitions: PartitionStanding) -> str:
        return standing_of(dict(zip("abc", partitions, strict=False))).groups["g"].key

    assert key(MAY, JUNE) == key(MAY, REJECTED, JUNE)
    assert len({key(MAY), key(JUNE), key(MAY, JUNE), key(JUNE, MAY)}) == 4
