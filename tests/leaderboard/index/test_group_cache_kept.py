"""Groups that did not change are passed on from build to build, as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferencebench_pipeline.leaderboard.analysis import change_points
from inferencebench_pipeline.leaderboard.analysis.variance import KeptVariance
from inferencebench_pipeline.leaderboard.index import group_cache
from inferencebench_pipeline.leaderboard.index.group_cache import (
    KeptGroup,
    load_groups,
    save_groups,
)
from inferencebench_pipeline.leaderboard.index.manifest import DOCUMENT_FILE
from inferencebench_pipeline.leaderboard.json_assembly import Assembly
from tests.leaderboard.boards import board_of

BOARD = board_of(9, seed=3)


def plain(group: KeptGroup) -> tuple[object, ...]:
    """What a group is, whether its parts are bytes or a view into a document."""
    spreads = [(item.p_values, item.place, bytes(item.data)) for item in group.variances]
    return group.group_id, group.key, group.order, bytes(group.group), group.changes, spreads


def kept() -> KeptGroup:
    return KeptGroup(
        group_id="0" * 16,
        key="k",
        order="o",
        group='{"title":"\u00e4 group"}'.encode(),
        changes=(
            change_points.TestedChange(p_value=1.0),
            change_points.TestedChange(p_value=0.01, change=BOARD.changes[0]),
        ),
        variances=tuple(map(KeptVariance.of, BOARD.variances)),
    )


def written(folder: Path, group: KeptGroup) -> None:
    document = Assembly({"format": "x"})
    (at,) = document.add_list("groups", [(group.group,)])
    spreads = document.add_list("variances", [(item.data, b"}") for item in group.variances])
    (folder / DOCUMENT_FILE).write_bytes(document.whole())
    places = [item.place for item in group.variances]
    save_groups(folder, [group], {(group.group_id,): at, **dict(zip(places, spreads, strict=True))})


def test_a_group_comes_back_as_it_was_kept(tmp_path: Path):
    written(tmp_path, kept())

    (found,) = load_groups(tmp_path)

    assert plain(found) == plain(kept())


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b'{"made_by": "somebody else"}', b"\xff"])
def test_what_cannot_be_read_is_made_anew(tmp_path: Path, damage: bytes):
    written(tmp_path, kept())
    (tmp_path / group_cache.GROUPS_FILE).write_bytes(damage)

    assert load_groups(tmp_path) == []
