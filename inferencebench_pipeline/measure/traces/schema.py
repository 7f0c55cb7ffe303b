"""The schema of the traces file: every column, its type and its meaning.

The schema is the contract: metrics, validity flags and plots are computed from this file alone,
here and by anyone who downloads it. All instants are int64 nanoseconds after the run's origin,
which the file's metadata gives in Unix time; an instant before the origin is negative.
"""

from __future__ import annotations

from typing import Any, Final, cast

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.measure.provenance.document import Sha256Hex
from inferencebench_pipeline.measure.traces.schema_history import (
    TRACES_SCHEMA_HISTORY,
    TRACES_SCHEMA_VERSION,
)

__all__ = [
    "CHUNK",
    "METADATA_PREFIX",
    "PHASES",
    "SCHEMA",
    "SCHEMAS",
    "TRACES_SCHEMA_VERSION",
    "UNITS",
    "TracesInfo",
    "completed",
    "completed_chunks",
    "planned_requests",
    "schema_version",
    "traces_metadata",
]

PHASES: Final = ("warmup", "measured", "drained")
"""``warmup`` came first and is not reported; ``measured`` is; ``drained`` kept the load level
until the last measured request had ended."""

CHUNK: Final = pa.struct(
    [
        pa.field("received_ns", pa.int64(), nullable=False),
        pa.field("size_bytes", pa.int32(), nullable=False),
        pa.field("content_chars", pa.int32(), nullable=False),
        pa.field("tokens", pa.int32()),
        pa.field("kernel_stamp", pa.bool_(), nullable=False),
    ]
)
"""One server-sent event: arrival of its first byte, its size, the characters of generated text
in it (0 for role, usage and empty chunks, which are not tokens), the tokens in it where the engine
says so chunk by chunk, and whether the kernel stamped the arrival (``SO_TIMESTAMPNS``) or this
process did after it woke."""

_FIELDS: Final[list[pa.Field[Any]]] = [
    # -- which request it was
    pa.field("repeat", pa.int16(), nullable=False),
    pa.field("request_index", pa.int64(), nullable=False),
    pa.field("phase", pa.string(), nullable=False),
    pa.field("prompt_id", pa.string(), nullable=False),
    pa.field("attempt", pa.int32(), nullable=False),
    # -- instants, in the order they happen
    pa.field("scheduled_ns", pa.int64(), nullable=False),
    pa.field("connect_started_ns", pa.int64()),
    pa.field("connected_ns", pa.int64()),
    pa.field("sent_ns", pa.int64()),
    pa.field("first_byte_ns", pa.int64()),
    pa.field("first_token_ns", pa.int64()),
    pa.field("last_token_ns", pa.int64()),
    pa.field("end_ns", pa.int64(), nullable=False),
    # -- what came back
    pa.field("http_status", pa.int32()),
    pa.field("finish_reason", pa.string()),
    pa.field("prompt_tokens", pa.int64()),
    pa.field("completion_tokens", pa.int64()),
    pa.field("token_source", pa.string(), nullable=False),
    pa.field("cached_tokens", pa.int64()),
    pa.field("tokenizer_tokens", pa.int64()),
    pa.field("error_class", pa.string()),
    pa.field("error_detail", pa.string()),
    pa.field("chunks", pa.list_(pa.field("element", CHUNK, nullable=False)), nullable=False),
]
SCHEMA: Final = pa.schema(_FIELDS)
"""The newest schema, which every file is read into."""

_SINCE: Final = {"repeat": 2, "cached_tokens": 2, "tokenizer_tokens": 2, "chunks.tokens": 2}
"""The version that a column came with, where it is not the first one."""
_BEFORE: Final = {"repeat": 1}
"""The value of a column in files from before it; null for any other: nobody recorded it."""


def _as_of(number: int) -> pa.Schema:
    """Return the schema as it was in a version."""
    chunk = pa.struct(
        [each for each in CHUNK.fields if _SINCE.get(f"chunks.{each.name}", 1) <= number]
    )
    lists = pa.list_(pa.field("element", chunk, nullable=False))
    fields = [each for each in _FIELDS if _SINCE.get(each.name, 1) <= number]
    return pa.schema([each.with_type(lists) if each.name == "chunks" else each for each in fields])


SCHEMAS: Final = {str(each.number): _as_of(each.number) for each in TRACES_SCHEMA_HISTORY}
"""The schema of each version."""


def completed(rows: pa.Table) -> pa.Table:
    """Return rows of any version, without their chunks, with every column of the newest one."""
    columns = [
        rows.column(each.name) if each.name in rows.schema.names else _before(each, rows.num_rows)
        for each in _FIELDS
        if each.name != "chunks"
    ]
    schema = pa.schema([each for each in _FIELDS if each.name != "chunks"])
    return pa.table(columns, schema=schema.with_metadata(rows.schema.metadata))


def completed_chunks(lists: pa.ListArray[Any]) -> pa.ListArray[Any]:
    """Return chunks of any version with every field of the newest one."""
    flat = cast("pa.StructArray", lists.values)
    if flat.type.equals(CHUNK):
        return lists
    known = {each.name for each in flat.type.fields}
    parts = [
        flat.field(each.name) if each.name in known else _before(each, len(flat))
        for each in CHUNK.fields
    ]
    whole = pa.StructArray.from_arrays(parts, fields=CHUNK.fields)
    return cast(
        "pa.ListArray[Any]",
        pa.ListArray.from_arrays(lists.offsets, whole, type=SCHEMA.field("chunks").type),
    )


def _before(column: pa.Field[Any], length: int) -> pa.Array[Any]:
    """Return a column as files say it that were written before there was one."""
    nothing = pa.nulls(length, column.type)
    known = _BEFORE.get(column.name)
    return nothing if known is None else pc.fill_null(nothing, pa.scalar(known, column.type))


UNITS: Final = {
    "*_ns": "nanoseconds after origin_unix_ns, int64",
    "origin_unix_ns": "nanoseconds of Unix time at the run's origin",
    "*_tokens": "tokens",
    "chunks.size_bytes": "bytes of the event as the stream carried it",
    "chunks.content_chars": "characters of generated text",
    "chunks.tokens": "tokens",
}
"""The units of the numbers, which are part of every file's metadata."""

METADATA_PREFIX: Final = b"inferencebench."


class TracesInfo(DocumentPart):
    """The values that bind a traces file into the envelope."""

    sha256: Sha256Hex
    """The SHA-256 of the file."""
    rows: int = Field(ge=0)
    """The number of rows."""
    size_bytes: int = Field(ge=0)
    """The size of the file, in bytes."""
    schema_version: str = Field(min_length=1)
    """The version of the schema of the traces."""


def schema_version(schema: pa.Schema) -> str:
    """Return the version that a file says its schema has; empty where it says none."""
    stated = (schema.metadata or {}).get(METADATA_PREFIX + b"traces_schema_version", b"")
    # Any bytes decode as Latin-1, and only a version itself compares equal to one.
    return stated.decode("latin1")


def traces_metadata(table: pa.Table) -> dict[str, str]:
    """Return the file metadata that ``write_traces`` put in: run id, origin, load, workload."""
    return {
        key.removeprefix(METADATA_PREFIX).decode(errors="replace"): value.decode(errors="replace")
        for key, value in (table.schema.metadata or {}).items()
        if key.startswith(METADATA_PREFIX)
    }


def planned_requests(table: pa.Table) -> tuple[int, int]:
    """Return the planned numbers of warm-up and measured requests."""
    load = orjson.loads(traces_metadata(table)["load"])
    return load["warmup_requests"], load["requests"]
