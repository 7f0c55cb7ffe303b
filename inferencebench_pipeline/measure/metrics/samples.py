"""The samples of each distribution, from which its values, its intervals and its curve are made.

The declarations are in ``metric_definitions``, and the arithmetic on samples is in ``compute`` and
``intervals``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from inferencebench_pipeline.measure.metric_definitions import DISTRIBUTIONS, Distribution, Span
from inferencebench_pipeline.measure.metrics.arrays import Bools, Int64s, Rows, TraceArrays
from inferencebench_pipeline.measure.metrics.statistics.packed_integers import PackedIntegers
from inferencebench_pipeline.measure.spec.stated_parts import Slo
from inferencebench_pipeline.measure.traces.reader import Traces

_NS_PER_MS: Final = 10**6
_PS_PER_MS: Final = 10**9


@dataclass(frozen=True)
class OrderedSamples:
    """The samples of a distribution, request after request."""

    values: PackedIntegers
    """The samples as integers."""
    per_ms: int
    """The number of their units in a millisecond."""
    chosen: Bools
    """The rows that have samples."""
    counts: Int64s | None = None
    """The number of samples of each chosen row; None for one each."""


def request_samples(of: Distribution, rows: Rows) -> OrderedSamples | None:
    """Return the samples of a distribution that needs no chunks; None for one that does."""
    if isinstance(of.samples, Span):
        spans: Int64s = getattr(rows, of.samples.end) - getattr(rows, of.samples.start)
        return OrderedSamples(PackedIntegers.of(spans[rows.good]), _NS_PER_MS, rows.good)
    if of.samples == "per_token":
        chosen = rows.measured & rows.has_tpot
        return OrderedSamples(PackedIntegers.of(rows.tpot_ps[chosen]), _PS_PER_MS, chosen)
    return None


def samples_of(of: Distribution, arrays: TraceArrays) -> OrderedSamples:
    """Return the samples of a distribution."""
    good = arrays.rows.good
    return request_samples(of, arrays.rows) or OrderedSamples(
        arrays.gaps, _NS_PER_MS, good, arrays.gap_counts[good]
    )


def latencies_ms(traces: Traces, *, most_tokens: int) -> dict[str, npt.NDArray[np.float64]]:
    """Return the samples in milliseconds of each distribution that is drawn, by its name.

    Args:
        traces: as ``open_traces`` returns them.
        most_tokens: the number of tokens beyond which the gaps are left out, since they need every
            chunk.

    Raises:
        TracesError: the file they come from is damaged.
    """
    rows = Rows.of(traces.rows)
    found = {}
    arrays = None  # one pass over all chunks, which is made only when a distribution needs it
    for of in (each for each in DISTRIBUTIONS if each.drawn):
        samples = request_samples(of, rows)
        if samples is None and rows.output_tokens[rows.good].sum() <= most_tokens:
            arrays = arrays or TraceArrays.of(traces, Slo())
            samples = samples_of(of, arrays)
        if samples is not None:
            found[of.name] = samples.values.array() / samples.per_ms
    return found
