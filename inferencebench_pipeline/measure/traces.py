"""The traces file: written once from a capture, read by everyone, trusted by no one."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from inferencebench_pipeline.measure.capture import Capture, read_spool
from inferencebench_pipeline.measure.client.exchange import Exchange
from inferencebench_pipeline.measure.decode import Answer, decode
from inferencebench_pipeline.measure.errors import TracesError
from inferencebench_pipeline.measure.trace_schema import (
    CHUNK,
    METADATA_PREFIX,
    PHASES,
    SCHEMA,
    TRACES_SCHEMA_VERSION,
    TracesInfo,
    planned_requests,
    traces_metadata,
)
from inferencebench_pipeline.measure.validity import ValidityFlag, check_traces
from inferencebench_pipeline.runs import RunDirectory, RunFile, StoreError

__all__ = [
    "CHUNK",
    "PHASES",
    "SCHEMA",
    "TRACES_SCHEMA_VERSION",
    "TracesInfo",
    "ValidityFlag",
    "check_traces",
    "planned_requests",
    "read_traces",
    "traces_info",
    "traces_metadata",
    "write_traces",
]

_MOST_BYTES: Final = 2 * 2**30
_MOST_ROWS: Final = 5_000_000
_MOST_NS: Final = 2**50
"""Thirteen days: longer than the longest run a spec allows, and safe to multiply in int64."""
_MOST_COUNT: Final = 2**40


def write_traces(run: RunDirectory) -> TracesInfo:
    """Write ``traces.parquet`` from a run's capture and return what identifies it.

    The same capture gives the same bytes.

    Raises:
        CaptureError: the capture is incomplete or damaged.
        StoreError: the file cannot be written.
    """
    capture = Capture(run)
    completion = capture.require_completion()
    spec = capture.spec()
    rows = [_row(exchange, decode(exchange)) for exchange in read_spool(capture.spool)]
    rows.sort(key=lambda row: (row["repeat"], row["request_index"]))
    metadata = {
        "traces_schema_version": TRACES_SCHEMA_VERSION,
        "run_id": run.run_id,
        "origin_unix_ns": str(completion.loop.origin_unix_ns),
        "units": "instants: ns after origin_unix_ns; sizes: bytes",
        "load": spec.load.model_dump_json(),
        "workload": spec.workload.model_dump_json(),
    }
    schema = SCHEMA.with_metadata(
        {METADATA_PREFIX + k.encode(): v.encode() for k, v in metadata.items()}
    )
    table = pa.Table.from_pylist(rows, schema=schema)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", compression_level=9)
    run.write(RunFile.TRACES, buffer.getvalue())
    return traces_info(buffer.getvalue(), table)


def _row(exchange: Exchange, answer: Answer) -> dict[str, Any]:
    text = answer.text_chunks
    return {
        "repeat": exchange.repeat,
        "request_index": exchange.index,
        "phase": exchange.phase,
        "prompt_id": exchange.prompt_id,
        "attempt": exchange.attempt,
        "scheduled_ns": exchange.scheduled_ns,
        "connect_started_ns": exchange.connect_started_ns,
        "connected_ns": exchange.connected_ns,
        "sent_ns": exchange.sent_ns,
        "first_byte_ns": answer.first_byte_ns,
        "first_token_ns": text[0].received_ns if text else None,
        "last_token_ns": text[-1].received_ns if text else None,
        "end_ns": exchange.end_ns,
        "http_status": answer.http_status,
        "finish_reason": answer.finish_reason,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "token_source": answer.token_source,
        "cached_tokens": answer.cached_tokens,
        "tokenizer_tokens": None,
        "error_class": answer.error_class,
        "error_detail": answer.error_detail,
        "chunks": [vars(chunk) for chunk in answer.chunks],
    }


def traces_info(data: bytes, table: pa.Table) -> TracesInfo:
    """Return what identifies the traces file ``data``, which ``table`` was read from."""
    return TracesInfo(
        sha256=hashlib.sha256(data).hexdigest(),
        rows=table.num_rows,
        size_bytes=len(data),
        schema_version=TRACES_SCHEMA_VERSION,
    )


def read_traces(source: Path | bytes) -> pa.Table:
    """Return the table of a traces file, which may come from anyone.

    Raises:
        TracesError: it is truncated, not Parquet, larger than 2 GiB decompressed, of another
            schema version, or does not follow the schema.
        StoreError: the file cannot be read.
    """
    where = "the traces" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read {where}: {error.strerror or error}") from error
    try:
        file = _open_quietly(data)
        _check_size(file.metadata, where)
        table = file.read(use_threads=False)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise TracesError(
            f"{where}: not a complete Parquet file ({error}); write or download it again"
        ) from error
    _check_schema(table.schema, where)
    _check_values(table, where)
    return table


def _open_quietly(data: bytes) -> pq.ParquetFile:
    """Open a Parquet file so that no thread of Arrow's is left with something of Python's.

    Arrow's I/O threads let go of what they read from some time after the read has returned. Where
    that is a Python object (``io.BytesIO``) they need the interpreter's lock for it, and one that
    asks for the lock while the interpreter exits is ended in a C++ frame that allows no unwinding:
    ``terminate called without an active exception``, after the work was done and printed.
    """
    return pq.ParquetFile(pa.BufferReader(data), pre_buffer=False)


def _check_size(metadata: pq.FileMetaData, where: str) -> None:
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if size > _MOST_BYTES or metadata.num_rows > _MOST_ROWS:
        raise TracesError(
            f"{where}: {metadata.num_rows} rows and {size} bytes decompressed are more than any "
            f"run leaves ({_MOST_ROWS} rows, {_MOST_BYTES} bytes)"
        )


def _check_schema(schema: pa.Schema, where: str) -> None:
    version = (
        (schema.metadata or {})
        .get(METADATA_PREFIX + b"traces_schema_version", b"")
        .decode("latin1")
    )
    if version != TRACES_SCHEMA_VERSION:
        raise TracesError(
            f"{where}: traces schema version is {version or 'not given'!r}, this reader knows "
            f"{TRACES_SCHEMA_VERSION!r}"
        )
    for expected in SCHEMA:
        position = schema.get_field_index(expected.name)
        if position < 0:
            raise TracesError(f"{where}: column {expected.name!r} is missing")
        found = schema.field(position)
        if not found.equals(expected):
            raise TracesError(f"{where}: column {expected.name!r} is {found}, not {expected}")
    if len(schema) != len(SCHEMA):
        extra = sorted(set(schema.names) - set(SCHEMA.names))
        raise TracesError(f"{where}: unknown columns {extra}")


def _check_values(table: pa.Table, where: str) -> None:
    """Refuse numbers that no run can leave, before any arithmetic meets them."""
    chunks = pc.list_flatten(table.column("chunks"))
    columns = {name: table.column(name) for name in table.schema.names if name != "chunks"}
    columns |= {f"chunks.{name}": pc.struct_field(chunks, name) for name in CHUNK.names}
    for name, values in columns.items():
        if not pa.types.is_integer(values.type):
            continue
        low = -_MOST_NS if name.endswith("_ns") else 0
        high = _MOST_NS if name.endswith("_ns") else _MOST_COUNT
        least, most = pc.min(values).as_py(), pc.max(values).as_py()
        if least is not None and most is not None and not low <= least <= most <= high:
            raise TracesError(
                f"{where}: column {name!r} runs from {least} to {most}, outside {low} to {high}"
            )
