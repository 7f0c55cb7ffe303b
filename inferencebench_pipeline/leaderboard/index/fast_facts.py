"""What the index takes from an envelope in its plain form, without building the envelope.

An envelope in the form that writers give it, with every value of the type it is stored as, reads
the same whether or not the format's lax rules are applied. :func:`read_plain` takes what the index
needs from such a document directly and declines every other, which is then parsed in full. That
the two agree is tested; that the bytes are an envelope at all, the crawl has found before.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from inferencebench_pipeline.envelope import EXTENSION_FIELD, TRACES_FILE
from inferencebench_pipeline.leaderboard.facts import (
    FOREIGN_DEFINITIONS,
    accelerators,
    comparison_group,
    describe_hardware,
    describe_load,
    load_setting,
)
from inferencebench_pipeline.measure import CONFIDENCE

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")
_LARGEST: Final = sys.float_info.max

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Finite = Annotated[float, Meta(ge=-_LARGEST, le=_LARGEST)]
Content = TypeVar("Content", bound=Mapping[str, Any])

# Decoding is strict: a value of another type than stated is declined. What has no place here may be
# anything; only where the full parser forbids more is more forbidden.


class _Interval(Struct, forbid_unknown_fields=True, gc=False):
    low: Finite
    high: Finite
    method: Literal["moving_block_bootstrap", "wilson", "repeats"]
    n: Annotated[float, Meta(gt=0, le=_LARGEST)]
    confidence: Annotated[float, Meta(gt=0, lt=1)] = CONFIDENCE


class _Note(Struct, gc=False):
    n: Count
    unit: str
    null_reason: str | None = None
    interval: _Interval | None = None
    interval_null_reason: str | None = None


class _Flag(Struct, forbid_unknown_fields=True, gc=False):
    name: Annotated[str, Meta(min_length=1)]
    ok: bool
    severity: Literal["error", "warn"]
    detail: str


class _Engine(Struct, gc=False):
    gpus: tuple[str, ...] | None = None


class _Telemetry(Struct, gc=False):
    engine: _Engine


class _Notes(Struct, gc=False):
    metric_definitions: str
    metric_notes: dict[str, _Note]
    validity: tuple[_Flag, ...]
    hardware_class: str
    workload_hash: str
    telemetry: _Telemetry | None = None


class _Model(Struct, gc=False):
    id: str
    revision: str
    provider: str


class _EngineIdentity(Struct, gc=False):
    name: str
    version: str
    config_hash: str


class _Processor(Struct, gc=False):
    model: str


class _Hardware(Struct, gc=False):
    cpu: _Processor
    fingerprint_sha256: str
    gpus: tuple[_Processor, ...] = ()


class _Quantization(Struct, gc=False):
    format: str
    method: str = ""


class _Dataset(Struct, gc=False):
    id: str
    hash: str


class _Document(Struct, gc=False, rename={"notes": EXTENSION_FIELD}):
    run_id: str
    timestamp: str
    suite_id: str
    suite_version: str
    model: _Model
    engine: _EngineIdentity
    dataset: _Dataset
    hardware_fingerprint: _Hardware
    seed: int
    metrics: dict[str, Finite | str | None]
    quantization: _Quantization | None = None
    slo_template: str = ""
    driver_options: dict[str, Any] = {}
    distributions: dict[str, Any] = {}
    notes: _Notes | None = None


_DECODER: Final = msgspec.json.Decoder(_Document)


class _NotPlainError(Exception):
    """A value is not in the form writers give it; only the full parser knows what it means."""


def read_plain(
    data: bytes, envelope_sha256: str, content_hash: str
) -> tuple[dict[str, Any], list[tuple[Any, ...]]] | None:
    """Return an envelope's facts and the values of each metric fact, or None to decline.

    What it returns is what :func:`.facts.envelope_facts` and :func:`.facts.metric_facts` say.
    """
    try:
        document = _DECODER.decode(data)
        facts = _facts(document) | {
            "envelope_sha256": envelope_sha256,
            "content_hash": content_hash,
        }
        return facts, _metrics(document)
    except (_NotPlainError, msgspec.DecodeError):
        return None


def _facts(document: _Document) -> dict[str, Any]:
    notes, model, engine = document.notes, document.model, document.engine
    dataset, hardware, quantization = (
        document.dataset, document.hardware_fingerprint, document.quantization,
    )  # fmt: skip
    gpus = [gpu.model for gpu in hardware.gpus]
    load = _trimmed(document.driver_options).get("load")
    kind, amount = load_setting(load)
    used = notes.telemetry.engine.gpus if notes and notes.telemetry else None
    hardware_class = notes.hardware_class if notes else None
    workload = notes.workload_hash if notes else f"dataset:{dataset.hash}"
    definitions = notes.metric_definitions if notes else FOREIGN_DEFINITIONS
    invalid_reason = _invalid_reason(notes)
    slo = document.slo_template or None
    facts = {
        "run_id": document.run_id,
        "suite_id": document.suite_id,
        "suite_version": document.suite_version,
        "model_id": model.id,
        "model_revision": model.revision,
        "model_provider": model.provider,
        "quantization_format": quantization.format if quantization else None,
        "quantization_method": quantization.method if quantization else None,
        "engine_name": engine.name,
        "engine_version": engine.version,
        "engine_config_hash": engine.config_hash,
        "hardware": describe_hardware(gpus, hardware.cpu.model),
        "fingerprint_sha256": hardware.fingerprint_sha256,
        "dataset_id": dataset.id,
        "dataset_hash": dataset.hash,
        "slo": slo,
    }
    for text in (*facts.values(), *gpus, hardware.cpu.model, document.slo_template):
        if text is not None and text != text.strip():
            raise _NotPlainError
    return facts | {
        "timestamp": _instant(document.timestamp),
        "hardware_class": hardware_class,
        "accelerators": accelerators(
            hardware_class, None if used is None else len(used), len(gpus)
        ),
        "seed": str(document.seed),
        "load_point": describe_load(load),
        "load_kind": kind,
        "load_value": amount,
        "workload": workload,
        "metric_definitions": definitions,
        "group_id": comparison_group(
            document.suite_id, document.suite_version, workload, slo, definitions
        ),
        "binds_traces": TRACES_FILE in _trimmed(document.distributions),
        "valid": invalid_reason is None,
        "invalid_reason": invalid_reason,
    }


def _invalid_reason(notes: _Notes | None) -> str | None:
    flags = notes.validity if notes else ()
    broken = [flag for flag in flags if not flag.ok and flag.severity == "error"]
    return "; ".join(f"{flag.name}: {flag.detail}" for flag in broken) or None


def _metrics(document: _Document) -> list[tuple[Any, ...]]:
    """Return the metric facts' values, in the order of their fields."""
    found = []
    notes = document.notes.metric_notes if document.notes else {}
    definitions = document.notes.metric_definitions if document.notes else FOREIGN_DEFINITIONS
    for position, (key, value) in enumerate(_trimmed(document.metrics).items()):
        note = notes.get(key)
        if note is None:
            unit = n = interval = reason = None
        else:
            unit, n, interval, reason = note.unit, note.n, note.interval, note.null_reason
        low = high = text = None
        if type(value) is str:
            text, value = value, None
            if text != text.strip():
                raise _NotPlainError
        elif (
            interval is not None
            and value is not None
            and interval.confidence == CONFIDENCE
            and interval.low <= interval.high
        ):
            low, high = interval.low, interval.high
        found.append((position, key, value, text, unit, n, low, high, reason, definitions))
    return found


def _trimmed(content: Content) -> Content:
    """Return an object of which no key needs trimming: two could become one."""
    for key in content:
        if key != key.strip():
            raise _NotPlainError
    return content


def _instant(text: str) -> str:
    if not _INSTANT.fullmatch(text):
        raise _NotPlainError
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError as error:
        raise _NotPlainError from error
