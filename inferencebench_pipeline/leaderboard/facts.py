"""What the index takes from one envelope: its identity, what makes it comparable, its metrics.

Pure functions over the envelope; hostile or foreign content yields unusual facts, not exceptions.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from inferencebench_pipeline.envelope import (
    EXTENSION_FIELD,
    TRACES_FILE,
    Envelope,
    MetricNote,
    content_hash,
)
from inferencebench_pipeline.leaderboard.column_ranges import fitted_facts, fitted_metrics
from inferencebench_pipeline.measure import CONFIDENCE, ValidityFlag
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
    """What the index takes from this pipeline's own notes in an envelope."""

    metric_definitions: str
    metric_notes: dict[str, MetricNote]
    validity: tuple[ValidityFlag, ...]
    hardware_class: str
    workload_hash: str
    telemetry: _Telemetry | None = None


@dataclass(frozen=True)
class EnvelopeFacts:
    """One line of the index, as far as the envelope decides it."""

    envelope_sha256: str
    run_id: str
    content_hash: str
    timestamp: str
    suite_id: str
    suite_version: str
    model_id: str
    model_revision: str
    model_provider: str
    quantization_format: str | None
    quantization_method: str | None
    engine_name: str
    engine_version: str
    engine_config_hash: str
    hardware_class: str | None
    hardware: str
    accelerators: int | None
    fingerprint_sha256: str
    dataset_id: str
    dataset_hash: str
    seed: str
    load_point: str | None
    load_kind: str | None
    load_value: float | None
    workload: str
    slo: str | None
    metric_definitions: str
    group_id: str
    binds_traces: bool
    valid: bool
    invalid_reason: str | None


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


def envelope_facts(envelope: Envelope, envelope_sha256: str) -> EnvelopeFacts:
    """Return the index line of an envelope whose bytes hash to ``envelope_sha256``."""
    notes, unreadable = _notes(envelope)
    workload = notes.workload_hash if notes else f"dataset:{envelope.dataset.hash}"
    definitions = notes.metric_definitions if notes else FOREIGN_DEFINITIONS
    slo = envelope.slo_template or None
    invalid_reason = unreadable or _invalid_reason(notes)
    quantization, hardware = envelope.quantization, envelope.hardware_fingerprint
    load = envelope.driver_options.get("load")
    kind, amount = load_setting(load)
    return EnvelopeFacts(
        envelope_sha256=envelope_sha256,
        run_id=envelope.run_id,
        content_hash=content_hash(envelope),
        timestamp=envelope.timestamp.isoformat(),
        suite_id=envelope.suite_id,
        suite_version=envelope.suite_version,
        model_id=envelope.model.id,
        model_revision=envelope.model.revision,
        model_provider=envelope.model.provider,
        quantization_format=quantization.format if quantization else None,
        quantization_method=quantization.method if quantization else None,
        engine_name=envelope.engine.name,
        engine_version=envelope.engine.version,
        engine_config_hash=envelope.engine.config_hash,
        hardware_class=notes.hardware_class if notes else None,
        hardware=describe_hardware([gpu.model for gpu in hardware.gpus], hardware.cpu.model),
        accelerators=accelerators(
            notes.hardware_class if notes else None, _gpus_used(notes), len(hardware.gpus)
        ),
        fingerprint_sha256=envelope.hardware_fingerprint.fingerprint_sha256,
        dataset_id=envelope.dataset.id,
        dataset_hash=envelope.dataset.hash,
        seed=str(envelope.seed),
        load_point=describe_load(load),
        load_kind=kind,
        load_value=amount,
        workload=workload,
        slo=slo,
        metric_definitions=definitions,
        group_id=comparison_group(
            envelope.suite_id, envelope.suite_version, workload, slo, definitions
        ),
        binds_traces=TRACES_FILE in envelope.distributions,
        valid=invalid_reason is None,
        invalid_reason=invalid_reason,
    )


def metric_facts(envelope: Envelope) -> Iterator[MetricFact]:
    """Yield every metric of an envelope, in its order.

    A number that is not finite has no place in a ranking or in JSON: it becomes null with that as
    its reason.
    """
    notes, _ = _notes(envelope)
    metric_notes = notes.metric_notes if notes else {}
    for position, (key, value) in enumerate(envelope.metrics.items()):
        note = metric_notes.get(key)
        number = finite(value)
        reason = note.null_reason if note else None
        if number is None and value is not None and not isinstance(value, str):
            reason = f"the envelope holds {str(value)[:40]}, which is not a finite number"
        low, high = _interval(note) if number is not None else (None, None)
        yield MetricFact(
            position=position,
            key=key,
            value=number,
            text=value if isinstance(value, str) else None,
            unit=note.unit if note else None,
            n=note.n if note else None,
            low=low,
            high=high,
            null_reason=reason,
            definitions=notes.metric_definitions if notes else FOREIGN_DEFINITIONS,
        )


@lru_cache(maxsize=1024)
def comparison_group(*parts: str | None) -> str:
    """Return the id of the results that may be compared: 16 hex digits of what they share.

    Those are suite, suite version, workload, SLO and metric definitions. Results that differ in
    any of them answer different questions and are never ranked against each other.
    """
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


def _gpus_used(notes: Notes | None) -> int | None:
    used = notes.telemetry.engine.gpus if notes and notes.telemetry else None
    return None if used is None else len(used)


def _interval(note: MetricNote | None) -> tuple[float | None, float | None]:
    """Return the ends of a metric's 95 % interval; one of another confidence is no such thing."""
    interval = note.interval if note else None
    if interval is None or interval.confidence != CONFIDENCE or interval.low > interval.high:
        return None, None
    return interval.low, interval.high


def _notes(envelope: Envelope) -> tuple[Notes | None, str | None]:
    """Return the pipeline's own notes, or why the ones that are there cannot be read."""
    content = (envelope.model_extra or {}).get(EXTENSION_FIELD)
    if content is None:
        return None, None
    try:
        return Notes.model_validate(content), None
    except ValidationError as error:
        problems = problems_of(error, under=EXTENSION_FIELD)
        return None, f"the envelope's own notes cannot be read: {problems}"


def _invalid_reason(notes: Notes | None) -> str | None:
    flags = notes.validity if notes else ()
    broken = [flag for flag in flags if not flag.ok and flag.severity == "error"]
    return "; ".join(f"{flag.name}: {flag.detail}" for flag in broken) or None


def finite(value: object) -> float | None:
    """Return a number as a float, or None for what is no finite number."""
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


METRIC_FIELDS: Final = tuple(item.name for item in fields(MetricFact))


def stated_facts(envelope: Envelope, sha256: str) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """Return what the index holds of an envelope: its facts, and the values of each metric fact.

    Raises:
        UnfitError: it states what no column holds.
    """
    metrics = [tuple(vars(fact).values()) for fact in metric_facts(envelope)]
    facts = fitted_facts(vars(envelope_facts(envelope, sha256)))
    return facts, fitted_metrics(METRIC_FIELDS, metrics)
