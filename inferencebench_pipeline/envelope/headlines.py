"""The headline metrics of an envelope: the few that a reader looks at first.

They are read without the models of a whole measurement, which take longer to load than an envelope
takes to verify.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, ValidationError

from inferencebench_pipeline.documents import LenientPart
from inferencebench_pipeline.envelope.models import Envelope, MetricValue
from inferencebench_pipeline.envelope.reading import ReadEnvelope
from inferencebench_pipeline.envelope.stated_versions import EXTENSION_FIELD
from inferencebench_pipeline.measure import DEFINITIONS


@dataclass(frozen=True)
class Headline:
    """One of the few metrics a reader looks at first."""

    key: str
    label: str
    value: MetricValue
    unit: str
    n: int | None
    null_reason: str | None
    interval: HeadlineInterval | None


class HeadlineInterval(LenientPart):
    """The interval of a metric, as the envelope notes it."""

    low: float
    """The lower end, in the unit of the metric."""
    high: float
    """The upper end, in the unit of the metric."""
    confidence: float
    """The confidence, such as 0.95."""


class _Note(LenientPart):
    n: int | None = Field(default=None, ge=0)
    unit: str
    null_reason: str | None = None
    interval: HeadlineInterval | None = None


def headline(read: ReadEnvelope) -> list[Headline]:
    """Return the envelope's headline metrics, in the order their definitions have.

    A note in another form than this pipeline's is passed over: the number stands without it.
    """
    notes, metrics = _notes(read.envelope), read.envelope.metrics
    return [
        _headline(key, definition.label, definition.unit, metrics[key], _note(notes.get(key)))
        for key, definition in DEFINITIONS.items()
        if "card" in definition.shown_on and key in metrics
    ]


def _headline(key: str, label: str, unit: str, value: MetricValue, note: _Note | None) -> Headline:
    return Headline(
        key=key,
        label=label,
        value=value,
        unit=unit if note is None else note.unit,
        n=None if note is None else note.n,
        null_reason=None if note is None else note.null_reason,
        interval=None if note is None else note.interval,
    )


def _notes(envelope: Envelope) -> Mapping[str, Any]:
    extension = (envelope.model_extra or {}).get(EXTENSION_FIELD)
    notes = extension.get("metric_notes") if isinstance(extension, dict) else None
    return notes if isinstance(notes, dict) else {}


def _note(stated: object) -> _Note | None:
    try:
        return None if stated is None else _Note.model_validate(stated)
    except ValidationError:
        return None
