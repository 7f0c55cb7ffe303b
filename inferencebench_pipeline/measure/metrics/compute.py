"""The metrics of traces: the value of each, and its interval over repeats or blocks.

The estimators say how each metric comes from the traces, and ``metric_definitions`` what it means.
"""

from __future__ import annotations

import pyarrow as pa

from inferencebench_pipeline.measure.definition_versions import NEWEST_DEFINITIONS, Definitions
from inferencebench_pipeline.measure.metric_definitions import (
    DEFINITIONS,
    METRIC_DEFINITIONS_VERSION,
    MetricDefinition,
)
from inferencebench_pipeline.measure.metrics.arrays import TraceArrays
from inferencebench_pipeline.measure.metrics.estimators import ESTIMATORS, Given
from inferencebench_pipeline.measure.metrics.intervals import Metric, with_intervals
from inferencebench_pipeline.measure.spec.stated_parts import Slo
from inferencebench_pipeline.measure.traces.reader import Traces

__all__ = [
    "DEFINITIONS",
    "METRIC_DEFINITIONS_VERSION",
    "Metric",
    "MetricDefinition",
    "compute_metrics",
]


def compute_metrics(
    traces: Traces | pa.Table, slo: Slo, definitions: Definitions = NEWEST_DEFINITIONS
) -> dict[str, Metric]:
    """Return every metric of the definitions, in their order, with its interval.

    Args:
        traces: as ``open_traces`` or ``read_traces`` returns them.
        slo: the bounds behind goodput, attainment and fluidity.
        definitions: the meaning of the metrics; a record is judged under those that it names.

    Raises:
        TracesError: the file they come from is damaged.
    """
    given = Given.of(TraceArrays.of(Traces.of(traces), slo), slo)
    metrics = _values(given, definitions)
    repeats = [metrics]
    # A single repeat is all there is, and is not computed twice.
    if len(given.arrays.bounds) > 1:
        repeats = [_values(Given.of(each, slo), definitions) for each in given.arrays.repeats()]
    return with_intervals(metrics, repeats, given, ESTIMATORS[definitions.version])


def _values(given: Given, definitions: Definitions) -> dict[str, Metric]:
    """Return every metric without its interval."""
    found = {}
    for key, estimator in ESTIMATORS[definitions.version].items():
        value, n, reason = estimator.value(given)
        found[key] = Metric(
            value=None if value is None else float(value),
            unit=definitions.metrics[key].unit,
            n=n,
            null_reason=reason,
        )
    return found
