"""Whether a run's traces can be believed: statements about the file, from the file alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inferencebench_pipeline.measure.trace_schema import (
    PHASES,
    SCHEMA,
    planned_requests,
    traces_metadata,
)
from inferencebench_pipeline.measure.workload_spec import Workload

_LATENESS_FLOOR_NS: Final = 1_000_000
_LATENESS_SHARE_OF_TTFT: Final = 0.01
_KERNEL_SHARE: Final = 0.99
_LENGTH_TOLERANCE: Final = 0.10

_INSTANTS: Final = (
    "scheduled_ns",
    "sent_ns",
    "first_byte_ns",
    "first_token_ns",
    "last_token_ns",
    "end_ns",
)
_CONNECTING: Final = ("connect_started_ns", "connected_ns", "sent_ns")

Row = dict[str, Any]


class ValidityFlag(BaseModel):
    """One statement about whether a measurement can be trusted, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    ok: bool
    severity: Literal["error", "warn"]
    """How bad it is when not ``ok``."""
    detail: str


def check_traces(table: pa.Table) -> list[ValidityFlag]:
    """Return every statement about a traces table, the ones that hold included.

    ``error``: the numbers are not those of the run that the file claims to hold. ``warn``: they
    are, and a reader must know this about them.
    """
    if not table.schema.remove_metadata().equals(SCHEMA):
        return [_flag("schema", "error", "the columns are not those of the traces schema")]
    rows = table.to_pylist()
    flags = [_flag("schema", "error", None, "columns and types are those of the traces schema")]
    flags += [
        _flag("requests_complete", "error", _incomplete(rows, table), "every planned request"),
        _flag(
            "monotone_times", "error", _first(rows, _out_of_order), "every instant after its cause"
        ),
        _flag("some_success", "error", _no_success(rows), "at least one measured request"),
    ]
    measured = [row for row in rows if row["phase"] == "measured"]
    good = [row for row in measured if row["error_class"] is None and not _unanswered(row)]
    flags += [
        _flag("no_failures", "warn", _failures(measured), "every measured request succeeded"),
        _flag("token_counts", "warn", _uncounted(good), "every success has the engine's count"),
        _flag("one_token_per_chunk", "warn", _bundled(good), "a chunk carries one token"),
        _flag("output_length", "warn", _length(good, table), "as long as was asked for"),
        _flag("dispatch_lateness", "warn", _lateness(good), "requests left on time"),
        _flag("kernel_stamps", "warn", _stamps(good), "arrivals were stamped by the kernel"),
    ]
    return flags


def _flag(
    name: str, severity: Literal["error", "warn"], problem: str | None, fine: str = ""
) -> ValidityFlag:
    return ValidityFlag(name=name, ok=problem is None, severity=severity, detail=problem or fine)


def _first(rows: list[Row], check: Callable[[Row], str | None]) -> str | None:
    return next((problem for row in rows if (problem := check(row)) is not None), None)


def _incomplete(rows: list[Row], table: pa.Table) -> str | None:
    if [row["request_index"] for row in rows] != list(range(len(rows))):
        return "request_index does not count up from 0 without a gap"
    unknown = {row["phase"] for row in rows} - set(PHASES)
    if unknown:
        return f"unknown phases {sorted(unknown)}"
    try:
        planned = planned_requests(table)
    except (KeyError, TypeError, ValueError):
        return "the metadata does not say how many requests were planned"
    found = tuple(sum(row["phase"] == phase for row in rows) for phase in ("warmup", "measured"))
    if found != planned:
        return f"{found[0]} warm-up and {found[1]} measured requests, planned {planned}"
    return None


def _unanswered(row: Row) -> bool:
    return row["sent_ns"] is None or row["first_token_ns"] is None


def _out_of_order(row: Row) -> str | None:
    if row["error_class"] is None and _unanswered(row):
        return f"request {row['request_index']} succeeded without an answer"
    chunks = [chunk["received_ns"] for chunk in row["chunks"]]
    for names in (_INSTANTS, _CONNECTING):
        known = [(name, row[name]) for name in names if row[name] is not None]
        for (earlier, before), (later, after) in _pairs(known):
            if after < before:
                return f"request {row['request_index']}: {later} lies before {earlier}"
    if any(after < before for before, after in _pairs(chunks)):
        return f"request {row['request_index']}: a chunk arrived before the one ahead of it"
    text = [chunk["received_ns"] for chunk in row["chunks"] if chunk["content_chars"] > 0]
    ends = (text[0], text[-1]) if text else (None, None)
    if ends != (row["first_token_ns"], row["last_token_ns"]):
        return f"request {row['request_index']}: first or last token is not a chunk with text"
    if chunks and chunks[-1] > row["end_ns"]:
        return f"request {row['request_index']}: a chunk arrived after the end"
    return None


def _pairs(values: list[Any]) -> Iterator[tuple[Any, Any]]:
    return itertools.pairwise(values)


def _no_success(rows: list[Row]) -> str | None:
    if any(row["phase"] == "measured" and row["error_class"] is None for row in rows):
        return None
    return "no measured request succeeded"


def _failures(measured: list[Row]) -> str | None:
    classes = [row["error_class"] for row in measured if row["error_class"] is not None]
    if not classes:
        return None
    counts = ", ".join(f"{classes.count(name)} {name}" for name in sorted(set(classes)))
    return f"{len(classes)} of {len(measured)} measured requests failed: {counts}"


def _uncounted(good: list[Row]) -> str | None:
    sources = [row["token_source"] for row in good if row["completion_tokens"] is None]
    if not sources:
        return None
    counts = ", ".join(f"{sources.count(name)} {name}" for name in sorted(set(sources)))
    return f"{len(sources)} of {len(good)} successful requests have no token count: {counts}"


def _bundled(good: list[Row]) -> str | None:
    counted = [row for row in good if row["completion_tokens"]]
    tokens = sum(row["completion_tokens"] for row in counted)
    chunks = sum(chunk["content_chars"] > 0 for row in counted for chunk in row["chunks"])
    if not chunks or abs(tokens / chunks - 1) <= _LENGTH_TOLERANCE:
        return None
    return f"{tokens} tokens came in {chunks} chunks, so ITL is the gap between chunks, not tokens"


def _length(good: list[Row], table: pa.Table) -> str | None:
    try:
        workload = Workload.model_validate_json(traces_metadata(table).get("workload", ""))
    except ValidationError:
        return "the metadata does not say how many tokens were asked for"
    lengths = [row["completion_tokens"] for row in good if row["completion_tokens"] is not None]
    if not lengths:
        return None
    asked = workload.max_tokens
    if max(lengths) > asked:
        return f"an answer of {max(lengths)} tokens, though max_tokens was {asked}"
    mean = sum(lengths) / len(lengths)
    if workload.ignore_eos and mean < asked * (1 - _LENGTH_TOLERANCE):
        return f"{mean:.1f} tokens on average, though ignore_eos asked for exactly {asked}"
    return None


def _lateness(good: list[Row]) -> str | None:
    if not good:
        return None
    late = sorted(row["sent_ns"] - row["scheduled_ns"] for row in good)
    ttft = sorted(row["first_token_ns"] - row["sent_ns"] for row in good)
    p99 = late[(len(late) * 99 - 1) // 100]
    allowed = max(_LATENESS_FLOOR_NS, _LATENESS_SHARE_OF_TTFT * ttft[len(ttft) // 2])
    if p99 <= allowed:
        return None
    return f"p99 of sent - scheduled is {p99 / 1e6:.3f} ms, more than {allowed / 1e6:.3f} ms"


def _stamps(good: list[Row]) -> str | None:
    stamps = [chunk["kernel_stamp"] for row in good for chunk in row["chunks"]]
    if not stamps or sum(stamps) >= _KERNEL_SHARE * len(stamps):
        return None
    return f"only {sum(stamps)} of {len(stamps)} chunks carry the kernel's stamp"
