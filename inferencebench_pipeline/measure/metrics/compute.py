"""The values of the metrics from the traces alone, the same to the last digit everywhere.

Durations stay integers (nanoseconds; picoseconds for TPOT) until one final division, whose
result IEEE 754 rounds in one way only. The meaning of each metric is in ``metric_definitions``, its
uncertainty in ``intervals``.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from inferencebench_pipeline.measure.metric_definitions import (
    DEFINITIONS,
    DISTRIBUTIONS,
    ERROR_CLASSES,
    METRIC_DEFINITIONS_VERSION,
    PERCENTILES,
    SAMPLE_FLOORS,
    MetricDefinition,
    percentile_key,
)
from inferencebench_pipeline.measure.metrics.arrays import Int64s, TraceArrays
from inferencebench_pipeline.measure.metrics.intervals import Metric, Sorted, with_intervals
from inferencebench_pipeline.measure.metrics.samples import samples_of
from inferencebench_pipeline.measure.metrics.statistics import exact_sum
from inferencebench_pipeline.measure.spec.spec import Slo
from inferencebench_pipeline.measure.traces.reader import Traces

__all__ = [
    "DEFINITIONS",
    "METRIC_DEFINITIONS_VERSION",
    "Metric",
    "MetricDefinition",
    "compute_metrics",
    "percentile",
]

_NS_PER_S: Final = 10**9


def percentile(ordered: npt.NDArray[Any], permille: int, unit_divisor: int) -> float:
    """Return the ``permille / 10``-th percentile of ``ordered`` by linear interpolation.

    The rank is ``permille * (n - 1) / 1000`` (numpy's default, Hyndman and Fan's type 7), computed
    in integers.

    Args:
        ordered: at least one sample, ascending.
        permille: 0 to 1000.
        unit_divisor: what one unit of the result is in units of the samples.
    """
    whole, rest = divmod(permille * (len(ordered) - 1), 1000)
    low = int(ordered[whole])
    high = int(ordered[min(whole + 1, len(ordered) - 1)])
    return (low * (1000 - rest) + high * rest) / (1000 * unit_divisor)


def compute_metrics(traces: Traces | pa.Table, slo: Slo) -> dict[str, Metric]:
    """Return every metric of :data:`DEFINITIONS`, in its order, with its interval.

    Args:
        traces: as ``open_traces`` or ``read_traces`` returns them.
        slo: the bounds behind goodput, attainment and fluidity.

    Raises:
        TracesError: the file they come from is damaged.
    """
    arrays = TraceArrays.of(Traces.of(traces), slo)
    ordered = distributions(arrays)
    metrics = values(arrays, slo, ordered)
    if len(arrays.bounds) > 1:
        repeats = [values(each, slo, distributions(each)) for each in arrays.repeats()]
    else:
        repeats = [metrics]
    return with_intervals(metrics, repeats, arrays, slo, ordered)


def distributions(arrays: TraceArrays) -> dict[str, Sorted]:
    """Return the samples of each distribution in ascending order."""
    found = {of.name: samples_of(of, arrays) for of in DISTRIBUTIONS}
    return {name: Sorted.of(samples.values, samples.per_ms) for name, samples in found.items()}


def values(arrays: TraceArrays, slo: Slo, ordered: dict[str, Sorted]) -> dict[str, Metric]:
    """Return every metric without its interval."""
    metrics: dict[str, Metric] = {}
    for name, samples in ordered.items():
        metrics.update(_summaries(name, samples))
    metrics.update(_rates(arrays, slo))
    metrics.update(_counts(arrays))
    metrics.update(_ratios(arrays, slo))
    metrics["joules_per_output_token"] = _energy(arrays)
    return {key: metrics[key] for key in DEFINITIONS}


def _summaries(name: str, samples: Sorted) -> dict[str, Metric]:
    count = len(samples.values)
    result: dict[str, Metric] = {}
    for permille in PERCENTILES:
        key = percentile_key(name, permille)
        floor = SAMPLE_FLOORS[permille]
        if count < floor:
            result[key] = _missing(key, count, f"{count} samples, at least {floor} needed")
        else:
            value = percentile(samples.values, permille, samples.per_unit)
            result[key] = _metric(key, value, count)
    key = f"{name}_mean_ms"
    if count == 0:
        result[key] = _missing(key, 0, "no sample")
    else:
        mean = exact_sum(samples.values) / (count * samples.per_unit)
        result[key] = _metric(key, mean, count)
    return result


def _rates(arrays: TraceArrays, slo: Slo) -> dict[str, Metric]:
    keys = ("output_tok_per_s", "total_tok_per_s", "request_per_s", "goodput_request_per_s")
    window_ns = int(arrays.windows.length.sum())
    if window_ns == 0:
        return {key: _missing(key, 0, "no measured request, so no window") for key in keys}
    rows = arrays.rows

    def per_second(count: int) -> float:
        return count * _NS_PER_S / window_ns

    ended = _inside(arrays, rows.end) & rows.succeeded
    requests = int(ended.sum())
    result = {"request_per_s": _metric("request_per_s", per_second(requests), requests)}
    if slo == Slo():
        goodput = _missing("goodput_request_per_s", requests, "no SLO given")
    else:
        good = int((ended & rows.meets(slo)).sum())
        goodput = _metric("goodput_request_per_s", per_second(good), requests)
    result["goodput_request_per_s"] = goodput
    uncounted = int((rows.succeeded & ~rows.has_tokens).sum())
    if uncounted:
        reason = _without_count(uncounted)
        result["output_tok_per_s"] = _missing("output_tok_per_s", requests, reason)
        result["total_tok_per_s"] = _missing("total_tok_per_s", requests, reason)
        return result
    output = int(arrays.tokens.sum())
    prefilled = _inside(arrays, rows.first_token) & rows.succeeded
    total = output + exact_sum(rows.prompt_tokens[prefilled])
    result["output_tok_per_s"] = _metric("output_tok_per_s", per_second(output), output)
    result["total_tok_per_s"] = _metric("total_tok_per_s", per_second(total), total)
    return result


def _inside(arrays: TraceArrays, instants: Int64s) -> npt.NDArray[np.bool_]:
    """Return which instants lie in the measured window of their row's repeat."""
    position = arrays.repeat_position
    after = instants - arrays.windows.start[position]
    return (after > 0) & (after <= arrays.windows.length[position])


def _without_count(uncounted: int) -> str:
    return f"{uncounted} successful requests came without the engine's token count"


def _counts(arrays: TraceArrays) -> dict[str, Metric]:
    rows = arrays.rows
    measured, good = int(rows.measured.sum()), int(rows.good.sum())
    uncounted = int((rows.good & ~rows.has_tokens).sum())
    result = {
        "requests_measured": _metric("requests_measured", measured, measured),
        "requests_failed": _metric("requests_failed", measured - good, measured),
    }
    if uncounted:
        result["output_tokens"] = _missing("output_tokens", good, _without_count(uncounted))
    else:
        tokens = exact_sum(rows.output_tokens[rows.good])
        result["output_tokens"] = _metric("output_tokens", tokens, good)
    return result


def _ratios(arrays: TraceArrays, slo: Slo) -> dict[str, Metric]:
    rows = arrays.rows
    measured = int(rows.measured.sum())
    classes = rows.failure_class[rows.measured & ~rows.succeeded]
    rates = {"error_rate": int((rows.measured & ~rows.succeeded).sum())}
    rates |= {f"error_rate_{name}": int((classes == name).sum()) for name in ERROR_CLASSES}
    rates["error_rate_other"] = int((classes == "other").sum())
    result = {
        key: _metric(key, count / measured, measured)
        if measured
        else _missing(key, 0, "no measured request")
        for key, count in rates.items()
    }
    if not measured:
        result["slo_attainment"] = _missing("slo_attainment", 0, "no measured request")
    elif slo == Slo():
        result["slo_attainment"] = _missing("slo_attainment", measured, "no SLO given")
    else:
        met = int((rows.measured & rows.meets(slo)).sum())
        result["slo_attainment"] = _metric("slo_attainment", met / measured, measured)
    return result | {"fluidity": _fluidity(arrays, slo)}


def _fluidity(arrays: TraceArrays, slo: Slo) -> Metric:
    rows = arrays.rows
    if slo.ttft_ms is None or slo.tpot_ms is None:
        return _missing("fluidity", 0, "no SLO with both a TTFT and a TPOT bound")
    uncounted = int((rows.good & ~rows.has_tokens).sum())
    if uncounted:
        return _missing("fluidity", 0, _without_count(uncounted))
    deadlines = exact_sum(arrays.deadlines[rows.good])
    if deadlines == 0:
        return _missing("fluidity", 0, "no token")
    met = deadlines - exact_sum(arrays.missed_deadlines[rows.good])
    return _metric("fluidity", met / deadlines, deadlines)


def _energy(arrays: TraceArrays) -> Metric:
    key = "joules_per_output_token"
    uncounted = int((arrays.rows.succeeded & ~arrays.rows.has_tokens).sum())
    tokens = int(arrays.tokens.sum())
    unknown = [energy for energy in arrays.energy if energy.joules is None]
    if unknown:
        return _missing(key, tokens, unknown[0].null_reason or "")
    if uncounted:
        return _missing(key, tokens, _without_count(uncounted))
    if tokens == 0:
        return _missing(key, 0, "no token arrived during the measured window")
    joules = sum(energy.joules for energy in arrays.energy if energy.joules is not None)
    return _metric(key, joules / tokens, tokens)


def _metric(key: str, value: float, n: int) -> Metric:
    return Metric(value=float(value), unit=DEFINITIONS[key].unit, n=n)


def _missing(key: str, n: int, reason: str) -> Metric:
    return Metric(value=None, unit=DEFINITIONS[key].unit, n=n, null_reason=reason)
