"""The interval of each metric, from blocks of one run or from independent repeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.measure.metric_definitions import (
    DISTRIBUTIONS,
    PERCENTILES,
    Distribution,
    percentile_key,
)
from inferencebench_pipeline.measure.metrics.arrays import Bools, Int64s, TraceArrays
from inferencebench_pipeline.measure.metrics.samples import samples_of
from inferencebench_pipeline.measure.metrics.statistics import (
    FEWEST_OBSERVATIONS,
    FEWEST_REPEATS,
    Interval,
    Series,
    TooFewError,
    design_effect,
    quantile_interval,
    ratio_interval,
    repeats_interval,
    wilson_interval,
)
from inferencebench_pipeline.measure.spec.spec import Slo

_COUNTS: Final = ("requests_measured", "requests_failed", "output_tokens")
_NS_PER_S: Final = 1e9


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


@dataclass(frozen=True)
class Sorted:
    """Samples in ascending order, and how many of their units make one of the metric's."""

    values: npt.NDArray[Any]
    per_unit: int

    @classmethod
    def of(cls, samples: npt.NDArray[Any], per_unit: int) -> Sorted:
        """Return ``samples`` sorted."""
        return cls(np.sort(samples), per_unit)


def with_intervals(
    metrics: dict[str, Metric],
    repeats: Sequence[dict[str, Metric]],
    arrays: TraceArrays,
    slo: Slo,
    ordered: dict[str, Sorted],
) -> dict[str, Metric]:
    """Return ``metrics`` with an interval each, or the reason why there is none.

    Args:
        metrics: of all repeats together.
        repeats: of each repeat alone.
        arrays: what they were computed from.
        slo: the SLO they were computed under.
        ordered: the samples of the distributions.
    """
    within = None if len(repeats) >= FEWEST_REPEATS else _Within(arrays, slo, ordered)
    result = {}
    for key, metric in metrics.items():
        if metric.value is None:
            result[key] = metric
            continue
        if key in _COUNTS:
            reason = "a count of what was done, not an estimate"
            result[key] = metric.model_copy(update={"interval_null_reason": reason})
            continue
        try:
            interval = _over(key, repeats) if within is None else within.interval(key)
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


class _Within:
    """The intervals that blocks of the requests, in their order, give."""

    def __init__(self, arrays: TraceArrays, slo: Slo, ordered: dict[str, Sorted]) -> None:
        self._arrays = arrays
        self._slo = slo
        self._ordered = ordered
        self._percentiles = {
            percentile_key(of.name, permille): (of, permille)
            for of in DISTRIBUTIONS
            for permille in PERCENTILES
        }
        self._means = {f"{of.name}_mean_ms": of for of in DISTRIBUTIONS}

    def interval(self, key: str) -> Interval:
        """Return the interval of a metric that has a value.

        Raises:
            TooFewError: there is none.
        """
        rows = self._arrays.rows
        if key in self._percentiles:
            return self._percentile(*self._percentiles[key])
        if key in self._means:
            samples = samples_of(self._means[key], self._arrays)
            sums, counts = samples.values, samples.counts
            if counts is not None:
                sums = _sums(sums, counts)
            return ratio_interval(self._of_rows(sums, samples.chosen, counts), 1 / samples.per_ms)
        if key == "slo_attainment":
            waited = self._of_rows((rows.first_token - rows.scheduled)[rows.good], rows.good)
            met = self._of_rows(rows.meets(self._slo)[rows.measured], rows.measured)
            return wilson_interval(met, design_effect(waited))
        if key.startswith("error_rate"):
            return wilson_interval(self._failures(key))
        if key == "fluidity":
            good = rows.good
            kept = (self._arrays.deadlines - self._arrays.missed_deadlines)[good]
            return ratio_interval(self._of_rows(kept, good, self._arrays.deadlines[good]), 1.0)
        if key == "joules_per_output_token":
            raise TooFewError(f"one reading per window; an interval needs {FEWEST_REPEATS} repeats")
        return ratio_interval(self._rate(key), _NS_PER_S)

    def _percentile(self, of: Distribution, permille: int) -> Interval:
        ordered = self._ordered[of.name].values
        value = ordered[permille * (len(ordered) - 1) // 1000]
        samples = samples_of(of, self._arrays)
        at_most = samples.values <= value
        if samples.counts is not None:
            at_most = _sums(at_most, samples.counts)
        below = self._of_rows(at_most, samples.chosen, samples.counts)
        return quantile_interval(ordered, below, permille, samples.per_ms)

    def _of_rows(
        self, numerators: npt.NDArray[Any], chosen: Bools, denominators: Int64s | None = None
    ) -> Series:
        """Return a series with one observation per chosen row."""
        counts = tuple(int(chosen[start:stop].sum()) for start, stop in self._arrays.bounds)
        ones = np.ones(len(numerators), dtype=np.int64)
        return Series(
            numerators.astype(np.int64), ones if denominators is None else denominators, counts
        )

    def _failures(self, key: str) -> Series:
        rows = self._arrays.rows
        failed = rows.measured & ~rows.succeeded
        if key != "error_rate":
            name = key.removeprefix("error_rate_")
            failed &= self._arrays.rows.failure_class == name
        return self._of_rows(failed[rows.measured], rows.measured)

    def _rate(self, key: str) -> Series:
        """Return the amount in each part of the windows, and the length of the part."""
        arrays, rows = self._arrays, self._arrays.rows
        position = arrays.repeat_position
        if key in ("output_tok_per_s", "total_tok_per_s"):
            amounts = arrays.tokens
            if key == "total_tok_per_s":
                answered = rows.succeeded
                amounts = amounts + arrays.windows.totals(
                    position[answered], rows.first_token[answered], rows.prompt_tokens[answered]
                )
        else:
            counted = rows.succeeded if key == "request_per_s" else rows.meets(self._slo)
            amounts = arrays.windows.totals(position[counted], rows.end[counted])
        requests = min(int(rows.measured[start:stop].sum()) for start, stop in arrays.bounds)
        if requests < FEWEST_OBSERVATIONS:
            raise TooFewError(f"{requests} requests, at least {FEWEST_OBSERVATIONS} needed")
        parts = amounts.shape[1]
        return Series(
            amounts.reshape(-1), arrays.windows.bin_ns.reshape(-1), (parts,) * len(arrays.bounds)
        )


def _sums(values: npt.NDArray[Any], counts: Int64s) -> Int64s:
    """Return the sum of each row's values, of which it has ``counts``."""
    result = np.zeros(len(counts), dtype=np.int64)
    some = counts > 0
    starts = (np.cumsum(counts) - counts)[some]
    if len(starts):
        result[some] = np.add.reduceat(values, starts, dtype=np.int64)
    return result
