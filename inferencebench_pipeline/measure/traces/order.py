"""The check that the instants of every request follow one another as causes and effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from inferencebench_pipeline.measure.traces.reader import ChunkBatch, Traces

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Connecting has a chain of its own: a connection may be older than the request is due.
_CHAINS: Final = (
    ("scheduled_ns", "sent_ns", "first_byte_ns", "first_token_ns", "last_token_ns", "end_ns"),
    ("connect_started_ns", "connected_ns", "sent_ns"),
)


@dataclass(frozen=True)
class ChunkFacts:
    """The facts about each row's chunks: counts, and the instants at the ends."""

    all: Int64s
    text: Int64s
    """The number of chunks with generated text."""
    stamped: Int64s
    """The number of chunks that the kernel stamped."""
    shared: Int64s
    """The number of text chunks that arrived at the very instant of the one before."""
    disordered: Bools
    """True when a chunk arrived before the one ahead of it."""
    last: Int64s
    """Arrival of the last chunk; meaningful where there is one."""
    first_text: Int64s
    last_text: Int64s

    @classmethod
    def of(cls, traces: Traces) -> ChunkFacts:
        """Return the facts of all rows, after one pass over the chunks.

        Raises:
            TracesError: the file is damaged.
        """
        parts = [_facts(batch) for batch in traces.chunk_batches()]
        if not parts:
            parts = [_facts(ChunkBatch.empty())]
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _facts(batch: ChunkBatch) -> tuple[npt.NDArray[Any], ...]:
    count = len(batch.lengths)
    local = batch.row - batch.first_row
    received, text = batch.received_ns, batch.has_text
    falls = (np.diff(received) < 0) & (local[1:] == local[:-1])
    text_row, text_received = local[text], received[text]
    text_counts = np.bincount(text_row, minlength=count).astype(np.int64)
    shared = (np.diff(text_received) == 0) & (text_row[1:] == text_row[:-1])
    return (
        batch.lengths,
        text_counts,
        np.bincount(local[batch.kernel_stamp], minlength=count).astype(np.int64),
        np.bincount(text_row[1:][shared], minlength=count).astype(np.int64),
        np.bincount(local[1:][falls], minlength=count) > 0,
        _at(received, np.cumsum(batch.lengths) - 1),
        _at(text_received, np.cumsum(text_counts) - text_counts),
        _at(text_received, np.cumsum(text_counts) - 1),
    )


def _at(values: Int64s, positions: Int64s) -> Int64s:
    """Return the values at ``positions``, whatever stands where there is none."""
    if not len(values):
        return np.zeros(len(positions), dtype=np.int64)
    return values[np.clip(positions, 0, len(values) - 1)]


def out_of_order(rows: pa.Table, chunks: ChunkFacts) -> str | None:
    """Return which request has which instants in the wrong order, or None when none has."""
    unanswered = _is_null(rows, "sent_ns") | _is_null(rows, "first_token_ns")
    claimed = _is_null(rows, "error_class") & unanswered
    found = _first(rows, claimed)
    if found is not None:
        return f"{found} succeeded without an answer"
    for chain in _CHAINS:
        problem = _broken(rows, chain)
        if problem is not None:
            return problem
    ends = ((chunks.first_text, "first_token_ns"), (chunks.last_text, "last_token_ns"))
    misplaced = np.zeros(rows.num_rows, dtype=np.bool_)
    for instants, name in ends:
        known = ~_is_null(rows, name)
        misplaced |= known != (chunks.text > 0)
        misplaced |= known & (instants != _filled(rows, name))
    statements = (
        (chunks.disordered, "a chunk arrived before the one ahead of it"),
        (misplaced, "first or last token is not a chunk with text"),
        ((chunks.all > 0) & (chunks.last > _filled(rows, "end_ns")), "a chunk came after the end"),
    )
    for wrong, statement in statements:
        found = _first(rows, wrong)
        if found is not None:
            return f"{found}: {statement}"
    return None


def _broken(rows: pa.Table, chain: tuple[str, ...]) -> str | None:
    # Below every instant, since those before the origin are negative.
    latest = np.full(rows.num_rows, np.iinfo(np.int64).min)
    latest_name = np.zeros(rows.num_rows, dtype=np.int64)
    for position, name in enumerate(chain):
        known, instants = ~_is_null(rows, name), _filled(rows, name)
        wrong = known & (instants < latest)
        found = _first(rows, wrong)
        if found is not None:
            earlier = chain[latest_name[int(np.argmax(wrong))]]
            return f"{found}: {name} lies before {earlier}"
        # A null instant is passed over: the next one is held against the last that is known.
        latest = np.where(known, instants, latest)
        latest_name = np.where(known, position, latest_name)
    return None


def _first(rows: pa.Table, wrong: Bools) -> str | None:
    if not wrong.any():
        return None
    position = int(np.argmax(wrong))
    index = rows.column("request_index")[position].as_py()
    repeat = rows.column("repeat")[position].as_py()
    return f"request {index}" if repeat == 1 else f"request {index} of repeat {repeat}"


def _is_null(rows: pa.Table, name: str) -> Bools:
    return rows.column(name).is_null().to_numpy().astype(np.bool_)


def _filled(rows: pa.Table, name: str) -> Int64s:
    filled = cast("pa.ChunkedArray[Any]", pc.fill_null(rows.column(name), pa.scalar(0, pa.int64())))
    return filled.to_numpy().astype(np.int64)
