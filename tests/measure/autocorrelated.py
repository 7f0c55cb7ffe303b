"""Series whose true quantiles are known, and how often an interval covers them."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from inferencebench_pipeline.measure.metrics.statistics import (
    Interval,
    Series,
    TooFewError,
    quantile_interval,
)

Ints = npt.NDArray[np.int64]
UNIT = 10**6
_BURN_IN = 500


def ar1(correlation: float, count: int, replications: int, seed: int) -> Ints:
    """Return AR(1) series with standard normal innovations, one a row, in millionths."""
    noise = np.random.default_rng(seed).normal(size=(replications, _BURN_IN + count))
    series = np.zeros_like(noise)
    for step in range(1, noise.shape[1]):
        series[:, step] = correlation * series[:, step - 1] + noise[:, step]
    return np.rint(series[:, _BURN_IN:] * UNIT).astype(np.int64)


def ar1_quantile(correlation: float, share: float) -> float:
    """Return the true quantile of :func:`ar1`."""
    return NormalDist(0, 1 / math.sqrt(1 - correlation**2)).inv_cdf(share)


def queue(utilisation: float, count: int, replications: int, seed: int) -> Ints:
    """Return times in an M/M/1 queue by Lindley's recursion, one a row, in millionths."""
    random = np.random.default_rng(seed)
    service = random.exponential(1.0, (replications, 4 * _BURN_IN + count))
    arrival = random.exponential(1 / utilisation, service.shape)
    wait = np.zeros(replications)
    times = np.empty_like(service)
    for step in range(service.shape[1]):
        times[:, step] = wait + service[:, step]
        wait = np.maximum(times[:, step] - arrival[:, step], 0)
    return np.rint(times[:, 4 * _BURN_IN :] * UNIT).astype(np.int64)


def queue_quantile(utilisation: float, share: float) -> float:
    """Return the true quantile of :func:`queue`: exponential with rate 1 - utilisation."""
    return -math.log(1 - share) / (1 - utilisation)


def by_blocks(series: Ints, permille: int) -> tuple[float, float] | None:
    """Return the interval that this package reports; None when it reports none."""
    ordered = np.sort(series)
    value = ordered[permille * (len(ordered) - 1) // 1000]
    below = Series((series <= value).astype(np.int64), np.ones_like(series), (len(series),))
    try:
        found: Interval = quantile_interval(ordered, below, permille, UNIT)
    except TooFewError:
        return None
    return found.low, found.high


def as_if_independent(series: Ints, permille: int) -> tuple[float, float] | None:
    """Return the order-statistic interval that holds for independent samples only."""
    ordered, share = np.sort(series), permille / 1000
    reach = 1.959963984540054 * math.sqrt(share * (1 - share) / len(ordered))
    last = len(ordered) - 1
    low = max(math.floor((share - reach) * last), 0)
    high = min(math.ceil((share + reach) * last), last)
    return ordered[low] / UNIT, ordered[high] / UNIT


def coverage(
    interval: Callable[[Ints, int], tuple[float, float] | None],
    series: Ints,
    permille: int,
    truth: float,
) -> tuple[float, float]:
    """Return how many of the intervals given cover the truth, and how many were given."""
    found = [interval(each, permille) for each in series]
    given = [bounds for bounds in found if bounds is not None]
    hits = sum(low <= truth <= high for low, high in given)
    return (hits / len(given) if given else math.nan), len(given) / len(found)
