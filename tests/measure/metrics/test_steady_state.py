"""MSER-5: against the textbook definition, on series whose start-up is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferencebench_pipeline.measure.metrics.steady_state import BATCH, mser5


def slow_mser5(series: list[float]) -> int:
    """The definition, one cut at a time; returns how many observations are cut off."""
    batches = [
        sum(series[i * BATCH : (i + 1) * BATCH]) / BATCH for i in range(len(series) // BATCH)
    ]
    errors = []
    for cut in range(len(batches) // 2 + 1):
        rest = batches[cut:]
        mean = sum(rest) / len(rest)
        errors.append(sum((value - mean) ** 2 for value in rest) / len(rest) ** 2)
    return errors.index(min(errors)) * BATCH


@given(st.lists(st.integers(-1000, 1000), min_size=20, max_size=120))
def test_the_fast_cut_is_as_good_as_the_one_of_the_definition(series) -> None:
    def error_of(cut: int) -> float:
        batches = np.array(series[: len(series) // BATCH * BATCH], float).reshape(-1, BATCH)
        rest = batches.mean(axis=1)[cut // BATCH :]
        return float(((rest - rest.mean()) ** 2).sum() / len(rest) ** 2)

    assert error_of(mser5(series).cut) == pytest.approx(error_of(slow_mser5(series)), abs=1e-6)


def test_a_known_start_up_is_cut_off() -> None:
    noise = np.random.default_rng(1).normal(0, 1, 500)
    series = 100 + noise
    series[:40] += np.linspace(80, 10, 40)
    found = mser5(series)
    assert 35 <= found.cut <= 60
    assert found.steady


def test_noise_without_a_start_up_keeps_nearly_everything() -> None:
    found = mser5(np.random.default_rng(7).normal(10, 1, 400))
    assert found.steady
    assert found.cut <= 40


def test_a_series_that_only_drifts_is_not_steady() -> None:
    found = mser5(np.linspace(0, 100, 200))
    assert not found.steady
    assert "still settling" in found.reason


def test_a_start_up_as_long_as_the_rest_is_not_steady() -> None:
    series = np.r_[np.full(40, 50.0), np.full(60, 10.0)]
    found = mser5(series)
    assert (found.cut, found.steady) == (40, False)
    assert "5 times" in found.reason


def test_too_few_observations_are_never_steady() -> None:
    assert not mser5([1.0] * 19).steady
    assert mser5([1.0] * 20).steady
