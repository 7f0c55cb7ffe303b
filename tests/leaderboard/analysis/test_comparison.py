"""A against B: what differs for sure is said, what cannot be compared is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from inferencebench_pipeline.leaderboard.analysis.comparison import (
    COMPARED,
    ComparisonError,
    compare,
    read_run,
)
from inferencebench_pipeline.leaderboard.analysis.permutation import Stratum
from inferencebench_pipeline.leaderboard.analysis.two_samples import difference
from tests.leaderboard.compared import (
    concurrency,
    definitions,
    engine,
    envelope_with,
    foreign,
    invalid,
    slo,
)

TTFT, SPEED, ERRORS = "ttft_p50_ms", "output_tok_per_s", "error_rate"


def runs(first, values, *changes, key=TTFT):
    found = []
    for number, value in enumerate(values, start=first):
        run_id, data = envelope_with(number, {key: value}, *changes)
        found.append(read_run(data, f"run {run_id}"))
    return found


def noisy(seed, n=6, level=100.0, spread=0.03):
    return level * np.exp(np.random.default_rng(seed).normal(0, spread, n))


def test_a_slower_engine_version_is_told_with_its_size_and_certainty():
    a = runs(0, noisy(1), engine("0.12.0"))
    b = runs(50, noisy(2, level=115.0), engine("0.13.0"))
    found = compare(a, b)
    (ttft,) = [item for item in found.metrics if item.key == TTFT]
    assert ttft.verdict == "worse"
    assert ttft.effect_low < 0.15 < ttft.effect_high
    assert ttft.effect_low > 0.05
    assert ttft.q_value <= 0.05
    assert [(item.field, item.a, item.b) for item in found.differs] == [
        ("engine_version", ("0.12.0",), ("0.13.0",))
    ]
    others = {item.verdict for item in found.metrics if item.key != TTFT}
    assert others == {"identical"}


def test_the_other_way_round_it_is_better_and_more_is_better_for_throughput():
    slow, fast = noisy(1), noisy(2, level=115.0)
    (ttft,) = compare(runs(0, fast), runs(50, slow), [TTFT]).metrics
    (speed,) = compare(runs(0, slow, key=SPEED), runs(50, fast, key=SPEED), [SPEED]).metrics
    assert (ttft.verdict, speed.verdict) == ("better", "better")
    assert ttft.effect < 0 < speed.effect


def test_runs_are_matched_by_load():
    """B was run at high load mostly; pooled it looks far slower, at the same load it is faster."""
    a = [
        *runs(0, noisy(1, 8, 100), concurrency(1)),
        *runs(20, noisy(2, 4, 1000), concurrency(64)),
    ]
    b = [
        *runs(40, noisy(3, 4, 85), concurrency(1)),
        *runs(60, noisy(4, 8, 850), concurrency(64)),
    ]
    alone = runs(80, [5000.0], concurrency(256))
    found = compare(a, [*b, *alone], [TTFT])
    assert found.metrics[0].verdict == "better"
    assert found.metrics[0].effect_low < -0.15 < found.metrics[0].effect_high
    assert found.left_out == (alone[0].where,)
    assert len(found.load_points) == 2


def test_shares_are_compared_by_their_difference():
    a = runs(0, [0.0, 0.0, 0.01, 0.0, 0.01], key=ERRORS)
    b = runs(50, [0.10, 0.12, 0.11, 0.13, 0.12], key=ERRORS)
    (found,) = compare(a, b, [ERRORS]).metrics
    assert (found.verdict, found.scale) == ("worse", "absolute")
    assert found.effect == pytest.approx(0.115, abs=0.01)


def test_with_too_few_runs_there_is_an_effect_and_no_verdict():
    (found,) = compare(runs(0, [99.0, 100.0, 101.0]), runs(50, [200.0] * 3), [TTFT]).metrics
    assert found.verdict == "too_few_runs"
    assert (found.p_value, found.q_value, found.effect_low) == (None, None, None)
    assert found.effect == pytest.approx(1.0)


def test_a_metric_that_is_null_on_one_side_is_not_compared():
    assert compare(runs(0, [None] * 5), runs(50, [1.0] * 5), [TTFT]).metrics == ()


def test_what_answers_another_question_is_refused_by_its_field():
    with pytest.raises(ComparisonError, match=r"slo differs.*'ttft_ms=1'"):
        compare(runs(0, [1.0]), runs(50, [1.0], slo("ttft_ms=1")))
    with pytest.raises(ComparisonError, match="load_point differs: A was run at 1 in flight, B at"):
        compare(runs(0, [1.0], concurrency(1)), runs(50, [1.0], concurrency(2)))


def test_what_does_not_count_is_refused_by_name():
    with pytest.raises(ComparisonError, match="lateness: client too slow"):
        runs(0, [1.0], invalid)
    with pytest.raises(ComparisonError, match="does not state its metric definitions"):
        runs(0, [1.0], foreign)
    with pytest.raises(ComparisonError, match="cannot be read"):
        read_run(b"{}", "here")
    with pytest.raises(ComparisonError, match="a run counts once"):
        compare(runs(0, [1.0]), runs(0, [2.0]))
    with pytest.raises(ComparisonError, match="no metric 'ttft'"):
        compare(runs(0, [1.0]), runs(50, [2.0]), ["ttft"])
    with pytest.raises(ComparisonError, match="B holds no runs"):
        compare(runs(0, [1.0]), [])


def test_a_metric_that_means_the_same_is_compared_across_versions():
    old, new = runs(0, noisy(1), definitions("1")), runs(50, noisy(2, level=120), definitions("2"))
    found = compare(old, new, [TTFT])
    assert found.question["metric_definitions"] == "2"
    assert found.metrics == compare(runs(0, noisy(1)), new, [TTFT]).metrics


def test_a_metric_that_means_another_thing_is_not_compared():
    old = runs(0, noisy(1), definitions("1"), key=SPEED)
    new = runs(50, noisy(2), definitions("2"), key=SPEED)
    assert compare(old, new, [SPEED]).metrics == ()
    within = compare(old, runs(70, noisy(3), definitions("1"), key=SPEED), [SPEED])
    assert within.question["metric_definitions"] == "1"
    assert [metric.key for metric in within.metrics] == [SPEED]


def test_definitions_that_are_not_known_are_refused_by_their_number():
    with pytest.raises(ComparisonError, match="states version 99 of its metric definitions"):
        runs(0, [1.0], definitions("99"))


def test_the_same_runs_give_the_same_comparison():
    a, b = runs(0, noisy(1)), runs(50, noisy(2))
    assert compare(a, b) == compare(a, b)


def test_without_an_effect_hardly_any_comparison_claims_one():
    """Five a side, all the usual metrics: at most 5 % of comparisons name any metric."""
    random = np.random.default_rng(11)
    claims = 0
    for _ in range(40):
        sides = []
        for first in (0, 50):
            side = []
            for number in range(first, first + 5):
                values = {key: float(np.exp(random.normal(0, 0.1))) for key in COMPARED}
                side.append(read_run(envelope_with(number, values)[1], str(number)))
            sides.append(side)
        claims += any(item.verdict != "not_separated" for item in compare(*sides).metrics)
    # Four standard errors above 5 %.
    assert claims <= 0.05 * 40 + 4 * (0.05 * 0.95 * 40) ** 0.5


def test_intervals_hold_the_true_difference_as_often_as_they_say():
    random = np.random.default_rng(5)
    trials, covered = 150, 0
    for trial in range(trials):
        strata = [
            Stratum(
                np.concatenate([random.gumbel(level, 1, 5), random.gumbel(level + 0.7, 1, 7)]),
                np.repeat([0, 1], [5, 7]),
            )
            for level in (0.0, 30.0)
        ]
        found = difference(strata, seed=trial)
        covered += found.low <= 0.7 <= found.high
    assert covered / trials >= 0.95 - 4 * (0.95 * 0.05 / trials) ** 0.5
