"""Intervals: each is the one that a second, naive implementation finds from the same raw rows."""

from __future__ import annotations

import json
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferencebench_pipeline.measure.metrics.compute import compute_metrics
from inferencebench_pipeline.measure.metrics.intervals import Metric
from inferencebench_pipeline.measure.metrics.statistics import FEWEST_OBSERVATIONS, student_t
from inferencebench_pipeline.measure.spec.stated_parts import Slo
from tests.chance import examples
from tests.measure.metrics import reference
from tests.measure.metrics.rows import Row, answered, many_rows, row, table

BOTH = Slo(ttft_ms=1.1, tpot_ms=0.09)
LOOSE = Slo(ttft_ms=3.9, tpot_ms=9.0)
SLOS = [BOTH, LOOSE, Slo(ttft_ms=0.8), Slo(tpot_ms=0.1), Slo()]
KEY = "joules_per_output_token"
CASES = {
    "one repeat": (1, (260,), 0.3, 0.0, BOTH),
    "few failures": (2, (700,), 0.02, 0.0, LOOSE),
    "no failures": (3, (150,), 0.0, 0.0, BOTH),
    "unequal repeats": (4, (120, 310, 95), 0.2, 0.0, BOTH),
    "four repeats": (5, (130, 150, 90, 110), 0.4, 0.0, Slo(tpot_ms=0.1)),
    "a long one": (5, (2400,), 0.05, 0.0, BOTH),
    "five repeats": (6, (40, 75, 20, 90, 55), 0.3, 0.0, BOTH),
    "seven repeats of flawless answers but one": (7, (25,) * 7, 0.03, 0.0, LOOSE),
    "a repeat too short": (8, (200, 60), 0.2, 0.0, BOTH),
    "answers without a count": (9, (180, 170), 0.2, 0.2, BOTH),
    "no bound": (10, (140, 200), 0.3, 0.0, Slo()),
}


@cache
def case_of(name: str) -> tuple[list[Row], dict[str, reference.Expected]]:
    seed, repeats, failing, uncounted, slo = CASES[name]
    rows = many_rows(seed, repeats, failing=failing, uncounted=uncounted)
    return rows, reference.expected(rows, slo)


def assert_is_the_reference(
    rows: list[Row], slo: Slo, expected: dict[str, reference.Expected]
) -> None:
    found = compute_metrics(table(rows), slo)
    assert found.keys() == expected.keys()
    for key, metric in found.items():
        assert (metric.value, metric.n) == (expected[key].value, expected[key].n), key
        assert_same(key, metric, expected[key].bounds)


def assert_same(key: str, metric: Metric, bounds: reference.Bounds | None) -> None:
    interval = metric.interval
    if interval is None or bounds is None:
        assert (interval, bounds) == (None, None), (key, metric.interval_null_reason)
        return
    assert metric.interval_null_reason is None
    assert (interval.method, interval.confidence) == (bounds.method, 0.95), key
    # Between 1e-6 and 1e-5 lies how far our table and expansion of Student's t are off.
    width = bounds.high - bounds.low
    near = pytest.approx((bounds.low, bounds.high), rel=1e-9, abs=1e-5 * width + 1e-15)
    assert (interval.low, interval.high) == near, key
    assert interval.n == pytest.approx(bounds.n, rel=1e-9), key


@pytest.mark.parametrize("case", CASES)
def test_every_interval_is_that_of_the_naive_reference(case: str) -> None:
    rows, expected = case_of(case)
    assert_is_the_reference(rows, CASES[case][-1], expected)


@given(
    seed=st.integers(0, 2**32),
    repeats=st.lists(st.integers(1, 160), min_size=1, max_size=6).map(tuple),
    failing=st.sampled_from([0.0, 0.05, 0.5]),
    slo=st.sampled_from(SLOS),
)
@settings(max_examples=examples(10))
def test_every_interval_of_any_rows_is_that_of_the_naive_reference(
    seed: int, repeats: tuple[int, ...], failing: float, slo: Slo
) -> None:
    rows = many_rows(seed, repeats, failing=failing)
    assert_is_the_reference(rows, slo, reference.expected(rows, slo))


def test_the_cases_reach_every_metric_with_an_interval_and_every_method() -> None:
    seen: dict[str, set[str]] = {}
    for case in CASES:
        for key, metric in case_of(case)[1].items():
            if metric.bounds is not None and metric.bounds.high > metric.bounds.low:
                seen.setdefault(key, set()).add(metric.bounds.method)
    never = {"joules_per_output_token", "requests_measured", "requests_failed", "output_tokens"}
    rare = {f"{name}_p99_9_ms" for name in ("ttft", "ttft_sched", "tpot", "itl", "e2e")}
    rare |= {f"{name}_p99_ms" for name in ("ttft", "ttft_sched", "tpot", "e2e")}
    definitions = set(compute_metrics(table([]), Slo()))
    assert definitions - set(seen) <= never | rare
    for key, methods in seen.items():
        within = "wilson" if key.startswith(("error", "slo")) else "moving_block_bootstrap"
        assert within in methods, key
        assert "repeats" in methods or key in rare or key.endswith("_p99_ms"), key


def test_an_interval_over_repeats_stays_where_its_quantity_can_be() -> None:
    rows = [r for repeat in range(1, 6) for r in _mostly_good(repeat, failed=repeat == 5)]
    metrics = compute_metrics(table(rows), LOOSE)
    attained, failed = metrics["slo_attainment"], metrics["error_rate"]
    assert attained.value is not None and attained.interval is not None
    assert failed.value is not None and failed.interval is not None
    # Unbounded, Student's interval of the shares 1, 1, 1, 1 and 1/2 reaches from 0.62 to 1.18.
    assert 0.6 < attained.interval.low < 0.65
    assert attained.interval.high == 1.0
    assert failed.interval.low == 0.0
    assert 0.35 < failed.interval.high < 0.4


def _mostly_good(repeat: int, *, failed: bool) -> list[Row]:
    good = answered(0, [1_000, 2_000], tokens=2, repeat=repeat)
    if failed:
        return [good, row(1, error_class="timeout", end_ns=3_000, repeat=repeat)]
    return [good, answered(1, [1_500, 3_000], tokens=2, repeat=repeat)]


def test_an_interval_within_a_run_stays_where_its_quantity_can_be() -> None:
    # One of 80 answers came very late: the mean less its reach would be a time before the request.
    rows = [answered(k, [1_000 * k, 1_000 * k + 10], sent=1_000 * k, tokens=2) for k in range(80)]
    rows[40] = answered(40, [40_000, 900_000_000], sent=40_000, tokens=2)
    mean = compute_metrics(table(rows), LOOSE)["e2e_mean_ms"]
    assert mean.interval is not None and mean.value is not None
    assert mean.interval.low == 0.0
    assert mean.interval.high > 2 * mean.value
    # Half of all deadlines of fluidity are in one answer, and that one missed a few.
    slow = [1_000 + 9_500_000 * k for k in range(90)]
    rows[40] = answered(40, slow, sent=0, tokens=90)
    fluidity = compute_metrics(table(rows), LOOSE)["fluidity"]
    assert fluidity.interval is not None and fluidity.value is not None
    assert fluidity.value < 1.0
    assert fluidity.interval.high == 1.0


@pytest.mark.parametrize("nanoseconds", [5, 10, 33, 57, 187, 1_003])
def test_an_interval_around_equal_samples_is_their_value_to_the_last_digit(nanoseconds) -> None:
    rows = [answered(k, [k + nanoseconds], sent=k, tokens=1) for k in range(FEWEST_OBSERVATIONS)]
    mean = compute_metrics(table(rows), Slo())["ttft_mean_ms"]
    assert mean.interval is not None and mean.value is not None
    assert mean.interval.low <= mean.value <= mean.interval.high
    assert mean.interval.high - mean.interval.low == pytest.approx(0.0, abs=1e-15)


def test_an_interval_over_repeats_is_around_their_mean_and_need_not_hold_the_pooled_value() -> None:
    rows = [answered(0, [1_000_000 * k], tokens=1, repeat=k) for k in (1, 2, 3, 4)]
    rows += [answered(k, [40_000_000], tokens=1, repeat=5) for k in range(500)]
    mean = compute_metrics(table(rows), Slo())["ttft_mean_ms"]
    assert mean.interval is not None and mean.value is not None
    assert mean.value > 39
    # Student's interval of 1, 2, 3, 4 and 40 ms: their mean is 10, its standard error 7.52.
    assert mean.interval.high == pytest.approx(10 + 2.7764 * 7.5166, abs=1e-3)
    assert mean.interval.low == 0.0


def test_energy_has_an_interval_over_repeats_only_each_with_the_energy_of_its_window() -> None:
    joules = [3.0, 5.0, 4.0, 9.0, 7.0]
    energy = [{"joules": each} for each in joules]
    rows = [
        answered(k, [1_000 * k + 5], sent=1_000 * k, tokens=1, repeat=repeat)
        for repeat in range(1, 6)
        for k in range(4 * repeat)
    ]
    metadata = {"inferencebench.energy": json.dumps(energy)}
    metric = compute_metrics(table(rows).replace_schema_metadata(metadata), Slo())[KEY]
    assert metric.value == pytest.approx(28 / 60)
    alone = [each / (4 * repeat) for repeat, each in enumerate(joules, start=1)]
    bounds = reference.over_repeats(list(alone))
    assert bounds is not None
    assert_same(KEY, metric, bounds)
    short = [r for r in rows if r["repeat"] < 5]
    metadata = {"inferencebench.energy": json.dumps(energy[:4])}
    metric = compute_metrics(table(short).replace_schema_metadata(metadata), Slo())[KEY]
    assert metric.value == pytest.approx(21 / 40)
    assert metric.interval is None
    assert metric.interval_null_reason == "one reading per window; an interval needs 5 repeats"


@pytest.mark.parametrize(("measured", "given"), [(63, False), (64, True)])
def test_a_rate_has_an_interval_from_64_measured_requests_of_each_repeat(measured, given) -> None:
    longer = many_rows(11, (130,))
    shorter = [
        answered(k, [k * 900_000 + 5_000], sent=k * 900_000, tokens=1, repeat=2)
        for k in range(measured)
    ]
    metric = compute_metrics(table(longer + shorter), Slo())["request_per_s"]
    assert (metric.interval is not None) == given
    if not given:
        assert metric.interval_null_reason == "63 requests, at least 64 needed"


@pytest.mark.parametrize("key", ["requests_measured", "requests_failed", "output_tokens"])
def test_a_count_has_no_interval_and_says_so(key) -> None:
    metric = compute_metrics(table(many_rows(12, (100,))), Slo())[key]
    assert metric.interval is None
    assert metric.interval_null_reason == "a count of what was done, not an estimate"


@pytest.mark.parametrize("degrees", [*range(1, 41), 60, 120, 1_000])
def test_students_t_is_the_inverse_of_its_distribution(degrees) -> None:
    assert student_t(degrees) == pytest.approx(reference.t_quantile(degrees), abs=1e-5)
