"""One envelope as the columns of the index are read from it, and the words made of its parts.

Pure functions: hostile or foreign content yields unusual values, not exceptions. Nothing here knows
the columns themselves; ``run_columns.py`` declares them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from inferencebench_pipeline.envelope import (
    EXTENSION_FIELD,
    Envelope,
    MetricNote,
    content_hash,
)
from inferencebench_pipeline.leaderboard.comparability import family_of
from inferencebench_pipeline.measure import ValidityFlag
from inferencebench_pipeline.untrusted import problems_of

FOREIGN_DEFINITIONS = "not stated"
"""Metric definitions of an envelope that does not say how its numbers came about."""
_LONGEST_LOAD = 80
_LOAD_SETTINGS = {"closed": "concurrency", "open": "rate_per_s", "replay": "speed"}
WITHOUT_GPU = frozenset({"cpu", "remote"})
"""Hardware classes of runs that no GPU of the described host had a part in."""


class _Part(BaseModel):
    # What the index does not take is not looked at: the verification judges, the index shows.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Engine(_Part):
    gpus: tuple[str, ...] | None = None


class _Telemetry(_Part):
    engine: _Engine


class Notes(_Part):
    """The part of this pipeline's own notes in an envelope that the index takes."""

    metric_definitions: str
    metric_notes: dict[str, MetricNote]
    validity: tuple[ValidityFlag, ...]
    hardware_class: str
    workload_hash: str
    telemetry: _Telemetry | None = None


@dataclass(frozen=True)
class EnvelopeSource:
    """An envelope with everything that a column may be read from."""

    envelope: Envelope
    """The envelope, or a structure of the same shape that was decoded without its checks."""
    envelope_sha256: str
    """Digest of the envelope's bytes."""
    content_hash: str
    notes: Notes | None
    """This pipeline's own notes; None when it has none, or none that can be read."""
    unreadable: str | None = None
    """The reason why the notes that are there cannot be read."""

    @classmethod
    def of(cls, envelope: Envelope, envelope_sha256: str) -> EnvelopeSource:
        """Return the source of an envelope whose bytes hash to ``envelope_sha256``."""
        notes, unreadable = _notes(envelope)
        return cls(envelope, envelope_sha256, content_hash(envelope), notes, unreadable)

    @property
    def timestamp(self) -> str:
        """The instant of the measurement, ISO 8601."""
        stated: datetime | str = self.envelope.timestamp
        instant = datetime.fromisoformat(stated) if isinstance(stated, str) else stated
        return instant.isoformat()

    @property
    def load(self) -> object:
        """The load that the driver was told to put on the engine, as it is stated."""
        return self.envelope.driver_options.get("load")

    @property
    def workload(self) -> str:
        """The digest of what was asked, or of the dataset where no workload is stated."""
        if self.notes is not None:
            return self.notes.workload_hash
        return f"dataset:{self.envelope.dataset.hash}"

    @property
    def metric_definitions(self) -> str:
        """The version of the metric definitions, or :data:`FOREIGN_DEFINITIONS`."""
        return self.notes.metric_definitions if self.notes else FOREIGN_DEFINITIONS

    @property
    def slo(self) -> str | None:
        """The name of the service level objective; None when there is none."""
        return self.envelope.slo_template or None

    @property
    def group_id(self) -> str:
        """The id of the results that this one may be compared with."""
        envelope = self.envelope
        return comparison_group(
            envelope.suite_id,
            envelope.suite_version,
            self.workload,
            self.slo,
            family_of(self.metric_definitions),
        )

    @property
    def hardware(self) -> str:
        """The accelerators in words; the processor where there are none."""
        found = self.envelope.hardware_fingerprint
        return describe_hardware([gpu.model for gpu in found.gpus], found.cpu.model)

    @property
    def accelerators(self) -> int | None:
        """The number of GPUs that the run used; None when it used none."""
        notes = self.notes
        used = notes.telemetry.engine.gpus if notes and notes.telemetry else None
        return accelerators(
            notes.hardware_class if notes else None,
            None if used is None else len(used),
            len(self.envelope.hardware_fingerprint.gpus),
        )

    @property
    def invalid_reason(self) -> str | None:
        """The reason why this is no valid measurement; None when it is one."""
        if self.unreadable:
            return self.unreadable
        flags = self.notes.validity if self.notes else ()
        broken = [flag for flag in flags if not flag.ok and flag.severity == "error"]
        return "; ".join(f"{flag.name}: {flag.detail}" for flag in broken) or None


@lru_cache(maxsize=1024)
def comparison_group(*parts: str | None) -> str:
    """Return the id of the results that may be compared: 16 hex digits of what they share.

    Those are suite, suite version, workload, SLO and family of definitions. Results that differ in
    any of them answer different questions and are never ranked against each other.
    """
    # JSON keeps the parts apart and tells null from an empty
    # text; texts that are joined do neither.
    text = json.dumps(parts, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def describe_hardware(gpus: Sequence[str], cpu: str) -> str:
    """Return the accelerators in words, such as ``8 × NVIDIA H100 80GB HBM3``; else the CPU."""
    if not gpus:
        return cpu
    counts: dict[str, int] = {}
    for model in gpus:
        counts[model] = counts.get(model, 0) + 1
    return ", ".join(f"{count} × {model}" for model, count in counts.items())


def describe_load(load: object) -> str | None:
    """Return the load point in words, or None when the envelope does not state one we know."""
    if not isinstance(load, dict):
        return None
    settings: dict[str, Any] = load
    if settings.get("kind") == "closed":
        return _shown(f"{settings.get('concurrency')} in flight")
    if settings.get("kind") == "replay":
        return _shown(f"replayed at {settings.get('speed')} x")
    if settings.get("kind") == "open":
        return _shown(f"{settings.get('rate_per_s')} req/s {settings.get('process', '')}".rstrip())
    return None


def _shown(text: str) -> str:
    """Return text made of a stranger's values, short, and as UTF-8 can hold it."""
    return text[:_LONGEST_LOAD].encode("utf-8", "backslashreplace").decode()


def load_setting(load: object) -> tuple[str | None, float | None]:
    """Return the kind of load and the one number that says how much of it there is."""
    if not isinstance(load, dict):
        return None, None
    kind = load.get("kind")
    name = _LOAD_SETTINGS.get(kind) if isinstance(kind, str) else None
    if not isinstance(kind, str) or name is None:
        return None, None
    return kind, finite(load.get(name))


def accelerators(hardware_class: str | None, used: int | None, present: int) -> int | None:
    """Return how many GPUs a run used; of a host with more, those the driver saw it use.

    None when it used none, or ran where nobody could look.
    """
    if hardware_class in WITHOUT_GPU:
        return None
    return (present if used is None else used) or None


def _notes(envelope: Envelope) -> tuple[Notes | None, str | None]:
    """Return the pipeline's own notes, or the reason why the ones that are there are unreadable."""
    content = (envelope.model_extra or {}).get(EXTENSION_FIELD)
    if content is None:
        return None, None
    try:
        return Notes.model_validate(content), None
    except ValidationError as error:
        problems = problems_of(error, under=EXTENSION_FIELD)
        return None, f"the envelope's own notes cannot be read: {problems}"


def finite(value: object) -> float | None:
    """Return a number as a float, or None for what is no finite number."""
    if not isinstance(value, int | float):
        return None
    try:
        # An integer of a stranger's JSON can be too large for any float.
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
