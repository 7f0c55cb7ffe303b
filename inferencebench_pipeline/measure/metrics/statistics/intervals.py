"""Confidence intervals: within one run from blocks of it, over repeats from their values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.measure.metrics.statistics.blocks import (
    FEWEST_OBSERVATIONS,
    RatioEstimate,
    Series,
    ratio_estimate,
)
from inferencebench_pipeline.measure.metrics.statistics.packed_integers import Ascending

CONFIDENCE: Final = 0.95
FEWEST_REPEATS: Final = 5
"""Independent repeats from which the spread between them is reported instead of within them."""
FEWEST_BEYOND: Final = 10
"""Effective samples that must lie beyond a percentile for an interval around it."""

_Z: Final = 1.959963984540054
"""Standard normal quantile at 0.975."""
_STUDENT_T: Final = (
    *(12.7062047362, 4.3026527297, 3.1824463053, 2.7764451052, 2.5705818356),
    *(2.4469118511, 2.3646242516, 2.3060041352, 2.2621571628, 2.2281388520),
)
"""Student's t at 0.975 for 1 to 10 degrees of freedom; above, an expansion is exact enough."""


class TooFewError(ValueError):
    """There is no interval, because too little was observed; the message says how little."""


class Interval(DocumentPart):
    """The range in which the true value lies with 95 % confidence, and the method that gave it."""

    low: float
    """The lower bound, in the metric's unit."""
    high: float
    """The upper bound, in the metric's unit."""
    confidence: float = Field(default=CONFIDENCE, gt=0, lt=1)
    """The confidence, as a share."""
    method: Literal["moving_block_bootstrap", "wilson", "repeats"]
    """The method that gave the bounds."""
    n: float = Field(gt=0)
    """The number of repeats, or of independent samples that the dependent ones are worth."""


def student_t(degrees: int) -> float:
    """Return Student's t at 0.975, by table or by its Cornish-Fisher expansion.

    The expansion (Abramowitz and Stegun 26.7.5) is off by less than 1e-5 above 10 degrees.

    Args:
        degrees: degrees of freedom, at least 1.
    """
    # Written out, because scipy is 35 MB and changes last digits with its versions.
    if degrees <= len(_STUDENT_T):
        return _STUDENT_T[degrees - 1]
    z, v = _Z, float(degrees)
    z2 = z * z
    terms = (
        (z2 + 1) * z / 4,
        ((5 * z2 + 16) * z2 + 3) * z / 96,
        (((3 * z2 + 19) * z2 + 17) * z2 - 15) * z / 384,
        ((((79 * z2 + 776) * z2 + 1482) * z2 - 1920) * z2 - 945) * z / 92160,
    )
    return z + ((terms[3] / v + terms[2]) / v + terms[1]) / v / v + terms[0] / v


def ratio_interval(series: Series, scale: float) -> Interval:
    """Return the interval around a ratio of sums, for example a mean or a rate.

    Args:
        series: what the ratio is made of.
        scale: what one unit of the ratio is in units of the result.

    Raises:
        TooFewError: a repeat is too short for blocks.
    """
    estimate = _estimated(series)
    reach = student_t(estimate.degrees) * estimate.error
    return Interval(
        low=(estimate.value - reach) * scale,
        high=(estimate.value + reach) * scale,
        method="moving_block_bootstrap",
        n=float(sum(series.repeats)),
    )


def quantile_interval(
    ordered: Ascending | npt.NDArray[np.signedinteger] | npt.NDArray[np.unsignedinteger],
    below: Series,
    permille: int,
    per_unit: int,
) -> Interval:
    """Return the interval around a quantile, by inverting the one around its rank.

    Woodruff (1952): the share of samples at or below the quantile is a ratio, which blocks give a
    standard error; the samples at that share, less and plus its reach, are the bounds.

    Args:
        ordered: all samples, ascending.
        below: per observation, how many of its samples are at or below the quantile, of how many.
        permille: 1 to 999.
        per_unit: how many units of the samples make one of the result.

    Raises:
        TooFewError: a repeat is too short, or too few effective samples lie beyond the quantile.
    """
    estimate = _estimated(below)
    share = permille / 1000
    if estimate.error == 0.0:
        raise TooFewError("all samples are equal, so nothing tells how far they would vary")
    # So many independent samples would give a share of this standard error.
    effective = share * (1 - share) / (estimate.error * estimate.error)
    beyond = effective * min(share, 1 - share)
    if beyond < FEWEST_BEYOND:
        raise TooFewError(
            f"{beyond:.1f} effective samples beyond it, at least {FEWEST_BEYOND} needed"
        )
    reach = student_t(estimate.degrees) * estimate.error
    last = len(ordered) - 1
    # Rounded outwards, so that no sample inside the rank's interval falls out.
    low = min(max(math.floor((share - reach) * last), 0), last)
    high = min(max(math.ceil((share + reach) * last), 0), last)
    return Interval(
        low=int(ordered[low]) / per_unit,
        high=int(ordered[high]) / per_unit,
        method="moving_block_bootstrap",
        n=min(effective, float(len(ordered))),
    )


def wilson_bounds(share: float, count: float) -> tuple[float, float]:
    """Return Wilson's score interval (1927) of a proportion seen in ``count`` samples."""
    z2 = _Z * _Z
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    reach = _Z / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    # At 0 and at 1 the bound is the share itself, which rounding must not step over.
    return min(max(middle - reach, 0.0), share), max(min(middle + reach, 1.0), share)


def wilson_interval(series: Series, design_effect: float = 1.0) -> Interval:
    """Return Wilson's interval of a proportion, for as many samples as the blocks say it has.

    Failures and misses come in bursts: samples that depend are worth fewer than they are.

    Args:
        series: hits, with denominators of 1.
        design_effect: how many dependent samples are at least worth one, from elsewhere: of a
            proportion of 0 or 1 the blocks cannot tell.

    Raises:
        TooFewError: a repeat is too short for blocks.
    """
    estimate = _estimated(series)
    count = sum(series.repeats)
    share = estimate.value
    worth = count / max(design_effect, 1.0)
    if estimate.error > 0.0:
        worth = min(worth, share * (1 - share) / (estimate.error * estimate.error))
    low, high = wilson_bounds(share, worth)
    return Interval(low=low, high=high, method="wilson", n=worth)


def repeats_interval(values: Sequence[float]) -> Interval:
    """Return Student's interval around the mean of independent repeats' values.

    Raises:
        TooFewError: fewer than five repeats.
    """
    count = len(values)
    if count < FEWEST_REPEATS:
        raise TooFewError(f"{count} repeats, at least {FEWEST_REPEATS} needed")
    mean = math.fsum(values) / count
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    reach = student_t(count - 1) * math.sqrt(variance / count)
    return Interval(low=mean - reach, high=mean + reach, method="repeats", n=float(count))


def design_effect(series: Series) -> float:
    """Return the number of dependent samples that are worth one; 1 where it cannot be told.

    Args:
        series: with denominators of 1.
    """
    estimate = ratio_estimate(series)
    if estimate is None or estimate.error == 0.0:
        return 1.0
    deviations = series.numerators - estimate.value
    count = len(deviations)
    spread = math.fsum((deviations * deviations).tolist()) / count
    return max(1.0, estimate.error * estimate.error * count / spread) if spread else 1.0


def _estimated(series: Series) -> RatioEstimate:
    estimate = ratio_estimate(series)
    if estimate is None:
        fewest = min(series.repeats, default=0)
        raise TooFewError(f"{fewest} observations, at least {FEWEST_OBSERVATIONS} needed")
    return estimate
