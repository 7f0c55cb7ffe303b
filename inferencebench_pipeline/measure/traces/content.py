"""Digest of what a traces file holds, which another encoding of the same rows does not change."""

from __future__ import annotations

import hashlib
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from inferencebench_pipeline.measure.traces.reader import ChunkBatch

_INTEGERS: Final = (
    "request_index", "scheduled_ns", "connect_started_ns", "connected_ns", "sent_ns",
    "first_byte_ns", "first_token_ns", "last_token_ns", "end_ns", "http_status", "prompt_tokens",
    "completion_tokens",
)  # fmt: skip
"""Columns of the first version of the schema: in another version the rows have the same digest."""
_INSTANTS: Final = frozenset(name for name in _INTEGERS if name.endswith("_ns"))


class ContentDigest:
    """The digest of traces whose chunks somebody else reads, and shows to :meth:`take`.

    It is over the values that metrics are computed from: the integers of the rows that were
    reported, which requests failed, and of each chunk its arrival and whether it has text.
    Compression, row groups, metadata, the version of the schema, warm-up requests, texts and the
    origin of the clock are not in it, so that the same measurement has one digest however it is
    written. One nanosecond that differs makes it another: numbers that were altered are no copy
    that anybody could tell from a second measurement.
    """

    def __init__(self, rows: pa.Table) -> None:
        """Begin the digest.

        Args:
            rows: every column of the traces but the chunks.
        """
        warmed: Any = pc.is_in(rows["phase"], pa.array(["warmup"]))
        self._reported = ~warmed.to_numpy().astype(bool)
        self._rows = rows
        scheduled = rows["scheduled_ns"].to_numpy()[self._reported]
        self._start_ns = int(scheduled.min()) if len(scheduled) else 0
        # A digest for each column, since batches follow the row groups and columns must not.
        self._of_chunks = {
            name: hashlib.sha256() for name in ("lengths", "received_ns", "has_text")
        }
        self._rows_seen = 0

    def take(self, batch: ChunkBatch) -> None:
        """Take the chunks of the next rows."""
        reported = self._reported[batch.first_row : batch.first_row + len(batch.lengths)]
        lengths, received, has_text = batch.lengths, batch.received_ns, batch.has_text
        if not reported.all():
            kept = np.repeat(reported, lengths)
            lengths, received, has_text = lengths[reported], received[kept], has_text[kept]
        columns = (lengths, received - self._start_ns, has_text)
        for digest, values in zip(self._of_chunks.values(), columns, strict=True):
            digest.update(_little_endian(values))
        self._rows_seen += len(batch.lengths)

    def hexdigest(self) -> str:
        """Return the SHA-256 in hex.

        Raises:
            ValueError: the chunks of some rows were not taken.
        """
        if self._rows_seen != len(self._reported):
            raise ValueError(
                f"the chunks of {self._rows_seen} of {len(self._reported)} rows were taken; a "
                "digest is over all of them"
            )
        digest = hashlib.sha256()
        for name in _INTEGERS:
            column = self._rows[name].cast(pa.int64())
            known = column.is_valid().to_numpy().astype(bool)[self._reported]
            filled: Any = column.fill_null(cast("Any", 0))
            values = filled.to_numpy()[self._reported]
            if name in _INSTANTS:
                values = np.where(known, values - self._start_ns, 0)
            _add(digest, name, known, values)
        failed = self._rows["error_class"].is_valid().to_numpy().astype(bool)[self._reported]
        _add(digest, "failed", failed)
        for name, of_chunks in self._of_chunks.items():
            digest.update(f"{name} {of_chunks.hexdigest()}\n".encode())
        return digest.hexdigest()


def _add(digest: hashlib._Hash, name: str, *columns: np.ndarray) -> None:
    digest.update(f"{name} {len(columns[0])}\n".encode())
    for column in columns:
        digest.update(_little_endian(column))


def _little_endian(values: np.ndarray) -> memoryview:
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).data
