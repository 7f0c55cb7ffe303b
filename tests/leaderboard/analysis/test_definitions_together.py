"""Runs under several versions of the definitions, in one comparison group."""

from __future__ import annotations

from typing import Any

import pytest

from inferencebench_pipeline.leaderboard.analysis import change_points
from inferencebench_pipeline.leaderboard.analysis.change_points import SMALLEST_SEGMENT
from inferencebench_pipeline.leaderboard.analysis.fronts import fronts_of
from inferencebench_pipeline.leaderboard.analysis.ranked_run import (
    Cell,
    RankedRun,
    comparable_runs,
)
from inferencebench_pipeline.leaderboard.analysis.ranking import group_of
from inferencebench_pipeline.leaderboard.comparability import comparable_keys, family_of
from inferencebench_pipeline.leaderboard.document import Group
from inferencebench_pipeline.measure import (
    NEWEST_DEFINITIONS,
    Definitions,
    definitions_of,
    known_definitions,
)
from tests.leaderboard.boards import row_id

SAME = "ttft_p50_ms"
"""A metric that means the same in definitions 1 and 2."""
CHANGED = "output_tok_per_s"
"""One that does not."""


def known(version: str) -> Definitions:
    found = definitions_of(version)
    assert found is not None
    return found


def run(name: str, version: str | None, **fields: Any) -> RankedRun:
    values = fields.pop("metrics", {SAME: 10.0, CHANGED: 100.0})
    empty: dict[str, Any] = dict.fromkeys(RankedRun._fields)
    said = {
        "repo_id": f"acme/{name}",
        "row_id": row_id(name),
        "group_id": "0" * 16,
        "metric_definitions": version,
        "metrics": {key: Cell(value, value - 1, value + 1) for key, value in values.items()},
    }
    return RankedRun(**empty | said | fields)


def group(*rows: RankedRun) -> Group:
    return group_of(comparable_runs(rows))


def test_all_known_versions_stand_in_one_group_and_others_alone() -> None:
    versions = [each.version for each in known_definitions()]
    assert len({family_of(version) for version in versions}) == 1
    # Groups were first published under it: another value would break every link to them.
    assert family_of("2") == "2"
    assert {family_of(version) for version in ("99", "not stated", "")} == {"99", "not stated", ""}


def test_a_number_that_means_the_same_is_compared_across_versions() -> None:
    found = group(
        run("old", "1", metrics={SAME: 10.0}),
        run("new", "2", metrics={SAME: 20.0, "itl_p50_ms": 1}),
    )
    assert (found.metric_definitions, found.ranked_by) == ("2", SAME)
    assert found.rows == (row_id("old"), row_id("new"))
    assert found.ranks == (1, 2)


def test_a_number_that_means_another_thing_takes_no_part() -> None:
    found = group(run("old", "1", metrics={SAME: 10.0, CHANGED: 900.0}), run("new", "2"))
    assert found.ranked_by == CHANGED
    assert found.rows == (row_id("new"), row_id("old"))
    assert found.ranks == (1, None)


def test_the_words_of_a_column_are_those_of_the_newest_version_in_the_group() -> None:
    def words(*versions: str) -> str:
        found = group(*(run(f"run-{at}", each) for at, each in enumerate(versions)))
        return next(str(item.definition) for item in found.columns if item.key == CHANGED)

    assert words("1", "1") == known("1").metrics[CHANGED].definition
    assert words("1", "2") == words("2") == known("2").metrics[CHANGED].definition
    assert words("1") != words("2")


def test_a_group_of_earlier_runs_alone_is_ranked_as_it_always_was() -> None:
    found = group(
        run("slow", "1", metrics={CHANGED: 10.0}), run("fast", "1", metrics={CHANGED: 20.0})
    )
    assert (found.metric_definitions, found.ranks) == ("1", (1, 2))


@pytest.mark.parametrize("version", [each.version for each in known_definitions()])
def test_fronts_are_drawn_of_the_trade_offs_that_a_version_has(version: str) -> None:
    metrics = {CHANGED: 10.0, "tpot_p50_ms": 5.0, "joules_per_output_token": 1.0}
    rows = [run(name, version, metrics=metrics) for name in ("a", "b")]
    names = {front.name for front in fronts_of(rows, known(version))}
    assert "throughput_interactivity_system" in names
    has_energy = "joules_per_output_token" in known(version).metrics
    assert ("energy_throughput_system" in names) is has_energy


def test_histories_go_on_across_a_version_where_the_meaning_did() -> None:
    def runs(key: str, version_of: list[str]) -> list[RankedRun]:
        return [
            run(
                f"run-{at:02}",
                version,
                timestamp=f"2026-05-{at + 1:02}T00:00:00Z",
                metrics={key: 10.0 + 5.0 * (at >= SMALLEST_SEGMENT) + 0.1 * (at % 3)},
            )
            for at, version in enumerate(version_of)
        ]

    halves = ["1"] * SMALLEST_SEGMENT + ["2"] * SMALLEST_SEGMENT
    for key, tested in ((SAME, 1), (CHANGED, 0)):
        rows = comparable_runs(runs(key, halves))
        assert len(change_points.tested_changes(group_of(rows), rows)) == tested, key


def test_what_may_be_compared_is_what_both_versions_define_alike() -> None:
    first = comparable_keys("1", NEWEST_DEFINITIONS)
    assert first is not None
    assert SAME in first
    assert CHANGED not in first
    assert comparable_keys(NEWEST_DEFINITIONS.version, NEWEST_DEFINITIONS) is None
    # Nobody defines them, so nobody can say that they differ.
    assert comparable_keys("not stated", None) is None
    assert comparable_keys(None, NEWEST_DEFINITIONS) is None
