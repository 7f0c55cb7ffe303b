"""Groups of ranked runs: their columns, their order and their ranks, by whatever they rank."""

from __future__ import annotations

from typing import Any

import pytest

from inferencebench_pipeline.leaderboard.analysis.change_points import (
    SMALLEST_SEGMENT,
    _series_of,
)
from inferencebench_pipeline.leaderboard.analysis.ranked_run import Cell, RankedRun
from inferencebench_pipeline.leaderboard.analysis.ranking import group_of
from inferencebench_pipeline.measure import METRIC_DEFINITIONS_VERSION
from tests.leaderboard.boards import row_id

BOARD = [
    "ttft_p50_ms",
    "ttft_p95_ms",
    "tpot_p50_ms",
    "e2e_p50_ms",
    "output_tok_per_s",
    "error_rate",
]


def run(
    name: str, definitions: str | None = METRIC_DEFINITIONS_VERSION, **fields: Any
) -> RankedRun:
    """A ranked run with metrics given as value, or as value, low and high."""
    metrics = {
        key: Cell(*value, None) if isinstance(value, tuple) else Cell(value, None, None, None)
        for key, value in fields.pop("metrics").items()
    }
    known = {"repo_id": f"acme/{name}", "row_id": row_id(name), "group_id": "0" * 16}
    empty: dict[str, Any] = dict.fromkeys(RankedRun._fields)
    return RankedRun(
        **empty | known | {"metric_definitions": definitions, "metrics": metrics} | fields
    )


def rows_of(*names: str) -> tuple[str, ...]:
    return tuple(map(row_id, names))


def test_the_columns_are_the_metrics_for_the_board_that_somebody_has() -> None:
    every = dict.fromkeys([*reversed(BOARD), "itl_p50_ms", "request_per_s"], 1.0)
    assert [column.key for column in group_of([run("a", metrics=every)]).columns] == BOARD
    some = {"error_rate": 0.0, "ttft_p50_ms": 1.0, "total_tok_per_s": 9.0}
    group = group_of([run("a", metrics=some), run("b", metrics={"tpot_p50_ms": 2.0})])
    assert [column.key for column in group.columns] == ["ttft_p50_ms", "tpot_p50_ms", "error_rate"]
    assert all(column.definition and column.better for column in group.columns)


@pytest.mark.parametrize("definitions", [None, "99", "somebody else's"])
def test_of_foreign_definitions_the_first_four_numbers_are_shown_and_nothing_ranks(
    definitions: str | None,
) -> None:
    metrics = dict.fromkeys(["output_tok_per_s", "z", "y", "x", "w"], 1.0)
    group = group_of([run("b", definitions, metrics=metrics), run("a", definitions, metrics={})])
    assert group.metric_definitions == (definitions or "not stated")
    assert [column.key for column in group.columns] == ["output_tok_per_s", "z", "y", "x"]
    assert [column.better for column in group.columns] == [None] * 4
    assert (group.ranked_by, group.ranks, group.rows) == (
        None,
        (None, None),
        rows_of("a", "b"),
    )


def test_where_throughput_is_known_more_is_better() -> None:
    key = "output_tok_per_s"
    rows = [
        run("slow", metrics={key: (10.0, 9.0, 11.0)}),
        run("fast", metrics={key: (20.0, 19.0, 21.0)}),
        run("unsure", metrics={key: (15.0, 10.5, 19.5)}),
        run("bare", metrics={key: 30.0}),
        run("none", metrics={"error_rate": 0.0}),
    ]
    group = group_of(rows)
    assert group.ranked_by == key
    assert group.rows == rows_of("bare", "fast", "unsure", "slow", "none")
    assert group.ranks == (None, 1, 1, 2, None)


def test_without_throughput_the_first_column_ranks_and_less_is_better() -> None:
    key = "ttft_p50_ms"
    rows = [
        run("slow", metrics={key: (20.0, 19.0, 21.0)}),
        run("fast", metrics={key: (10.0, 9.0, 11.0)}),
        run("unsure", metrics={key: (15.0, 10.5, 19.5)}),
        run("none", metrics={"tpot_p50_ms": 1.0}),
    ]
    group = group_of(rows)
    assert group.ranked_by == key
    assert group.rows == rows_of("fast", "unsure", "slow", "none")
    assert group.ranks == (1, 1, 2, None)


def test_intervals_that_touch_do_not_separate_two_runs() -> None:
    key = "output_tok_per_s"
    touching = [
        run("a", metrics={key: (20.0, 15.0, 25.0)}),
        run("b", metrics={key: (10.0, 5.0, 15.0)}),
    ]
    assert group_of(touching).ranks == (1, 1)
    apart = [touching[0], run("b", metrics={key: (10.0, 5.0, 14.999)})]
    assert group_of(apart).ranks == (1, 2)


WHAT_STAYS = [
    "organisation",
    "model_id",
    "model_provider",
    "quantization",
    "engine_name",
    "hardware",
    "load_point",
]


@pytest.mark.parametrize("field", WHAT_STAYS)
def test_a_history_is_of_runs_that_differ_in_time_alone(field: str) -> None:
    def history(value: str) -> list[RankedRun]:
        times = [f"2026-01-{day + 1:02d}" for day in range(2 * SMALLEST_SEGMENT)]
        return [
            run(f"{value}-{at}", metrics={"output_tok_per_s": 1.0}, timestamp=at, **{field: value})
            for at in times
        ]

    rows = [*history("one"), *history("two")]
    group = group_of(rows)
    found = [[r.row_id for r in series.runs] for series in _series_of(group, rows)]
    assert found == [[r.row_id for r in history("one")], [r.row_id for r in history("two")]]
