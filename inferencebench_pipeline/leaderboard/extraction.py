"""Facts of many envelopes by the column, most of them read without building an envelope.

An envelope in the form that writers give it, with every value of the type it is stored as, reads
the same whether or not the format's lax rules are applied. :func:`read_plain` takes what the index
needs from such a document directly and declines every other, which is then parsed in full. That
the two agree is tested; that the bytes are an envelope at all, the crawl has found before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from math import isfinite
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from inferencebench_pipeline.envelope.canonical import EnvelopeError, parse_envelope
from inferencebench_pipeline.envelope.extension import EXTENSION_FIELD, TRACES_FILE
from inferencebench_pipeline.leaderboard.facts import (
    FOREIGN_DEFINITIONS,
    EnvelopeFacts,
    MetricFact,
    accelerators,
    comparison_group,
    describe_hardware,
    describe_load,
    envelope_facts,
    load_setting,
    metric_facts,
)
from inferencebench_pipeline.measure.metrics import DEFINITIONS
from inferencebench_pipeline.measure.statistics import CONFIDENCE

FACTS_VERSION: Final = "1"
"""Raised whenever the same envelope would give other facts; kept ones are then read anew."""

_TYPES: dict[object, pa.DataType] = {
    "str": pa.string(),
    "str | None": pa.string(),
    "bool": pa.bool_(),
    "int": pa.int32(),
    "int | None": pa.int64(),
    "float | None": pa.float64(),
}
FACTS_SCHEMA: Final = pa.schema(
    [
        pa.field("repo_id", pa.string()),
        *(pa.field(item.name, _TYPES[item.type]) for item in fields(EnvelopeFacts)),
    ]
)
METRICS_SCHEMA: Final = pa.schema(
    [
        pa.field("repo_id", pa.string()),
        *(pa.field(item.name, _TYPES[item.type]) for item in fields(MetricFact)),
    ]
)
FOREIGN_CELLS: Final = 24
"""Numbers of an envelope without definitions that a row of the index holds itself."""
SHOWN_METRICS: Final = frozenset(
    {
        *(key for key, item in DEFINITIONS.items() if item.headline),
        "tpot_p95_ms",
        "itl_p50_ms",
        "itl_p95_ms",
        "e2e_p95_ms",
        "total_tok_per_s",
        "request_per_s",
        "goodput_request_per_s",
        "slo_attainment",
        "joules_per_output_token",
    }
)
"""Keys of the metrics that a row holds itself: those of tables, fronts and histories."""
HEADLINE_FIELDS: Final = ("key", "value", "text", "unit", "n", "low", "high", "null_reason")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")
_NOTE_FIELDS = frozenset({"n", "unit", "null_reason", "interval", "interval_null_reason"})
_INT64 = 2**63
_INTERVAL_FIELDS = frozenset({"low", "high", "confidence", "method", "n"})
_INTERVAL_METHODS = frozenset({"moving_block_bootstrap", "wilson", "repeats"})
_FLAG_FIELDS = {"name", "ok", "severity", "detail"}
_NUMBERS = (float, int)


class _NotPlainError(Exception):
    """A value is not in the form writers give it; only the full parser knows what it means."""


@dataclass
class FactColumns:
    """What was taken from the envelopes of repositories, a list for each column."""

    facts: dict[str, list[Any]] = field(
        default_factory=lambda: {name: [] for name in FACTS_SCHEMA.names}
    )
    metrics: dict[str, list[Any]] = field(
        default_factory=lambda: {item.name: [] for item in fields(MetricFact)}
    )
    counts: list[int] = field(default_factory=list)
    """How many metrics each envelope has."""

    def add(self, repo_id: str, data: bytes, sha256: str, content_hash: str | None) -> None:
        """Take the facts of a repository's envelope; of bytes that are none, nothing.

        Args:
            repo_id: where it is published.
            data: the bytes of ``envelope.json``.
            sha256: of those bytes.
            content_hash: as the crawl computed it from them; None when they are malformed.
        """
        taken = (content_hash and read_plain(data, sha256, content_hash)) or _parsed(data, sha256)
        if taken is None:
            return
        facts, metrics = taken
        facts["repo_id"] = repo_id
        for name, column in self.facts.items():
            column.append(facts[name])
        for column, values in zip(self.metrics.values(), zip(*metrics, strict=True), strict=True):
            column.extend(values)
        self.counts.append(len(metrics))

    def tables(self) -> tuple[pa.Table, pa.Table]:
        """Return the facts, one row per repository, and the metrics, one row per metric."""
        facts = pa.Table.from_pydict(self.facts, schema=FACTS_SCHEMA)
        return facts, metrics_table(self.facts["repo_id"], self.counts, self.metrics)


def metrics_table(
    repo_ids: Sequence[str], counts: Sequence[int], columns: Mapping[str, Sequence[Any]]
) -> pa.Table:
    """Return metrics in their long form, each with the repository that it is of.

    Args:
        repo_ids: the repositories, in the order of the metrics.
        counts: how many of the metrics are of each.
        columns: the metrics' columns, all repositories after one another.
    """
    of = np.repeat(np.arange(len(counts)), np.asarray(counts, dtype=np.int64))
    content: dict[str, Any] = {"repo_id": pa.array(repo_ids, pa.string()).take(of), **columns}
    return pa.Table.from_pydict(content, schema=METRICS_SCHEMA)


def headlines(metrics: pa.Table) -> pa.Table:
    """Return, by ``repo_id``, the list of the metrics that a row of the index holds itself.

    Args:
        metrics: in the long form, those of a repository after one another.
    """
    foreign = _numpy(pc.is_in(metrics["definitions"], pa.array([FOREIGN_DEFINITIONS])))
    known = _numpy(pc.is_in(metrics["key"], pa.array(sorted(SHOWN_METRICS))))
    first = (_numpy(metrics["position"]) < FOREIGN_CELLS) & _numpy(pc.is_null(metrics["text"]))
    kept = metrics.filter(pa.array(np.where(foreign, first, known), pa.bool_())).combine_chunks()
    repo_ids = _numpy(kept["repo_id"])
    starts = np.flatnonzero(np.r_[True, repo_ids[1:] != repo_ids[:-1]][: len(kept)])
    columns: list[Any] = [
        pa.concat_arrays([pa.array([], kept.schema.field(name).type), *kept[name].chunks])
        for name in HEADLINE_FIELDS
    ]
    offsets = pa.array([*starts.tolist(), len(kept)], pa.int32())
    return pa.table(
        {
            "repo_id": pa.array(repo_ids[starts].tolist(), pa.string()),
            "headline": pa.ListArray.from_arrays(
                offsets, pa.StructArray.from_arrays(columns, list(HEADLINE_FIELDS))
            ),
        }
    )


def _numpy(column: Any) -> np.ndarray[Any, Any]:  # noqa: ANN401 - the stubs of compute are wrong
    found: np.ndarray[Any, Any] = column.to_numpy(zero_copy_only=False)
    return found


def _parsed(data: bytes, sha256: str) -> tuple[dict[str, Any], list[tuple[Any, ...]]] | None:
    try:
        envelope = parse_envelope(data)
    except EnvelopeError:
        return None
    metrics = [tuple(vars(fact).values()) for fact in metric_facts(envelope)]
    return dict(vars(envelope_facts(envelope, sha256))), metrics


def read_plain(
    data: bytes, envelope_sha256: str, content_hash: str
) -> tuple[dict[str, Any], list[tuple[Any, ...]]] | None:
    """Return an envelope's facts and the values of each metric fact, or None to decline.

    What it returns is what :func:`.facts.envelope_facts` and :func:`.facts.metric_facts` say.
    """
    try:
        document = orjson.loads(data)
        notes = _Notes.of(document.get(EXTENSION_FIELD))
        facts = _facts(document, notes) | {
            "envelope_sha256": envelope_sha256,
            "content_hash": content_hash,
        }
        return facts, _metrics(document, notes)
    except (_NotPlainError, orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return None


@dataclass(frozen=True)
class _Notes:
    """This pipeline's notes in a plain document, checked as far as the index takes them."""

    definitions: str
    metrics: Mapping[str, Any]
    hardware_class: str | None = None
    workload_hash: str | None = None
    gpus_used: int | None = None
    invalid_reason: str | None = None

    @classmethod
    def of(cls, content: Any) -> _Notes:  # noqa: ANN401 - any JSON
        if content is None:
            return cls(FOREIGN_DEFINITIONS, {})
        _check_notes(content["metric_notes"])
        broken = []
        for flag in _list(content["validity"]):
            if flag.keys() != _FLAG_FIELDS or flag["severity"] not in ("error", "warn"):
                raise _NotPlainError
            if type(flag["ok"]) is not bool or not _any_text(flag["name"]):
                raise _NotPlainError
            text = f"{flag['name']}: {_any_text(flag['detail'])}"
            if not flag["ok"] and flag["severity"] == "error":
                broken.append(text)
        telemetry = content.get("telemetry")
        used = telemetry["engine"].get("gpus") if telemetry is not None else None
        if used is not None:
            for name in _list(used):
                _any_text(name)
        return cls(
            definitions=_any_text(content["metric_definitions"]),
            metrics=content["metric_notes"],
            hardware_class=_any_text(content["hardware_class"]),
            workload_hash=_any_text(content["workload_hash"]),
            gpus_used=None if used is None else len(used),
            invalid_reason="; ".join(broken) or None,
        )


def _facts(document: dict[str, Any], notes: _Notes) -> dict[str, Any]:
    model, engine, dataset = document["model"], document["engine"], document["dataset"]
    hardware, quantization = document["hardware_fingerprint"], document.get("quantization")
    gpus = [_text(gpu["model"]) for gpu in _list(hardware.get("gpus", []))]
    driver = _trimmed(document.get("driver_options", {}))
    load = driver.get("load")
    kind, amount = load_setting(load)
    workload = notes.workload_hash or f"dataset:{_text(dataset['hash'])}"
    suite = _text(document["suite_id"]), _text(document["suite_version"])
    slo = _text(document.get("slo_template", "")) or None
    if type(document["seed"]) is not int:
        raise _NotPlainError
    return {
        "run_id": _text(document["run_id"]),
        "timestamp": _instant(document["timestamp"]),
        "suite_id": suite[0],
        "suite_version": suite[1],
        "model_id": _text(model["id"]),
        "model_revision": _text(model["revision"]),
        "model_provider": _text(model["provider"]),
        "quantization_format": _text(quantization["format"]) if quantization else None,
        "quantization_method": _text(quantization.get("method", "")) if quantization else None,
        "engine_name": _text(engine["name"]),
        "engine_version": _text(engine["version"]),
        "engine_config_hash": _text(engine["config_hash"]),
        "hardware_class": notes.hardware_class,
        "hardware": describe_hardware(gpus, _text(hardware["cpu"]["model"])),
        "accelerators": accelerators(notes.hardware_class, notes.gpus_used, len(gpus)),
        "fingerprint_sha256": _text(hardware["fingerprint_sha256"]),
        "dataset_id": _text(dataset["id"]),
        "dataset_hash": _text(dataset["hash"]),
        "seed": str(document["seed"]),
        "load_point": describe_load(load),
        "load_kind": kind,
        "load_value": amount,
        "workload": workload,
        "slo": slo,
        "metric_definitions": notes.definitions,
        "group_id": comparison_group(*suite, workload, slo, notes.definitions),
        "binds_traces": TRACES_FILE in _trimmed(document.get("distributions", {})),
        "valid": notes.invalid_reason is None,
        "invalid_reason": notes.invalid_reason,
    }


def _metrics(document: dict[str, Any], notes: _Notes) -> list[tuple[Any, ...]]:
    """Return the metric facts' values, in the order of their fields."""
    found = []
    notes_by_key, definitions = notes.metrics, notes.definitions
    for position, (key, value) in enumerate(_trimmed(document["metrics"]).items()):
        note = notes_by_key.get(key, _NO_NOTE)
        number = text = low = high = None
        if type(value) is float or type(value) is int:
            number = float(value)
            if not isfinite(number):
                raise _NotPlainError
            interval = note.get("interval")
            if (
                interval is not None
                and interval.get("confidence", CONFIDENCE) == CONFIDENCE
                and interval["low"] <= interval["high"]
            ):
                low, high = interval["low"], interval["high"]
        elif value is not None:
            text = _text(value)
        stated = (note.get("unit"), note.get("n"), low, high, note.get("null_reason"))
        found.append((position, key, number, text, *stated, definitions))
    return found


_NO_NOTE: dict[str, Any] = {}


def _check_notes(notes: dict[str, Any]) -> None:
    """Decline notes that the full parser could read as something else, or refuse."""
    for note in notes.values():
        if not note.keys() <= _NOTE_FIELDS:
            raise _NotPlainError
        n, reason, unsure = note["n"], note.get("null_reason"), note.get("interval_null_reason")
        if type(n) is not int or not 0 <= n < _INT64 or type(note["unit"]) is not str:
            raise _NotPlainError
        if (reason is not None and type(reason) is not str) or (
            unsure is not None and type(unsure) is not str
        ):
            raise _NotPlainError
        interval = note.get("interval")
        if interval is not None and not (
            interval.keys() <= _INTERVAL_FIELDS
            and interval["method"] in _INTERVAL_METHODS
            and type(interval["low"]) is float
            and type(interval["high"]) is float
            and type(interval["n"]) in _NUMBERS
            and interval["n"] > 0
            and type(interval.get("confidence", CONFIDENCE)) is float
            and 0 < interval.get("confidence", CONFIDENCE) < 1
            and isfinite(interval["low"])
            and isfinite(interval["high"])
        ):
            raise _NotPlainError


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON
    """Return a declared text, which the format trims; only one that needs no trimming is plain."""
    if type(value) is not str or value != value.strip():
        raise _NotPlainError
    return value


def _any_text(value: Any) -> str:  # noqa: ANN401 - any JSON
    if type(value) is not str:
        raise _NotPlainError
    return value


def _list(value: Any) -> list[Any]:  # noqa: ANN401 - any JSON
    if type(value) is not list:
        raise _NotPlainError
    return value


def _trimmed(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Return an object of which no key needs trimming: two could become one."""
    if type(value) is not dict or any(key != key.strip() for key in value):
        raise _NotPlainError
    return value


def _instant(value: Any) -> str:  # noqa: ANN401 - any JSON
    if type(value) is not str or not _INSTANT.fullmatch(value):
        raise _NotPlainError
    try:
        return datetime.fromisoformat(value).isoformat()
    except ValueError as error:
        raise _NotPlainError from error
