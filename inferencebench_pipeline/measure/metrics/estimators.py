"""The estimator of each metric: its value from the traces, and its interval from blocks of them.

Durations stay integers (nanoseconds, or picoseconds for TPOT) until one final division, whose
result IEEE 754 rounds in one way only, so every value is the same to the last digit everywhere. The
meaning of each metric is in ``metric_definitions``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from inferencebench_pipeline.measure.definition_versions import Definitions, known_definitions
from inferencebench_pipeline.measure.metric_definitions import (
    DISTRIBUTIONS,
    ERROR_CLASSES,
    PERCENTILES,
    SAMPLE_FLOORS,
    Distribution,
    mean_key,
    percentile_key,
)
from inferencebench_pipeline.measure.metrics.arrays import Bools, Int64s, Rows, TraceArrays
from inferencebench_pipeline.measure.metrics.samples import OrderedSamples, samples_of
from inferencebench_pipeline.measure.metrics.statistics import (
    FEWEST_OBSERVATIONS,
    FEWEST_REPEATS,
    Interval,
    Series,
    TooFewError,
    design_effect,
    exact_sum,
    quantile_interval,
    ratio_interval,
    wilson_interval,
)
from inferencebench_pipeline.measure.metrics.statistics.packed_integers import Ascending
from inferencebench_pipeline.measure.spec.stated_parts import Slo

_NS_PER_S: Final = 10**9
_NO_REQUEST: Final = "no measured request"
_NO_SLO: Final = "no SLO given"


@dataclass(frozen=True)
class Given:
    """The traces that the metrics are estimated from, and the SLO that they are judged by."""

    arrays: TraceArrays
    slo: Slo
    samples: Mapping[str, OrderedSamples]
    """The samples of each distribution, by its name."""
    ascending: Mapping[str, Ascending]
    """The same values in ascending order."""

    @classmethod
    def of(cls, arrays: TraceArrays, slo: Slo) -> Given:
        """Return the samples of every distribution, put in order once for all its percentiles."""
        samples = {of.name: samples_of(of, arrays) for of in DISTRIBUTIONS}
        ascending = {name: Ascending(each.values) for name, each in samples.items()}
        return cls(arrays, slo, samples, ascending)

    @property
    def rows(self) -> Rows:
        """The columns of the rows."""
        return self.arrays.rows

    @cached_property
    def ended(self) -> Int64s:
        """The successful requests that ended in each part of the windows."""
        return self.per_window_part(self.rows.succeeded, self.rows.end)

    def series(
        self, numerators: npt.NDArray[Any], chosen: Bools, denominators: Int64s | None = None
    ) -> Series:
        """Return a series with one observation per chosen row."""
        counts = tuple(int(chosen[start:stop].sum()) for start, stop in self.arrays.bounds)
        ones = np.ones(len(numerators), dtype=np.int64)
        return Series(
            numerators.astype(np.int64), ones if denominators is None else denominators, counts
        )

    def per_window_part(self, happened: Bools, at: Int64s, amounts: Int64s | None = None) -> Int64s:
        """Return the total of the rows that ``happened`` in each part of the windows."""
        return self.arrays.windows.totals(
            self.arrays.repeat_position[happened],
            at[happened],
            None if amounts is None else amounts[happened],
        )


class Value(NamedTuple):
    """A value with its sample size, or the reason why there is none."""

    value: float | None
    n: int
    null_reason: str | None = None


class Estimator(ABC):
    """The way from the traces to one metric."""

    no_interval: ClassVar[str | None] = None
    """The reason why the metric never has an interval, when it has none."""
    no_blocks: ClassVar[str] = "successive requests say nothing about its uncertainty"
    """The reason why there is no interval from blocks, for an estimator without one."""

    @abstractmethod
    def value(self, given: Given) -> Value:
        """Return the value over all that is given."""

    def interval(self, given: Given) -> Interval:  # noqa: ARG002 - others need it
        """Return the interval that blocks of successive requests give.

        Raises:
            TooFewError: too little was observed, or the metric has no such interval.
        """
        raise TooFewError(self.no_blocks)


@dataclass(frozen=True)
class Percentile(Estimator):
    """A percentile of a distribution, in thousandths."""

    of: Distribution
    permille: int

    def value(self, given: Given) -> Value:
        """Return the percentile, or nothing below the floor of samples."""
        ascending = given.ascending[self.of.name]
        count, floor = len(ascending), SAMPLE_FLOORS[self.permille]
        if count < floor:
            return Value(None, count, f"{count} samples, at least {floor} needed")
        per_ms = given.samples[self.of.name].per_ms
        return Value(percentile(ascending, self.permille, per_ms), count)

    def interval(self, given: Given) -> Interval:
        """Return the interval from the share of samples below, request by request."""
        ascending, samples = given.ascending[self.of.name], given.samples[self.of.name]
        # The sample at the rank, rounded down: what is inverted is the interval of this rank.
        value = ascending[self.permille * (len(ascending) - 1) // 1000]
        # Samples of one request depend on each other, so each request is one observation.
        below = _per_request(samples, lambda values: values <= value)
        series = given.series(below, samples.chosen, samples.counts)
        return quantile_interval(ascending, series, self.permille, samples.per_ms)


@dataclass(frozen=True)
class Mean(Estimator):
    """The mean of a distribution."""

    of: Distribution

    def value(self, given: Given) -> Value:
        """Return the exact sum over the number of samples."""
        samples = given.samples[self.of.name]
        count = len(samples.values)
        if count == 0:
            return Value(None, 0, "no sample")
        return Value(samples.values.sum() / (count * samples.per_ms), count)

    def interval(self, given: Given) -> Interval:
        """Return the interval of the ratio of sums to counts, request by request."""
        samples = given.samples[self.of.name]
        sums = _per_request(samples, np.asarray)
        series = given.series(sums, samples.chosen, samples.counts)
        return ratio_interval(series, 1 / samples.per_ms)


@dataclass(frozen=True)
class Rate(Estimator):
    """An amount per second of the measured windows."""

    amounts: Callable[[Given], Int64s]
    """The amount in each part of each window."""
    of_tokens: bool = False
    """True when the amount is tokens, which the engine must have counted for each request."""
    needs_slo: bool = False

    def value(self, given: Given) -> Value:
        """Return the amount over the length of the windows."""
        window_ns = int(given.arrays.windows.length.sum())
        if window_ns == 0:
            return Value(None, 0, f"{_NO_REQUEST}, so no window")
        rows = given.rows
        requests = int(given.ended.sum())
        if self.needs_slo and given.slo == Slo():
            return Value(None, requests, _NO_SLO)
        if self.of_tokens and (reason := _uncounted(rows, rows.succeeded)):
            return Value(None, requests, reason)
        amount = int(self.amounts(given).sum())
        return Value(amount * _NS_PER_S / window_ns, amount if self.of_tokens else requests)

    def interval(self, given: Given) -> Interval:
        """Return the interval of the ratio of amounts to times, part by part of the windows."""
        arrays = given.arrays
        # The parts of a window always number 400, however few requests fill them.
        requests = min(int(given.rows.measured[start:stop].sum()) for start, stop in arrays.bounds)
        if requests < FEWEST_OBSERVATIONS:
            raise TooFewError(f"{requests} requests, at least {FEWEST_OBSERVATIONS} needed")
        amounts = self.amounts(given)
        series = Series(
            amounts.reshape(-1),
            arrays.windows.bin_ns.reshape(-1),
            (amounts.shape[1],) * len(arrays.bounds),
        )
        return ratio_interval(series, float(_NS_PER_S))


@dataclass(frozen=True)
class Share(Estimator):
    """The share of measured requests for which something holds."""

    holds: Callable[[Given], Bools]
    needs_slo: bool = False
    """True when it holds by the SLO. Requests that wait in one queue then meet or miss it together,
    which the design effect of their waiting times pays for."""

    def value(self, given: Given) -> Value:
        """Return the share."""
        measured = given.rows.measured
        count = int(measured.sum())
        if not count:
            return Value(None, 0, _NO_REQUEST)
        if self.needs_slo and given.slo == Slo():
            return Value(None, count, _NO_SLO)
        return Value(int((measured & self.holds(given)).sum()) / count, count)

    def interval(self, given: Given) -> Interval:
        """Return Wilson's interval."""
        rows = given.rows
        holds = given.series(self.holds(given)[rows.measured], rows.measured)
        if not self.needs_slo:
            return wilson_interval(holds)
        waited = given.series((rows.first_token - rows.scheduled)[rows.good], rows.good)
        return wilson_interval(holds, design_effect(waited))


class Fluidity(Estimator):
    """The share of token deadlines that were met."""

    def value(self, given: Given) -> Value:
        """Return the share over all tokens."""
        rows, arrays = given.rows, given.arrays
        if given.slo.ttft_ms is None or given.slo.tpot_ms is None:
            return Value(None, 0, "no SLO with both a TTFT and a TPOT bound")
        if reason := _uncounted(rows, rows.good):
            return Value(None, 0, reason)
        deadlines = exact_sum(arrays.deadlines[rows.good])
        if deadlines == 0:
            return Value(None, 0, "no token")
        met = deadlines - exact_sum(arrays.missed_deadlines[rows.good])
        return Value(met / deadlines, deadlines)

    def interval(self, given: Given) -> Interval:
        """Return the interval of the ratio of met deadlines to all, request by request."""
        arrays, good = given.arrays, given.rows.good
        kept = (arrays.deadlines - arrays.missed_deadlines)[good]
        return ratio_interval(given.series(kept, good, arrays.deadlines[good]), 1.0)


class EnergyPerToken(Estimator):
    """The energy of the windows over the output tokens that arrived in them."""

    no_blocks = f"one reading per window; an interval needs {FEWEST_REPEATS} repeats"

    def value(self, given: Given) -> Value:
        """Return the joules per token."""
        arrays, rows = given.arrays, given.rows
        tokens = int(arrays.tokens.sum())
        # The tokens of all repeats are below the line, so the energy of each is needed above it.
        unknown = [energy for energy in arrays.energy if energy.joules is None]
        if unknown:
            return Value(None, tokens, unknown[0].null_reason or "")
        if reason := _uncounted(rows, rows.succeeded):
            return Value(None, tokens, reason)
        if tokens == 0:
            return Value(None, 0, "no token arrived during the measured window")
        joules = sum(energy.joules for energy in arrays.energy if energy.joules is not None)
        return Value(joules / tokens, tokens)


@dataclass(frozen=True)
class Count(Estimator):
    """A count of what was done, which is no estimate of anything."""

    no_interval: ClassVar[str | None] = "a count of what was done, not an estimate"
    count: Callable[[Given], Value]

    def value(self, given: Given) -> Value:
        """Return the count."""
        return self.count(given)


@dataclass(frozen=True)
class WithoutInterval(Estimator):
    """The value of another estimator, from before the definitions had intervals."""

    no_interval: ClassVar[str | None] = "the definitions of this version have no intervals"
    estimator: Estimator

    def value(self, given: Given) -> Value:
        """Return the other estimator's value."""
        return self.estimator.value(given)


def percentile(ascending: Ascending | npt.NDArray[Any], permille: int, unit_divisor: int) -> float:
    """Return the ``permille / 10``-th percentile by linear interpolation.

    The rank is ``permille * (n - 1) / 1000`` (numpy's default, Hyndman and Fan's type 7), computed
    in integers.

    Args:
        ascending: at least one sample, in ascending order.
        permille: 0 to 1000.
        unit_divisor: the number of units of the samples in one unit of the result.
    """
    whole, rest = divmod(permille * (len(ascending) - 1), 1000)
    low = int(ascending[whole])
    high = int(ascending[min(whole + 1, len(ascending) - 1)])
    return (low * (1000 - rest) + high * rest) / (1000 * unit_divisor)


def _per_request(
    samples: OrderedSamples, each: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
) -> Int64s:
    """Return the sum of what ``each`` makes of the samples of each request that has some."""
    if samples.counts is None:
        return each(samples.values.array()).astype(np.int64)
    return samples.values.sums(samples.counts, each)


def _uncounted(rows: Rows, among: Bools) -> str | None:
    """Return the reason why tokens cannot be summed over these rows; None when they can."""
    count = int((among & ~rows.has_tokens).sum())
    return f"{count} successful requests came without the engine's token count" if count else None


def _ended(given: Given) -> Int64s:
    return given.ended


def _ended_in_time(given: Given) -> Int64s:
    return given.per_window_part(given.rows.meets(given.slo), given.rows.end)


def _output_tokens_per_part(given: Given) -> Int64s:
    return given.arrays.tokens


def _all_tokens_per_part(given: Given) -> Int64s:
    rows = given.rows
    prompts = given.per_window_part(rows.succeeded, rows.first_token, rows.prompt_tokens)
    return given.arrays.tokens + prompts


def _failed(given: Given) -> Bools:
    return given.rows.measured & ~given.rows.succeeded


def _failed_as(name: str, given: Given) -> Bools:
    alike: Bools = given.rows.failure_class == name
    return _failed(given) & alike


def _measured(given: Given) -> Value:
    measured = int(given.rows.measured.sum())
    return Value(measured, measured)


def _measured_and_failed(given: Given) -> Value:
    return Value(int(_failed(given).sum()), int(given.rows.measured.sum()))


def _output_tokens(given: Given) -> Value:
    rows = given.rows
    good = int(rows.good.sum())
    if reason := _uncounted(rows, rows.good):
        return Value(None, good, reason)
    return Value(exact_sum(rows.output_tokens[rows.good]), good)


_ESTIMATORS: Final[Mapping[str, Estimator]] = {
    **{
        percentile_key(of.name, permille): Percentile(of, permille)
        for of in DISTRIBUTIONS
        for permille in PERCENTILES
    },
    **{mean_key(of.name): Mean(of) for of in DISTRIBUTIONS},
    "output_tok_per_s": Rate(_output_tokens_per_part, of_tokens=True),
    "total_tok_per_s": Rate(_all_tokens_per_part, of_tokens=True),
    "request_per_s": Rate(_ended),
    "goodput_request_per_s": Rate(_ended_in_time, needs_slo=True),
    "slo_attainment": Share(lambda given: given.rows.meets(given.slo), needs_slo=True),
    "fluidity": Fluidity(),
    "joules_per_output_token": EnergyPerToken(),
    "error_rate": Share(_failed),
    **{
        f"error_rate_{name}": Share(partial(_failed_as, name)) for name in (*ERROR_CLASSES, "other")
    },
    "requests_measured": Count(_measured),
    "requests_failed": Count(_measured_and_failed),
    "output_tokens": Count(_output_tokens),
}

_EARLIER: Final[Mapping[str, Mapping[str, Estimator]]] = {
    "1": {key: WithoutInterval(estimator) for key, estimator in _ESTIMATORS.items()},
}
"""The estimators that were other ones under an earlier version, by version and key."""


def _estimators(definitions: Definitions) -> Mapping[str, Estimator]:
    earlier = _EARLIER.get(definitions.version, {})
    return {key: earlier.get(key) or _ESTIMATORS[key] for key in definitions.metrics}


ESTIMATORS: Final[Mapping[str, Mapping[str, Estimator]]] = {
    each.version: _estimators(each) for each in known_definitions()
}
"""The estimator of each metric by version and key, in the order of the definitions. Importing this
module fails when a definition has none."""
