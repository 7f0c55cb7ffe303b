"""The moving-block bootstrap's standard error of a ratio, for observations that depend in time.

Requests that follow one another share queues and batches, so a bootstrap that draws them one by
one claims far too much. Drawing blocks keeps what is near together (Künsch 1989). Of a mean, and
of a ratio of sums by its linear part, the bootstrap variance has a closed form, which is what ever
more resamples converge to: no resampling, no seed, the same digits everywhere. Sums run in one
fixed order (``numpy.cumsum``) or are exactly rounded (``math.fsum``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]

FEWEST_OBSERVATIONS: Final = 64
"""The fewest observations. Below, there are fewer than four blocks' worth, and no variance between
blocks to speak of."""


@dataclass(frozen=True)
class Series:
    """The amounts that each observation, in order, adds to a ratio of sums.

    A mean has denominators of 1; the share of pooled samples below a value has, per request, how
    many of its samples are below and how many there are; a rate has events and time per bin.
    """

    numerators: Int64s
    denominators: Int64s
    repeats: tuple[int, ...]
    """The number of observations of each independent repeat, in order. No block spans two
    repeats."""


@dataclass(frozen=True)
class RatioEstimate:
    """A ratio of sums, and how far another run like this one would be from it."""

    value: float
    error: float
    """Standard error."""
    degrees: int
    """Degrees of freedom behind the standard error: blocks side by side, less one."""


def exact_sum(values: Int64s) -> int:
    """Return the sum of integers without overflow, whatever their size."""
    # The upper and the lower 32 bits are summed apart, so that neither sum can overflow.
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())


def block_length(count: int) -> int:
    """Return the length of a block: twice the root of ``count``.

    Longer than the n^(1/3) that is best for independent data, because latencies near saturation
    stay correlated over tens of requests (``benchmarks/coverage.py`` compares).
    """
    return max(1, math.isqrt(4 * count))


def ratio_estimate(series: Series) -> RatioEstimate | None:
    """Return the ratio and its moving-block standard error; None when a repeat is too short.

    Each block sum of the residuals ``numerator - ratio * denominator`` stands for its neighbours;
    the variance carries the factor n / (n - b) that makes overlapping batch means unbiased for
    independent observations (Meketon and Schmeiser 1984).
    """
    if not series.repeats or min(series.repeats) < FEWEST_OBSERVATIONS:
        return None
    total = exact_sum(series.denominators)
    if total == 0:
        return None
    ratio = exact_sum(series.numerators) / total
    residuals = series.numerators - ratio * series.denominators
    variance = 0.0
    blocks = start = 0
    for count in series.repeats:
        variance += _variance_of_sum(residuals[start : start + count])
        blocks += count // block_length(count)
        start += count
    return RatioEstimate(ratio, math.sqrt(variance) / total, blocks - 1)


def _variance_of_sum(residuals: npt.NDArray[np.float64]) -> float:
    count = len(residuals)
    length = block_length(count)
    # One running sum gives the sums of all overlapping blocks as differences.
    running = np.concatenate(([0.0], np.cumsum(residuals)))
    sums = running[length:] - running[:-length]
    mean_square = math.fsum((sums * sums).tolist()) / len(sums)
    return mean_square * (count / length) * (count / (count - length))
