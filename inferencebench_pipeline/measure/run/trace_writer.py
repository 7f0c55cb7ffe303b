"""The traces file: written once from a capture, request by request, and what it is made of."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import UTC
from pathlib import Path
from types import TracebackType
from typing import Any, Final, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from inferencebench_pipeline.measure.client.capture import Capture, read_spool, read_spool_in_order
from inferencebench_pipeline.measure.client.decoder import Answer, Chunk, decode
from inferencebench_pipeline.measure.client.exchange import Exchange
from inferencebench_pipeline.measure.metrics.validity import check_traces
from inferencebench_pipeline.measure.metrics.validity_flags import ValidityFlag
from inferencebench_pipeline.measure.metrics.window_energy import WindowEnergy
from inferencebench_pipeline.measure.run.token_check import counted_answers
from inferencebench_pipeline.measure.telemetry.report import Energy
from inferencebench_pipeline.measure.telemetry.summary import write_telemetry
from inferencebench_pipeline.measure.traces.reader import (
    Traces,
    open_traces,
    read_traces,
    traces_info,
)
from inferencebench_pipeline.measure.traces.schema import (
    CHUNK,
    METADATA_PREFIX,
    PHASES,
    SCHEMA,
    TRACES_SCHEMA_VERSION,
    UNITS,
    TracesInfo,
    planned_requests,
    traces_metadata,
)
from inferencebench_pipeline.runs import RunDirectory, RunFile

__all__ = [
    "CHUNK",
    "PHASES",
    "SCHEMA",
    "TRACES_SCHEMA_VERSION",
    "Traces",
    "TracesInfo",
    "TracesWriter",
    "ValidityFlag",
    "check_traces",
    "open_traces",
    "planned_requests",
    "read_traces",
    "table_of",
    "traces_info",
    "traces_metadata",
    "write_traces",
]

_WINDOW_COLUMNS: Final = ("repeat", "phase", "scheduled_ns", "end_ns")

_GROUP_CHUNKS: Final = 2**18
_GROUP_ROWS: Final = 2**16
"""A row group is written when it has so many chunks or rows: some 10 MB in memory."""

_CHUNK: Final = "chunks.list.element."
_INSTANTS: Final = [
    *(field.name for field in SCHEMA if pa.types.is_int64(field.type)),
    *(f"{_CHUNK}received_ns", f"{_CHUNK}size_bytes"),
]
"""Columns whose values are near the ones before them, kept as differences."""
# Columns of few distinct values, which a dictionary keeps once for each row group.
_REPEATING: Final = [
    *(field.name for field in SCHEMA if pa.types.is_string(field.type)),
    *(f"{_CHUNK}content_chars", f"{_CHUNK}tokens"),
]


def write_traces(run: RunDirectory) -> TracesInfo:
    """Write ``traces.parquet`` from a run's capture and return what identifies it.

    The same capture gives the same bytes. One request is held in memory at a time, and one row
    group. The energy that the telemetry found goes into the file's metadata, so that every metric
    follows from this file alone.

    Raises:
        CaptureError: the capture is incomplete, or a file of it has changed.
        RunBusyError: another process works on the run.
        StoreError: the file cannot be written.
    """
    with run.writing("writing the traces"):
        run.mend_digests()
        return _write_traces(run)


def _write_traces(run: RunDirectory) -> TracesInfo:
    capture = Capture(run)
    completion = capture.require_completion()
    spec = capture.spec()
    metadata = {
        "run_id": run.run_id,
        "origin_unix_ns": str(completion.loop.origin_unix_ns),
        # What else the envelope states of the run, so that the two can be held together.
        "finished_at": completion.finished_at.astimezone(UTC).isoformat(),
        "model": capture.provenance().model.id,
        "seed": str(spec.seed),
        "workload_sha256": completion.workload_sha256,
        "schedule_sha256": completion.schedule_sha256,
        "load": spec.load.model_dump_json(),
        "workload": spec.workload.model_dump_json(),
        "energy": _energy(capture),
    }
    tokenizer_tokens = counted_answers(capture)
    path = run.file(RunFile.TRACES)
    # Contexts end in reverse: the writer closes the file before it takes its place.
    with run.replacing(RunFile.TRACES) as temporary, TracesWriter(temporary, metadata) as writer:
        for exchange in read_spool_in_order(capture.spool):
            answer = decode(exchange)
            asked = tokenizer_tokens(exchange.repeat, exchange.index)
            writer.append(_row(exchange, answer, asked), answer.chunks)
    # Opened by the reader that strangers use, so a file that it refuses is found here.
    return traces_info(path, open_traces(path))


class TracesWriter(AbstractContextManager["TracesWriter"]):
    """Appends requests to a traces file, in the order of repeat and request index."""

    def __init__(self, path: Path, metadata: dict[str, str]) -> None:
        stated = {
            "traces_schema_version": TRACES_SCHEMA_VERSION,
            "units": orjson.dumps(UNITS).decode(),
            **metadata,
        }
        self._schema = SCHEMA.with_metadata(
            {METADATA_PREFIX + k.encode(): v.encode() for k, v in stated.items()}
        )
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            compression="zstd",
            use_dictionary=cast("Any", _REPEATING),  # a list of names, which the stubs do not know
            column_encoding=dict.fromkeys(_INSTANTS, "DELTA_BINARY_PACKED"),
        )
        self._begin_group()

    def _begin_group(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._ends = [0]
        self._chunks: dict[str, list[Any]] = {name: [] for name in CHUNK.names}

    def append(self, row: dict[str, Any], chunks: Iterable[Chunk]) -> None:
        """Add one request: its columns but ``chunks``, and its chunks."""
        self._rows.append(row)
        columns = self._chunks
        for chunk in chunks:
            columns["received_ns"].append(chunk.received_ns)
            columns["size_bytes"].append(chunk.size_bytes)
            columns["content_chars"].append(chunk.content_chars)
            columns["tokens"].append(chunk.tokens)
            columns["kernel_stamp"].append(chunk.kernel_stamp)
        self._ends.append(len(columns["received_ns"]))
        if self._ends[-1] >= _GROUP_CHUNKS or len(self._rows) >= _GROUP_ROWS:
            self._end_group()

    def _end_group(self) -> None:
        fields = [pa.array(self._chunks[field.name], field.type) for field in CHUNK]
        lists = pa.ListArray.from_arrays(
            pa.array(self._ends, pa.int32()),
            pa.StructArray.from_arrays(fields, fields=list(CHUNK)),
            type=SCHEMA.field("chunks").type,
        )
        columns = [
            lists
            if field.name == "chunks"
            else pa.array([row[field.name] for row in self._rows], field.type)
            for field in SCHEMA
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self._begin_group()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what is left and end the file; after an error it is left unfinished."""
        if kind is None and self._rows:
            self._end_group()
        self._writer.close()


def _energy(capture: Capture) -> str:
    """Return, as JSON, the energy of each repeat's measured window."""
    columns: dict[str, list[Any]] = {name: [] for name in _WINDOW_COLUMNS}
    for exchange in read_spool(capture.spool):
        columns["repeat"].append(exchange.repeat)
        columns["phase"].append(exchange.phase)
        columns["scheduled_ns"].append(exchange.scheduled_ns)
        columns["end_ns"].append(exchange.end_ns)
    schema = pa.schema([SCHEMA.field(name) for name in _WINDOW_COLUMNS])
    telemetry = write_telemetry(capture, pa.table(columns, schema=schema))
    return orjson.dumps([_drawn(energy).model_dump() for energy in telemetry.energy]).decode()


def _drawn(energy: Energy) -> WindowEnergy:
    joules = energy.reportable_joules
    if joules is not None and joules > 0:
        return WindowEnergy(joules=joules, source=energy.source)
    reason = "; ".join(energy.reasons) or "the meter did not move"
    return WindowEnergy(joules=None, source=energy.source, null_reason=reason)


def _row(exchange: Exchange, answer: Answer, tokenizer_tokens: int | None = None) -> dict[str, Any]:
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
        "tokenizer_tokens": tokenizer_tokens,
        "error_class": answer.error_class,
        "error_detail": answer.error_detail,
    }


def table_of(exchanges: Iterable[Exchange]) -> pa.Table:
    """Return requests as a table of the traces schema, in memory: for a look during a run."""
    rows = []
    for exchange in exchanges:
        answer = decode(exchange)
        rows.append(_row(exchange, answer) | {"chunks": [asdict(chunk) for chunk in answer.chunks]})
    return pa.Table.from_pylist(rows, schema=SCHEMA)
