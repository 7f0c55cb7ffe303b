"""Groups that did not change are passed on from build to build, as they were."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec import Raw

from inferencebench_pipeline.leaderboard.analysis import change_points
from inferencebench_pipeline.leaderboard.analysis.variance import KeptVariance
from inferencebench_pipeline.leaderboard.index import group_cache
from inferencebench_pipeline.leaderboard.index.group_cache import (
    KeptGroup,
    load_groups,
    save_groups,
)
from tests.leaderboard.boards import board_of

BOARD = board_of(9, seed=3)
UNTOLD = change_points.TestedChange(p_value=1.0)
TESTED = change_points.TestedChange(p_value=0.01, change=BOARD.changes[0])


def kept() -> KeptGroup:
    return KeptGroup(
        group_id="0" * 16,
        key="k",
        order="o",
        group=Raw('{"title":"\u00e4 group"}'.encode()),
        changes=(
            UNTOLD.kept(),
            TESTED.kept(),
        ),
        variances=tuple(map(KeptVariance.of, BOARD.variances)),
    )


def written(folder: Path, group: KeptGroup) -> None:
    save_groups(folder, [group], b"{}")


def test_a_group_comes_back_as_it_was_kept(tmp_path: Path):
    written(tmp_path, kept())

    (found,) = load_groups(tmp_path)

    assert msgspec.json.encode(found) == msgspec.json.encode(kept())
    assert list(map(change_points.TestedChange.of_kept, found.changes)) == [UNTOLD, TESTED]


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b'{"made_by": "somebody else"}', b"\xff"])
def test_what_cannot_be_read_is_made_anew(tmp_path: Path, damage: bytes):
    written(tmp_path, kept())
    (tmp_path / group_cache.GROUPS_FILE).write_bytes(damage)

    assert load_groups(tmp_path) == []
