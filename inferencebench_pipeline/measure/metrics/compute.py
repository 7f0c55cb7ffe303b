"""The metrics of traces: the value of each, and its interval over repeats or blocks.

The estimators say how each metric comes from the traces, and ``metric_definitions`` what it means.
"""

from __future__ import annotations

import pyarrow as pa

from inferencebench_pipeline.measure.metric_definitions import (
    DEFINITIONS,
    METRIC_DEFINITIONS_VERSION,
    MetricDefinition,
)
from inferencebench_pipeline.measure.metrics.arrays import TraceArrays
from inferencebench_pipeline.measure.metrics.estimators import ESTIMATORS, Given
from inferencebench_pipeline.measure.metrics.intervals import Metric, with_intervals
from inferencebench_pipeline.measure.spec.spec import Slo
from inferencebench_pipeline.measure.traces.reader import Traces

__all__ = [
    "DEFINITIONS",
    "METRIC_DEFINITIONS_VERSION",
    "Metric",
    "MetricDefinition",
    "compute_metrics",
]


def compute_metrics(traces: Traces | pa.Table, slo: Slo) -> dict[str, Metric]:
    """Return every metric of :data:`DEFINITIONS`, in its order, with its interval.

    Args:
        traces: as ``open_traces`` or ``read_traces`` returns them.
        slo: the bounds behind goodput, attainment and fluidity.

    Raises:
        TracesError: the file they come from is damaged.
    """
    given = Given.of(TraceArrays.of(Traces.of(traces), slo), slo)
    metrics = _values(given)
    repeats = [metrics]
    # A single repeat is all there is, and is not computed twice.
    if len(given.arrays.bounds) > 1:
        repeats = [_values(Given.of(each, slo)) for each in given.arrays.repeats()]
    return with_intervals(metrics, repeats, given)


def _values(given: Given) -> dict[str, Metric]:
    """Return every metric without its interval."""
    return {key: _value(key, given) for key in ESTIMATORS}


def _value(key: str, given: Given) -> Metric:
    value, n, reason = ESTIMATORS[key].value(given)
    return Metric(
        value=None if value is None else float(value),
        unit=DEFINITIONS[key].unit,
        n=n,
        null_reason=reason,
    )
