"""The interval of each metric, from blocks of one run or from independent repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.measure.metrics.estimators import Estimator, Given
from inferencebench_pipeline.measure.metrics.statistics import (
    FEWEST_REPEATS,
    Interval,
    TooFewError,
    repeats_interval,
)


class Metric(DocumentPart):
    """One number with its sample size and its interval, or the reason why it is missing."""

    value: float | None
    """The value in ``unit``, null when there is none."""
    unit: str
    """The unit of the value and of the interval's bounds."""
    n: int = Field(ge=0)
    """The number of samples that the value rests on."""
    null_reason: str | None = None
    """The reason why there is no value."""
    interval: Interval | None = None
    """The 95 % interval of the value."""
    interval_null_reason: str | None = None
    """The reason why a metric that has a value has no interval."""


def with_intervals(
    metrics: dict[str, Metric],
    repeats: Sequence[dict[str, Metric]],
    given: Given,
    estimators: Mapping[str, Estimator],
) -> dict[str, Metric]:
    """Return ``metrics`` with an interval each, or the reason why there is none.

    Args:
        metrics: the metrics of all repeats together.
        repeats: the metrics of each repeat alone.
        given: the traces that they were computed from.
        estimators: the estimator of each metric, by its key.
    """
    result = {}
    for key, metric in metrics.items():
        estimator = estimators[key]
        if metric.value is None:
            result[key] = metric
            continue
        if estimator.no_interval is not None:
            reason = estimator.no_interval
            result[key] = metric.model_copy(update={"interval_null_reason": reason})
            continue
        try:
            # Whole repeats are independent of one another, which blocks of one run are not quite.
            enough = len(repeats) >= FEWEST_REPEATS
            interval = _over(key, repeats) if enough else estimator.interval(given)
            result[key] = metric.model_copy(update={"interval": _possible(interval, metric)})
        except TooFewError as error:
            result[key] = metric.model_copy(update={"interval_null_reason": str(error)})
    return result


def _possible(interval: Interval, metric: Metric) -> Interval:
    """Return the interval without what no such quantity can be: below 0, a ratio above 1.

    One around the value itself holds it, though rounding may have put it a last digit outside.
    """
    low, high = max(interval.low, 0.0), interval.high
    if metric.unit == "ratio":
        high = min(high, 1.0)
    # The mean of the repeats' values is another number than the pooled value.
    if interval.method != "repeats" and metric.value is not None:
        low, high = min(low, metric.value), max(high, metric.value)
    return interval.model_copy(update={"low": low, "high": high})


def _over(key: str, repeats: Sequence[dict[str, Metric]]) -> Interval:
    values = []
    for position, metrics in enumerate(repeats, start=1):
        metric = metrics[key]
        if metric.value is None:
            raise TooFewError(f"repeat {position} alone: {metric.null_reason}")
        values.append(metric.value)
    return repeats_interval(values)
