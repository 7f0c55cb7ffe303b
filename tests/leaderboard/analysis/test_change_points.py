"""Histories: a lasting change of a repeated benchmark is found and named, noise is not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from inferencebench_pipeline.leaderboard.analysis import change_points
from inferencebench_pipeline.leaderboard.analysis.change_points import (
    LONGEST_HISTORY,
    SMALLEST_SEGMENT,
    change_point,
    shift,
    significant_changes,
)
from inferencebench_pipeline.leaderboard.analysis.permutation import adjusted_p_values
from inferencebench_pipeline.leaderboard.document import (
    Change,
    Column,
    Group,
    Leaderboard,
    MetricCell,
    RunRow,
)
from inferencebench_pipeline.leaderboard.site.site import render_site
from inferencebench_pipeline.leaderboard.store import LeaderboardStore
from inferencebench_pipeline.lifecycle.leaderboard.leaderboard_index import no_regression
from inferencebench_pipeline.resources import StepRetryPolicy
from inferencebench_pipeline.runs.run_directory import RunStore
from tests.leaderboard.ranking import ranked

GROUP = "0" * 16
TTFT = Column(key="ttft_p50_ms", label="TTFT p50", unit="ms", definition=None, better="lower")
SPEED = Column(
    key="output_tok_per_s", label="Output throughput", unit="token/s", definition=None,
    better="higher",
)  # fmt: skip
FIRST = datetime(2026, 3, 1, 2, tzinfo=UTC)


def find_changes(groups: Sequence[Group], rows: Sequence[RunRow]) -> tuple[Change, ...]:
    """What a build finds: each group tested by itself, then all tests judged together."""
    return significant_changes(
        [
            item
            for group in groups
            for item in change_points.tested_changes(group, map(ranked, rows))
        ]
    )


def run(number: int, values: dict[str, float], **facts: Any) -> RunRow:
    """One nightly run; ``facts`` replace what stays the same."""
    absent: dict[str, Any] = {
        name: None for name, field in RunRow.model_fields.items() if field.is_required()
    }
    cells = tuple(
        MetricCell(key=key, value=value, text=None, unit=None, n=100, null_reason=None)
        for key, value in values.items()
    )
    content = absent | {
        "row_id": f"{number:016x}",
        "repo_id": f"org/run-{number}",
        "organisation": "org",
        "revision": "a" * 40,
        "dataset_url": "https://example.org/datasets/org/run",
        "created_at": FIRST.isoformat(),
        "state": "verified",
        "group_id": GROUP,
        "timestamp": (FIRST + timedelta(days=number)).isoformat(),
        "model_id": "org/model",
        "model_revision": "b" * 40,
        "engine_name": "vllm",
        "engine_version": "0.12.0",
        "hardware": "8 × H100",
        "load_point": "64 in flight",
        "metrics": cells,
    }
    return RunRow.model_validate(content | facts)


def group(rows: Sequence[RunRow], *columns: Column) -> Group:
    return Group(
        group_id=GROUP,
        suite_id="llm.inference.chat",
        suite_version="1.0.0",
        dataset_id="builtin:chat-short",
        workload="w",
        slo=None,
        metric_definitions="2",
        columns=columns or (TTFT,),
        ranked_by=None,
        rows=tuple(row.row_id for row in rows),
    )


def nightly(
    values: Sequence[float], *, upgrade_at: int | None = None, **facts: Any
) -> list[RunRow]:
    """A run a night; from ``upgrade_at`` on with a newer engine."""
    return [
        run(
            number,
            {TTFT.key: float(value)},
            engine_version="0.12.0" if upgrade_at is None or number < upgrade_at else "0.13.0",
            **facts,
        )
        for number, value in enumerate(values)
    ]


def noise(seed: int, n: int, *, level: float = 100.0, spread: float = 3.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(level, spread, n)


def test_a_slower_engine_version_is_found_with_its_date_size_and_certainty():
    rows = nightly([*noise(1, 12), *noise(2, 12, level=112.0)], upgrade_at=12)

    (change,) = find_changes([group(rows)], rows)

    assert (change.key, change.verdict) == ("ttft_p50_ms", "worse")
    assert (change.engine_version_before, change.engine_version_after) == ("0.12.0", "0.13.0")
    assert change.since == rows[12].timestamp
    assert (change.n_before, change.n_after) == (12, 12)
    assert change.relative_low < 0.12 < change.relative_high
    assert change.relative_low > 0.05
    assert change.q_value < 0.0001


def test_what_is_better_for_a_metric_decides_what_is_worse():
    levels = [*noise(1, 10), *noise(2, 10, level=112.0)]
    rows = [run(number, {TTFT.key: value, SPEED.key: value}) for number, value in enumerate(levels)]
    verdicts = {
        change.key: change.verdict for change in find_changes([group(rows, TTFT, SPEED)], rows)
    }
    assert verdicts == {"ttft_p50_ms": "worse", "output_tok_per_s": "better"}


def test_noise_in_many_histories_is_no_change():
    histories = [
        [
            run(1000 * model + number, {TTFT.key: float(value)}, model_id=f"org/{model}")
            for number, value in enumerate(noise(model, 30))
        ]
        for model in range(60)
    ]
    rows = [row for change_points in histories for row in change_points]
    assert find_changes([group(rows)], rows) == ()


def test_one_change_among_thousands_of_quiet_histories_survives_the_adjustment():
    p_value = change_point(np.array([*noise(1, 15), *noise(2, 15, level=112.0)]), seed=1).p_value
    assert adjusted_p_values([p_value, *([0.5] * 2000)])[0] <= 0.05


def test_under_no_change_the_p_value_is_small_as_rarely_as_it_says():
    p_values = [change_point(noise(seed, 24), seed=seed).p_value for seed in range(200)]
    assert 0.01 <= np.mean(np.array(p_values) <= 0.05) <= 0.09
    assert 0.4 <= np.mean(p_values) <= 0.6


def test_one_wild_run_is_no_change():
    values = noise(3, 24)
    values[15] = 900.0
    rows = nightly(values)
    assert find_changes([group(rows)], rows) == ()


def test_a_short_history_is_not_judged():
    values = [100.0] * SMALLEST_SEGMENT + [200.0] * (SMALLEST_SEGMENT - 1)
    rows = nightly(values)
    assert find_changes([group(rows)], rows) == ()


def test_an_old_change_leaves_the_window():
    values = [*noise(4, 20), *noise(5, LONGEST_HISTORY, level=130.0)]
    rows = nightly(values)
    assert find_changes([group(rows)], rows) == ()


@pytest.mark.parametrize(
    "fact", ["model_id", "engine_name", "hardware", "load_point", "quantization", "organisation"]
)
def test_runs_that_differ_in_what_was_measured_are_not_one_history(fact):
    slow = [
        row.model_copy(update={fact: "another", "row_id": f"{100 + number:016x}"})
        for number, row in enumerate(nightly(noise(6, 12, level=150.0)))
    ]
    rows = [*nightly(noise(7, 12)), *slow]
    assert find_changes([group(rows)], rows) == ()


def test_a_level_of_zero_has_no_multiple_but_its_end_is_found():
    column = TTFT.model_copy(update={"key": "error_rate", "label": "Error rate"})
    values = [0.0] * 12 + [0.05] * 12
    rows = [run(number, {"error_rate": value}) for number, value in enumerate(values)]
    (change,) = find_changes([group(rows, column)], rows)
    assert (change.verdict, change.relative, change.relative_low) == ("worse", None, None)


def test_a_metric_without_a_better_direction_or_value_is_left_alone():
    unknown = TTFT.model_copy(update={"better": None})
    rows = nightly([*noise(1, 12), *noise(2, 12, level=200.0)])
    assert find_changes([group(rows, unknown)], rows) == ()
    assert find_changes([group(rows, SPEED)], rows) == ()


def test_the_same_runs_give_the_same_answer():
    rows = nightly([*noise(1, 12), *noise(2, 12, level=104.0)])
    assert find_changes([group(rows)], rows) == find_changes([group(rows)], list(reversed(rows)))


def test_the_interval_of_a_shift_holds_the_truth_about_as_often_as_it_says():
    held = 0
    for seed in range(100):
        found = shift(noise(seed, 20), noise(seed + 1000, 20, level=110.0), seed=seed)
        held += found.low <= 0.10 <= found.high
    assert held >= 88


def test_adjustment_for_many_tests_is_benjamini_and_hochbergs():
    p_values = [0.01, 0.04, 0.03, 0.005]
    assert adjusted_p_values(p_values) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert adjusted_p_values([]) == []


def board(rows: list[RunRow]) -> Leaderboard:
    groups = (group(rows),)
    return Leaderboard(
        states={"verified": len(rows)},
        groups=groups,
        changes=find_changes(groups, rows),
        runs=tuple(rows),
    )


def stored(store: LeaderboardStore, rows: list[RunRow]) -> LeaderboardStore:
    folder = store.folder
    folder.mkdir(parents=True)
    shown = board(rows).model_dump_json(exclude={"runs", "groups"})
    (folder / "leaderboard.json").write_text(shown.replace("{", '{"groups":[],', 1))
    return store


def check(store: LeaderboardStore) -> Any:
    return no_regression(run_store=RunStore(store.root), retry_policy=StepRetryPolicy())


def test_the_check_says_which_metric_since_which_version_by_how_much_and_how_sure(store):
    rows = nightly([*noise(1, 12), *noise(2, 12, level=112.0)], upgrade_at=12)
    result = check(stored(store, rows))
    assert not result.passed
    assert result.description.startswith("TTFT p50 of org/model on vllm, 8 × H100, 64 in flight: ")
    assert "since 2026-03-13T02:00:00+00:00, with vllm 0.12.0 → 0.13.0" in result.description
    assert "12 and 12 runs, q = " in result.description


def test_a_change_for_the_better_passes_the_check(store):
    rows = nightly([*noise(1, 12), *noise(2, 12, level=80.0)])
    result = check(stored(store, rows))
    assert result.passed
    assert result.metadata["better"].value == 1


def test_the_page_shows_changes_and_hostile_names_harm_nothing(store):
    rows = nightly(
        [*noise(1, 12), *noise(2, 12, level=112.0)], model_id="<script>alert(1)</script>"
    )
    page = render_site(stored(store, rows)).with_name("changes.html").read_text()
    assert "Changes over time" in page
    assert "<script>alert" not in page
    assert '<span class="badge bad">worse</span>' in page
