"""Uncertainty of a measurement: intervals that hold for requests that depend on one another.

Pure functions over numbers, no randomness: whoever computes again gets the same digits.
"""

from inferencebench_pipeline.measure.metrics.statistics.blocks import (
    FEWEST_OBSERVATIONS,
    RatioEstimate,
    Series,
    block_length,
    exact_sum,
    ratio_estimate,
)
from inferencebench_pipeline.measure.metrics.statistics.intervals import (
    CONFIDENCE,
    FEWEST_REPEATS,
    Interval,
    TooFewError,
    design_effect,
    quantile_interval,
    ratio_interval,
    repeats_interval,
    student_t,
    wilson_bounds,
    wilson_interval,
)

__all__ = [
    "CONFIDENCE",
    "FEWEST_OBSERVATIONS",
    "FEWEST_REPEATS",
    "Interval",
    "RatioEstimate",
    "Series",
    "TooFewError",
    "block_length",
    "design_effect",
    "exact_sum",
    "quantile_interval",
    "ratio_estimate",
    "ratio_interval",
    "repeats_interval",
    "student_t",
    "wilson_bounds",
    "wilson_interval",
]
