"""How the metrics are computed from the traces alone, the same to the last digit everywhere.

Durations stay integers (nanoseconds; picoseconds for TPOT) until one final division, whose
result IEEE 754 rounds in one way only. What each metric means is in ``metric_definitions``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from inferencebench_pipeline.measure.metric_definitions import (
    DEFINITIONS,
    METRIC_DEFINITIONS_VERSION,
    PERCENTILES,
    SAMPLE_FLOORS,
    MetricDefinition,
)
from inferencebench_pipeline.measure.spec import Slo

__all__ = [
    "DEFINITIONS",
    "METRIC_DEFINITIONS_VERSION",
    "Metric",
    "MetricDefinition",
    "compute_metrics",
    "percentile",
]

_NS_PER_MS: Final = 10**6
_NS_PER_S: Final = 10**9
_PS_PER_NS: Final = 10**3

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Metric(BaseModel):
    """One number, how many samples it rests on, and why it is missing when it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: float | None
    unit: str
    n: int = Field(ge=0)
    null_reason: str | None = None


def percentile(ordered: Int64s, percent: int, unit_divisor: int) -> float:
    """Return the ``percent``-th percentile of ``ordered`` by linear interpolation.

    The rank is ``percent * (n - 1) / 100`` (numpy's default, Hyndman and Fan's type 7), computed
    in integers.

    Args:
        ordered: at least one sample, ascending.
        percent: 0 to 100.
        unit_divisor: what one unit of the result is in units of the samples.
    """
    whole, hundredths = divmod(percent * (len(ordered) - 1), 100)
    low = int(ordered[whole])
    high = int(ordered[min(whole + 1, len(ordered) - 1)])
    return (low * (100 - hundredths) + high * hundredths) / (100 * unit_divisor)


def compute_metrics(table: pa.Table, slo: Slo) -> dict[str, Metric]:
    """Return every metric of :data:`DEFINITIONS`, in its order.

    Args:
        table: traces as ``read_traces`` returns them.
        slo: the bounds behind goodput and attainment.
    """
    rows = _Rows.of(table)
    metrics: dict[str, Metric] = {}
    for name, (samples, divisor) in _distributions(rows).items():
        metrics.update(_summaries(name, samples, divisor))
    metrics.update(_rates(rows, slo))
    metrics.update(_counts(rows, slo))
    return {key: metrics[key] for key in DEFINITIONS}


@dataclass(frozen=True)
class _Rows:
    """The columns the metrics need, as arrays; a null instant or count is -1 beside a mask."""

    measured: Bools
    succeeded: Bools
    scheduled: Int64s
    sent: Int64s
    first_token: Int64s
    last_token: Int64s
    end: Int64s
    has_tokens: Bools
    prompt_tokens: Int64s
    output_tokens: Int64s
    text_row: Int64s
    """For every chunk with generated text, in order: the row it belongs to ..."""
    text_received: Int64s
    """... and when it arrived."""

    @classmethod
    def of(cls, table: pa.Table) -> _Rows:
        chunks = cast("pa.ListArray[Any]", table.column("chunks").combine_chunks())
        flat = cast("pa.StructArray", chunks.flatten())
        has_text = _numpy(flat.field("content_chars")) > 0
        lengths = _numpy(chunks.value_lengths())
        chunk_row = np.repeat(np.arange(table.num_rows, dtype=np.int64), lengths)
        received = _numpy(flat.field("received_ns")).astype(np.int64)
        succeeded = _is_null(table, "error_class") & ~_is_null(table, "first_token_ns")
        return cls(
            measured=_equals(table, "phase", "measured"),
            succeeded=succeeded & ~_is_null(table, "sent_ns"),
            scheduled=_int64s(table, "scheduled_ns"),
            sent=_int64s(table, "sent_ns"),
            first_token=_int64s(table, "first_token_ns"),
            last_token=_int64s(table, "last_token_ns"),
            end=_int64s(table, "end_ns"),
            has_tokens=~_is_null(table, "completion_tokens") & ~_is_null(table, "prompt_tokens"),
            prompt_tokens=_int64s(table, "prompt_tokens"),
            output_tokens=_int64s(table, "completion_tokens"),
            text_row=chunk_row[has_text],
            text_received=received[has_text],
        )

    @property
    def window(self) -> tuple[int, int]:
        """Start and end of the measured window; both 0 without a measured request."""
        if not self.measured.any():
            return 0, 0
        return int(self.scheduled[self.measured].min()), int(self.end[self.measured].max())

    @property
    def tpot_ps(self) -> Int64s:
        """TPOT of every row, in picoseconds; meaningful where ``has_tpot``."""
        span = (self.last_token - self.first_token) * _PS_PER_NS
        return span // np.maximum(self.output_tokens - 1, 1)

    @property
    def has_tpot(self) -> Bools:
        return self.succeeded & self.has_tokens & (self.output_tokens >= 2)


def _numpy(array: pa.Array[Any] | pa.ChunkedArray[Any]) -> npt.NDArray[Any]:
    if isinstance(array, pa.ChunkedArray):
        return array.to_numpy()
    return array.to_numpy(zero_copy_only=False)


def _int64s(table: pa.Table, column: str) -> Int64s:
    return _numpy(table.column(column).fill_null(cast("Any", -1))).astype(np.int64)


def _is_null(table: pa.Table, column: str) -> Bools:
    return _numpy(table.column(column).is_null()).astype(np.bool_)


def _equals(table: pa.Table, column: str, value: str) -> Bools:
    return _numpy(pc.equal(table.column(column), pa.scalar(value))).astype(np.bool_)


def _distributions(rows: _Rows) -> dict[str, tuple[Int64s, int]]:
    """Return the samples of each distribution with how many of their units make a millisecond."""
    good = rows.measured & rows.succeeded
    with_tpot = rows.measured & rows.has_tpot
    same_request = rows.text_row[1:] == rows.text_row[:-1]
    gaps = np.diff(rows.text_received)[same_request & good[rows.text_row[1:]]]
    return {
        "ttft": ((rows.first_token - rows.sent)[good], _NS_PER_MS),
        "ttft_sched": ((rows.first_token - rows.scheduled)[good], _NS_PER_MS),
        "tpot": (rows.tpot_ps[with_tpot], _NS_PER_MS * _PS_PER_NS),
        "itl": (gaps, _NS_PER_MS),
        "e2e": ((rows.last_token - rows.sent)[good], _NS_PER_MS),
    }


def _summaries(name: str, samples: Int64s, divisor: int) -> dict[str, Metric]:
    ordered = np.sort(samples)
    count = len(ordered)
    result: dict[str, Metric] = {}
    for percent in PERCENTILES:
        key = f"{name}_p{percent}_ms"
        floor = SAMPLE_FLOORS[percent]
        if count < floor:
            result[key] = _missing(key, count, f"{count} samples, at least {floor} needed")
        else:
            result[key] = _metric(key, percentile(ordered, percent, divisor), count)
    key = f"{name}_mean_ms"
    if count == 0:
        result[key] = _missing(key, 0, "no sample")
    else:
        result[key] = _metric(key, int(ordered.sum()) / (count * divisor), count)
    return result


def _rates(rows: _Rows, slo: Slo) -> dict[str, Metric]:
    keys = ("output_tok_per_s", "total_tok_per_s", "request_per_s", "goodput_request_per_s")
    start, end = rows.window
    if end <= start:
        return {key: _missing(key, 0, "no measured request, so no window") for key in keys}

    def per_second(count: int) -> float:
        return count * _NS_PER_S / (end - start)

    ended_inside = rows.succeeded & (rows.end > start) & (rows.end <= end)
    ended = int(ended_inside.sum())
    result = {"request_per_s": _metric("request_per_s", per_second(ended), ended)}
    if slo == Slo():
        result["goodput_request_per_s"] = _missing("goodput_request_per_s", ended, "no SLO given")
    else:
        good = int((ended_inside & _meets(rows, slo)).sum())
        result["goodput_request_per_s"] = _metric("goodput_request_per_s", per_second(good), ended)

    uncounted = int((rows.succeeded & ~rows.has_tokens).sum())
    if uncounted:
        reason = f"{uncounted} successful requests came without the engine's token count"
        result["output_tok_per_s"] = _missing("output_tok_per_s", ended, reason)
        result["total_tok_per_s"] = _missing("total_tok_per_s", ended, reason)
    else:
        output = _output_tokens_between(rows, start, end)
        prefilled = rows.succeeded & (rows.first_token > start) & (rows.first_token <= end)
        total = output + int(rows.prompt_tokens[prefilled].sum())
        result["output_tok_per_s"] = _metric("output_tok_per_s", per_second(output), output)
        result["total_tok_per_s"] = _metric("total_tok_per_s", per_second(total), total)
    return result


def _output_tokens_between(rows: _Rows, start: int, end: int) -> int:
    """Return the tokens that arrived in (start, end], by each chunk's share of its request's."""
    count = len(rows.succeeded)
    chunks = np.bincount(rows.text_row, minlength=count)
    by_start = np.bincount(rows.text_row[rows.text_received <= start], minlength=count)
    by_end = np.bincount(rows.text_row[rows.text_received <= end], minlength=count)
    tokens = np.where(rows.succeeded, rows.output_tokens, 0)
    divisor = np.maximum(chunks, 1)
    return int((tokens * by_end // divisor - tokens * by_start // divisor).sum())


def _meets(rows: _Rows, slo: Slo) -> Bools:
    """Return which rows succeeded within every bound of the SLO."""
    meets = rows.succeeded.copy()
    if slo.ttft_ms is not None:
        meets &= (rows.first_token - rows.scheduled) <= slo.ttft_ms * _NS_PER_MS
    if slo.tpot_ms is not None:
        single = rows.has_tokens & (rows.output_tokens == 1)
        bound = slo.tpot_ms * _NS_PER_MS * _PS_PER_NS
        meets &= single | (rows.has_tpot & (rows.tpot_ps <= bound))
    return meets


def _counts(rows: _Rows, slo: Slo) -> dict[str, Metric]:
    measured = int(rows.measured.sum())
    good = rows.measured & rows.succeeded
    failed = measured - int(good.sum())
    uncounted = int((good & ~rows.has_tokens).sum())
    result = {
        "requests_measured": _metric("requests_measured", measured, measured),
        "requests_failed": _metric("requests_failed", failed, measured),
    }
    if uncounted:
        reason = f"{uncounted} successful requests came without the engine's token count"
        result["output_tokens"] = _missing("output_tokens", int(good.sum()), reason)
    else:
        tokens = int(rows.output_tokens[good].sum())
        result["output_tokens"] = _metric("output_tokens", tokens, int(good.sum()))
    return result | _ratios(rows, slo, measured, failed)


def _ratios(rows: _Rows, slo: Slo, measured: int, failed: int) -> dict[str, Metric]:
    if measured == 0:
        return {
            key: _missing(key, 0, "no measured request") for key in ("error_rate", "slo_attainment")
        }
    if slo == Slo():
        attainment = _missing("slo_attainment", measured, "no SLO given")
    else:
        met = int((rows.measured & _meets(rows, slo)).sum())
        attainment = _metric("slo_attainment", met / measured, measured)
    return {
        "error_rate": _metric("error_rate", failed / measured, measured),
        "slo_attainment": attainment,
    }


def _metric(key: str, value: float, n: int) -> Metric:
    return Metric(value=float(value), unit=DEFINITIONS[key].unit, n=n)


def _missing(key: str, n: int, reason: str) -> Metric:
    return Metric(value=None, unit=DEFINITIONS[key].unit, n=n, null_reason=reason)
