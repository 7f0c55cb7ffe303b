"""The facts that the index takes from one envelope: a value for each column, and its metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Any, Final

from pydantic import Field

from inferencebench_pipeline.envelope import Envelope, MetricNote
from inferencebench_pipeline.leaderboard.column_ranges import fitted_facts, fitted_metrics
from inferencebench_pipeline.leaderboard.envelope_source import EnvelopeSource, finite
from inferencebench_pipeline.leaderboard.run_columns import STATED
from inferencebench_pipeline.measure import CONFIDENCE

MetricKey = Annotated[str, Field(description="The metric's key in the envelope's ``metrics``.")]
MetricLabel = Annotated[str, Field(description="The metric's name in words.")]
MetricUnit = Annotated[
    str | None, Field(description="The unit of the metric's values; null where nobody states it.")
]


@dataclass(frozen=True)
class MetricFact:
    """One metric of one envelope. Exactly one of ``value`` and ``text`` is set, or neither."""

    position: int
    key: str
    value: float | None
    text: str | None
    unit: str | None
    n: int | None
    low: float | None
    high: float | None
    null_reason: str | None
    definitions: str


METRIC_FIELDS: Final = tuple(item.name for item in fields(MetricFact))


def column_values(source: EnvelopeSource) -> dict[str, Any]:
    """Return the value of each column that an envelope decides."""
    return {name: of(source) for name, of in STATED.items()}


def metric_values(source: EnvelopeSource) -> Iterator[tuple[Any, ...]]:
    """Yield the values of each metric's :class:`MetricFact`, in the envelope's order.

    A number that is not finite has no place in a ranking or in JSON: it becomes null with that as
    its reason.
    """
    notes = source.notes.metric_notes if source.notes else {}
    definitions = source.metric_definitions
    for position, (key, value) in enumerate(source.envelope.metrics.items()):
        note = notes.get(key)
        number = finite(value)
        text = value if isinstance(value, str) else None
        # Plain tuples: a build makes one for each metric of each new envelope.
        unit, n, reason = (note.unit, note.n, note.null_reason) if note else (None, None, None)
        if number is None and value is not None and text is None:
            reason = f"the envelope holds {str(value)[:40]}, which is not a finite number"
        low, high = _interval(note) if number is not None else (None, None)
        yield (position, key, number, text, unit, n, low, high, reason, definitions)


def stated_facts(envelope: Envelope, sha256: str) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """Return what the index holds of an envelope: its facts, and the values of each metric fact.

    Raises:
        UnfitError: it states what no column holds.
    """
    source = EnvelopeSource.of(envelope, sha256)
    metrics = fitted_metrics(METRIC_FIELDS, list(metric_values(source)))
    return fitted_facts(column_values(source)), metrics


def _interval(note: MetricNote | None) -> tuple[float | None, float | None]:
    """Return the ends of a metric's 95 % interval; one of another confidence is no such thing."""
    interval = note.interval if note else None
    if interval is None or interval.confidence != CONFIDENCE or interval.low > interval.high:
        return None, None
    return interval.low, interval.high
