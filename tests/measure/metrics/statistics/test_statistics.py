"""Intervals: they cover what they claim to on dependent samples, where i.i.d. ones do not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferencebench_pipeline.measure.metrics.statistics import (
    Series,
    TooFewError,
    block_length,
    design_effect,
    exact_sum,
    quantile_interval,
    ratio_estimate,
    ratio_interval,
    repeats_interval,
    student_t,
    wilson_bounds,
    wilson_interval,
)
from tests.measure.autocorrelated import (
    ar1,
    ar1_quantile,
    as_if_independent,
    by_blocks,
    coverage,
)


def series_of(values, *repeats: int) -> Series:
    numerators = np.asarray(values, dtype=np.int64)
    return Series(numerators, np.ones_like(numerators), repeats or (len(numerators),))


@pytest.mark.parametrize(("permille", "independent_at_most"), [(500, 0.60), (900, 0.65)])
def test_block_intervals_cover_autocorrelated_series_where_iid_ones_do_not(
    permille, independent_at_most
) -> None:
    many = ar1(0.9, count=2000, replications=300, seed=1)
    truth = ar1_quantile(0.9, permille / 1000)
    covered, given = coverage(by_blocks, many, permille, truth)
    assert given > 0.95
    assert covered >= 0.90
    assert coverage(as_if_independent, many, permille, truth)[0] <= independent_at_most


def test_block_intervals_of_a_mean_cover_too() -> None:
    many = ar1(0.9, count=2000, replications=300, seed=2)
    found = [ratio_interval(series_of(each), 1e-6) for each in many]
    assert sum(interval.low <= 0 <= interval.high for interval in found) >= 0.90 * len(found)


def test_independent_samples_are_covered_and_not_by_much_wider_intervals() -> None:
    many = ar1(0.0, count=1000, replications=300, seed=3)
    truth = ar1_quantile(0.0, 0.5)
    assert 0.92 <= coverage(by_blocks, many, 500, truth)[0] <= 0.99
    widths = [
        [high - low for low, high in map(method, many, [500] * len(many))]
        for method in (by_blocks, as_if_independent)
    ]
    assert np.mean(widths[0]) < 1.3 * np.mean(widths[1])


def test_intervals_over_repeats_cover_where_repeats_differ() -> None:
    medians = np.median(ar1(0.95, count=200, replications=5 * 400, seed=4), axis=1).reshape(-1, 5)
    found = [repeats_interval(values.tolist()) for values in medians]
    assert 0.92 <= sum(i.low <= 0 <= i.high for i in found) / len(found) <= 0.98


def test_the_standard_error_is_that_of_drawing_many_blocks() -> None:
    values = ar1(0.8, count=400, replications=1, seed=5)[0]
    length = block_length(400)
    random = np.random.default_rng(6)
    starts = random.integers(0, 400 - length + 1, size=(20_000, 400 // length))
    drawn = values[starts[:, :, None] + np.arange(length)].reshape(len(starts), -1).mean(axis=1)
    expected = float(drawn.std()) * math.sqrt(400 / (400 - length))
    estimate = ratio_estimate(series_of(values))
    assert estimate is not None
    # The closed form centres on the mean of all samples, drawing blocks on that of all blocks.
    assert estimate.error == pytest.approx(expected, rel=0.10)


def test_no_block_spans_two_repeats() -> None:
    jump = [0] * 100 + [1000] * 100
    apart = ratio_estimate(series_of(jump, 100, 100))
    together = ratio_estimate(series_of(jump))
    assert apart is not None and together is not None
    assert apart.value == together.value == 500
    assert apart.degrees == 2 * (100 // block_length(100)) - 1


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [
        (1, 12.706205),
        (4, 2.776445),
        (10, 2.228139),
        (11, 2.200985),
        (30, 2.042272),
        (1000, 1.962339),
    ],
)
def test_student_t_is_that_of_the_tables(degrees, expected) -> None:
    assert student_t(degrees) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(8, 10, 0.490162, 0.943318), (0, 20, 0.0, 0.161125), (20, 20, 0.838875, 1.0)],
)
def test_wilson_bounds_are_the_published_ones(hits, count, low, high) -> None:
    assert wilson_bounds(hits / count, count) == pytest.approx((low, high), abs=1e-6)


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_wilson_bounds_hold_the_share_and_stay_within_0_and_1(count, share) -> None:
    low, high = wilson_bounds(share, count)
    assert 0 <= low <= share <= high <= 1


def test_failures_in_bursts_are_worth_fewer_samples() -> None:
    scattered = wilson_interval(series_of([1, *[0] * 9] * 40))
    bursts = wilson_interval(series_of([1] * 40 + [0] * 360))
    assert scattered.n == 400
    assert bursts.n < 40
    assert bursts.high - bursts.low > 2 * (scattered.high - scattered.low)


def test_a_flawless_run_is_only_as_sure_as_its_latencies_are_independent() -> None:
    waited = series_of(ar1(0.9, count=1000, replications=1, seed=7)[0])
    perfect = series_of([1] * 1000)
    assert wilson_interval(perfect).low == pytest.approx(wilson_bounds(1.0, 1000)[0])
    assert wilson_interval(perfect, design_effect(waited)).low < wilson_bounds(1.0, 200)[0]


def test_what_is_too_little_to_tell_says_so() -> None:
    with pytest.raises(TooFewError, match="63 observations, at least 64"):
        ratio_interval(series_of(range(63)), 1.0)
    with pytest.raises(TooFewError, match="4 repeats, at least 5"):
        repeats_interval([1.0, 2.0, 3.0, 4.0])
    values = np.arange(100, dtype=np.int64)
    rare = series_of(values <= 98)
    with pytest.raises(TooFewError, match="effective samples beyond it"):
        quantile_interval(values, rare, 990, 1)
    with pytest.raises(TooFewError, match="all samples are equal"):
        quantile_interval(np.ones(100, dtype=np.int64), series_of([1] * 100), 500, 1)


@given(st.lists(st.integers(-(2**62), 2**62), max_size=50))
def test_exact_sums_do_not_overflow(values) -> None:
    assert exact_sum(np.array(values, dtype=np.int64)) == sum(values)


def test_a_ratio_of_nothing_has_no_estimate() -> None:
    zeros = np.zeros(64, dtype=np.int64)
    assert ratio_estimate(Series(zeros, zeros, (64,))) is None
    assert ratio_estimate(Series(zeros, zeros, ())) is None
