"""Variance: a spread is called more than noise when it is, for speed and for quality."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from inferencebench_pipeline.community_results.notes import RunConfiguration, render_notes
from inferencebench_pipeline.community_results.register import CommunityResult
from inferencebench_pipeline.community_results.results_file import (
    BenchmarkTask,
    EvaluationEntry,
    Source,
)
from inferencebench_pipeline.leaderboard.analysis.quality_variance import quality_variances
from inferencebench_pipeline.leaderboard.analysis.variance import (
    KeptVariance,
    group_variances,
    median_interval,
    significant_variances,
)
from inferencebench_pipeline.leaderboard.document import Column, MetricSpread, Variance
from tests.leaderboard.analysis.test_change_points import TTFT, group, run
from tests.leaderboard.ranking import ranked

E2E = Column(key="e2e_p50_ms", label="E2E latency p50", unit="ms", better="lower")
SHARE = Column(key="error_rate", label="Error rate", unit="ratio", better="lower")


def runs(first: int, values: Any, key: str = TTFT.key, **facts: Any):
    return [
        run(number, {key: float(value)}, model_provider=facts.pop("provider", "p"), **facts)
        for number, value in enumerate(values, start=first)
    ]


def noisy(seed: int, n: int = 6, level: float = 100.0):
    return level * np.exp(np.random.default_rng(seed).normal(0, 0.05, n))


@dataclass(frozen=True)
class Judged:
    """The spread of one metric as it is published."""

    variance: Variance
    metric: MetricSpread
    q_value: float | None
    more_than_noise: bool | None

    @property
    def levels(self):
        """The runs of each level."""
        return self.variance.levels


def judged(variances, across):
    """What a build publishes of these spreads: all of them judged together."""
    kept = significant_variances(map(KeptVariance.of, variances))
    found = [Variance.model_validate_json(bytes(item)) for item in kept]
    return [
        Judged(item, *told)
        for item in found
        if item.across == across
        for told in zip(item.metrics, item.q_values, item.more_than_noise, strict=True)
    ]


def spread(rows, across, *columns):
    return judged(group_variances(group(rows, *columns), map(ranked, rows)), across)


def test_a_slower_engine_is_more_than_noise():
    rows = [
        *runs(0, noisy(1), engine_name="vllm"),
        *runs(50, noisy(2, level=140), engine_name="sglang"),
    ]
    (found,) = spread(rows, "engine")
    assert [(level.name, level.n) for level in found.levels] == [("sglang", 6), ("vllm", 6)]
    assert found.more_than_noise is True
    assert found.q_value <= 0.05
    assert found.metric.spread == pytest.approx(0.4, abs=0.1)
    assert found.metric.lows[0] > found.metric.highs[1]
    assert found.levels[1].row_ids == tuple(row.row_id for row in rows[:6])


def test_hardware_and_load_are_no_variance_of_the_engine():
    """One engine was run on the slow machine mostly: pooled it is slower, alike it is not."""
    rows = [
        *runs(0, noisy(1, 4, 100), engine_name="vllm", hardware="fast"),
        *runs(10, noisy(2, 8, 1000), engine_name="vllm", hardware="slow"),
        *runs(30, noisy(3, 8, 100), engine_name="sglang", hardware="fast"),
        *runs(50, noisy(4, 4, 1000), engine_name="sglang", hardware="slow"),
    ]
    (found,) = spread(rows, "engine")
    assert found.variance.strata == 2
    assert found.more_than_noise is False
    assert found.metric.spread < 0.1
    medians = found.metric.medians
    assert medians == pytest.approx((100, 100), rel=0.15) or medians == pytest.approx(
        (1000, 1000), rel=0.15
    )


def test_an_effect_is_told_for_the_commonest_hardware_and_load():
    rows = [
        *runs(0, noisy(1, 6, 100), engine_version="1", load_point="1 in flight"),
        *runs(10, noisy(2, 6, 120), engine_version="2", load_point="1 in flight"),
        *runs(30, noisy(3, 5, 1000), engine_version="1", load_point="64 in flight"),
        *runs(50, noisy(4, 5, 1200), engine_version="2", load_point="64 in flight"),
    ]
    (found,) = spread(rows, "engine_version")
    assert "1 in flight" in found.variance.alike
    assert found.metric.medians == pytest.approx((100, 120), rel=0.05)
    assert found.metric.spread == pytest.approx(0.2, abs=0.06)


def test_versions_of_different_engines_are_not_compared():
    rows = [
        *runs(0, noisy(1, 4), engine_name="vllm", engine_version="1"),
        *runs(10, noisy(2, 4), engine_name="vllm", engine_version="2"),
        *runs(20, noisy(3, 4, 300), engine_name="sglang", engine_version="8"),
        *runs(30, noisy(4, 4, 300), engine_name="sglang", engine_version="9"),
    ]
    names = [{level.name for level in item.levels} for item in spread(rows, "engine_version")]
    assert sorted(map(sorted, names)) == [["sglang 8", "sglang 9"], ["vllm 1", "vllm 2"]]


def test_other_revisions_of_the_model_are_not_compared():
    rows = [
        *runs(0, noisy(1), engine_name="vllm", model_revision="a" * 40),
        *runs(50, noisy(2, level=200), engine_name="sglang", model_revision="b" * 40),
    ]
    assert spread(rows, "engine") == []


def test_a_single_run_each_shows_a_spread_and_no_verdict():
    rows = [row for at in range(9) for row in runs(at, [100 + at], provider=f"p{at}")]
    (found,) = spread(rows, "provider")
    assert (found.metric.p_value, found.q_value, found.more_than_noise) == (None, None, None)
    assert found.metric.spread == pytest.approx(0.08)
    assert found.metric.lows == (None,) * 9


def test_shares_may_be_zero():
    rows = [
        *runs(0, [0.0] * 6, SHARE.key, engine_name="vllm"),
        *runs(50, np.linspace(0.1, 0.12, 6), SHARE.key, engine_name="sglang"),
    ]
    (found,) = spread(rows, "engine", SHARE)
    assert (found.more_than_noise, found.metric.spread) == (True, None)


def test_values_that_are_all_the_same_have_no_spread():
    rows = [*runs(0, [5.0] * 6, engine_name="a"), *runs(50, [5.0] * 6, engine_name="b")]
    assert spread(rows, "engine") == []


def test_without_an_effect_hardly_any_of_many_spreads_is_called_more_than_noise():
    random = np.random.default_rng(2)
    rows = [
        row
        for model in range(120)
        for engine in range(2)
        for row in runs(
            1000 * model + 100 * engine,
            100 * np.exp(random.normal(0, 0.1, 6)),
            engine_name=f"e{engine}",
            model_id=f"org/{model}",
        )
    ]
    found = spread(rows, "engine")
    assert len(found) == 120
    # With no effect anywhere, each one called is false; all are true with probability 95 %.
    assert sum(item.more_than_noise for item in found) <= 1


def test_effects_are_found_among_many_that_are_none():
    random = np.random.default_rng(2)
    rows = [
        row
        for model in range(40)
        for engine in range(2)
        for row in runs(
            1000 * model + 100 * engine,
            (130 if engine and model < 10 else 100) * np.exp(random.normal(0, 0.05, 8)),
            engine_name=f"e{engine}",
            model_id=f"org/{model}",
        )
    ]
    called = [
        int(item.variance.model_id[4:]) for item in spread(rows, "engine") if item.more_than_noise
    ]
    assert len([model for model in called if model < 10]) >= 9
    assert len([model for model in called if model >= 10]) <= 2


def test_metrics_measured_in_the_same_runs_come_together_and_others_apart():
    rows = [
        run(
            number,
            {TTFT.key: 100.0 + number, SHARE.key: number / 100}
            | ({} if number % 2 else {E2E.key: 1.0 + number}),
            engine_name="ab"[number // 8],
        )
        for number in range(16)
    ]
    found = group_variances(group(rows, TTFT, SHARE, E2E), map(ranked, rows))
    assert [[metric.key for metric in item.metrics] for item in found] == [
        [TTFT.key, SHARE.key],
        [E2E.key],
    ]
    assert [[level.n for level in item.levels] for item in found] == [[8, 8], [4, 4]]


def test_a_metric_that_is_shown_and_not_tested_is_in_no_spread():
    shown = Column(key="itl_p50_ms", label="ITL p50", unit="ms", better="lower")
    rows = [
        run(number, {TTFT.key: 100.0 + number, shown.key: 9.0}, engine_name="ab"[number // 8])
        for number in range(16)
    ]
    found = group_variances(group(rows, TTFT, shown), map(ranked, rows))
    assert [metric.key for item in found for metric in item.metrics] == [TTFT.key]


def test_the_order_of_rows_changes_nothing():
    rows = [*runs(0, noisy(1), engine_name="a"), *runs(50, noisy(2), engine_name="b")]
    assert spread(rows, "engine") == spread(rows[::-1], "engine")


@pytest.mark.parametrize(
    ("n", "ends"), [(5, (None, None)), (6, (0, 5)), (8, (0, 7)), (9, (1, 7)), (20, (5, 14))]
)
def test_the_interval_of_a_median_is_made_of_order_statistics(n, ends):
    assert median_interval(np.arange(n, dtype=float)) == ends


def result(number: int, value: float, **configuration: Any) -> CommunityResult:
    facts = {"quantization": "bf16", "template": "model", "tools": (), "judge": "none"}
    return CommunityResult(
        model_id="org/model",
        pull_request=number,
        url=f"https://huggingface.co/org/model/discussions/{number}",
        filename=".eval_results/x.yaml",
        entry=EvaluationEntry(
            dataset=BenchmarkTask(id="org/bench", task_id="default"),
            value=value,
            date="2026-03-01",
            source=Source(url=f"https://example.org/{number}"),
            notes=render_notes(RunConfiguration(**(facts | configuration))),
        ),
        proposed_by="someone",
        ours=False,
        first_seen_at=datetime(2026, 3, 2, tzinfo=UTC),
        state="open",
    )


def quality(results, across):
    return judged(quality_variances(results), across)


def test_nine_providers_of_the_same_weights_show_their_spread():
    scores = np.linspace(0.80, 0.84, 9)
    (found,) = quality(
        [result(at, float(score), provider=f"p{at}") for at, score in enumerate(scores)],
        "provider",
    )
    assert found.variance.kind == "quality"
    assert found.metric.spread == pytest.approx(0.05)
    assert found.more_than_noise is None
    assert found.levels[0].urls == ("https://huggingface.co/org/model/discussions/0",)


def test_repeated_evaluations_tell_provider_variance_from_noise():
    random = np.random.default_rng(1)
    for effect, expected in ((0.04, True), (0.0, False)):
        results = [
            result(10 * at + n, float(0.8 + effect * (at > 2) + random.normal(0, 0.004)),
                   provider=f"p{at}")
            for at in range(5)
            for n in range(5)
        ]  # fmt: skip
        (found,) = quality(results, "provider")
        assert found.more_than_noise is expected


def test_results_with_other_tools_or_in_other_words_are_not_compared():
    tools = [result(n, 0.5, provider="a", tools=("search",)) for n in range(6)]
    none = [result(n, 0.1 + n / 100, provider="b") for n in range(10, 16)]
    words = [
        item.model_copy(update={"entry": item.entry.model_copy(update={"notes": "no-tools"})})
        for item in none
    ]
    assert quality([*tools, *none, *words], "provider") == []


def test_the_same_result_in_two_places_counts_once_and_a_withheld_one_not_at_all():
    first, other = result(1, 0.8, provider="a"), result(2, 0.9, provider="b")
    again = first.model_copy(update={"pull_request": 3})
    gone = result(4, 0.7, provider="c").model_copy(update={"state": "withheld"})
    (found,) = quality([first, again, other, gone], "provider")
    assert [(level.name, level.n) for level in found.levels] == [("a", 1), ("b", 1)]
