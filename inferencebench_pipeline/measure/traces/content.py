"""Digest of what a traces file holds, which another encoding of the same rows does not change."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from inferencebench_pipeline.measure.traces.reader import Traces, open_traces

_INTEGERS: Final = (
    "request_index", "scheduled_ns", "connect_started_ns", "connected_ns", "sent_ns",
    "first_byte_ns", "first_token_ns", "last_token_ns", "end_ns", "http_status", "prompt_tokens",
    "completion_tokens",
)  # fmt: skip
"""Columns of the first version of the schema: in another version the rows have the same digest."""
_INSTANTS: Final = frozenset(name for name in _INTEGERS if name.endswith("_ns"))


def content_sha256(traces: Path | bytes) -> str:
    """Return the SHA-256 (hex) over the values that metrics are computed from.

    These are the integers of the rows that were reported, which requests failed, and of each chunk
    its arrival and whether it has text. Compression, row groups, metadata, the version of the
    schema, warm-up requests, texts and the origin of the clock are not in it, so that the same
    measurement has one digest however it is written. One nanosecond that differs makes it another:
    numbers that were altered are no copy that anybody could tell from a second measurement.

    Raises:
        TracesError: the traces cannot be read.
        StoreError: the file cannot be read.
    """
    opened = open_traces(traces)
    digest = hashlib.sha256()
    warmed: Any = pc.is_in(opened.rows["phase"], pa.array(["warmup"]))
    reported = ~warmed.to_numpy().astype(bool)
    rows = opened.rows.filter(pa.array(reported))
    scheduled = rows["scheduled_ns"].to_numpy()
    start = int(scheduled.min()) if len(scheduled) else 0
    for name in _INTEGERS:
        column = rows[name].cast(pa.int64())
        known = column.is_valid().to_numpy().astype(bool)
        filled: Any = column.fill_null(cast("Any", 0))
        values = filled.to_numpy().astype("<i8")
        if name in _INSTANTS:
            values = np.where(known, values - start, 0)
        _add(digest, name, known, values)
    _add(digest, "failed", rows["error_class"].is_valid().to_numpy().astype(bool))
    _add_chunks(digest, opened, reported, start)
    return digest.hexdigest()


def _add_chunks(
    digest: hashlib._Hash, traces: Traces, reported: np.ndarray[tuple[int], np.dtype[np.bool_]],
    start: int,
) -> None:  # fmt: skip
    # A digest for each column, since batches follow the row groups and columns must not.
    columns = {name: hashlib.sha256() for name in ("lengths", "received_ns", "has_text")}
    for batch in traces.chunk_batches():
        of_rows = reported[batch.first_row : batch.first_row + len(batch.lengths)]
        kept = np.repeat(of_rows, batch.lengths)
        columns["lengths"].update(batch.lengths[of_rows].astype("<i8").tobytes())
        columns["received_ns"].update((batch.received_ns[kept] - start).astype("<i8").tobytes())
        columns["has_text"].update(batch.has_text[kept].astype("u1").tobytes())
    for name, column in columns.items():
        digest.update(f"{name} {column.hexdigest()}\n".encode())


def _add(digest: hashlib._Hash, name: str, *columns: np.ndarray) -> None:
    digest.update(f"{name} {len(columns[0])}\n".encode())
    for column in columns:
        digest.update(np.ascontiguousarray(column).tobytes())
