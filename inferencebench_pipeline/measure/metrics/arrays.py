"""The traces as arrays: every row's columns, and what one pass over all chunks leaves of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from inferencebench_pipeline.measure.errors import TracesError
from inferencebench_pipeline.measure.largest_run import MOST_LONG_GAPS
from inferencebench_pipeline.measure.metric_definitions import ERROR_CLASSES
from inferencebench_pipeline.measure.metrics.fluidity import Deadlines, missed_and_set
from inferencebench_pipeline.measure.metrics.statistics.packed_integers import PackedIntegers
from inferencebench_pipeline.measure.metrics.window_energy import NO_TELEMETRY, WindowEnergy
from inferencebench_pipeline.measure.spec.stated_parts import Slo
from inferencebench_pipeline.measure.traces.reader import ChunkBatch, Traces
from inferencebench_pipeline.measure.traces.schema import traces_metadata

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

BINS: Final = 400
"""The number of equal parts of each measured window, which show how a rate varied in it."""


@dataclass(frozen=True)
class Rows:
    """The columns of the rows; a null instant or count is -1 beside a mask."""

    repeat: Int64s
    measured: Bools
    succeeded: Bools
    scheduled: Int64s
    sent: Int64s
    first_token: Int64s
    last_token: Int64s
    end: Int64s
    has_tokens: Bools
    prompt_tokens: Int64s
    output_tokens: Int64s
    failure_class: npt.NDArray[np.object_]
    """The error class, or ``other`` for one without a rate of its own; of failed rows only."""

    @classmethod
    def of(cls, table: pa.Table) -> Rows:
        """Return the columns of ``table``, which needs none of the chunks."""
        # A file of anybody may claim a success without an answer, whose instants would be -1.
        answered = ~_is_null(table, "first_token_ns") & ~_is_null(table, "sent_ns")
        return cls(
            repeat=_int64s(table, "repeat"),
            measured=np.asarray(pc.equal(table.column("phase"), pa.scalar("measured"))).astype(
                bool
            ),
            succeeded=_is_null(table, "error_class") & answered,
            scheduled=_int64s(table, "scheduled_ns"),
            sent=_int64s(table, "sent_ns"),
            first_token=_int64s(table, "first_token_ns"),
            last_token=_int64s(table, "last_token_ns"),
            end=_int64s(table, "end_ns"),
            has_tokens=~_is_null(table, "completion_tokens") & ~_is_null(table, "prompt_tokens"),
            prompt_tokens=_int64s(table, "prompt_tokens"),
            output_tokens=_int64s(table, "completion_tokens"),
            failure_class=_failure_classes(table),
        )

    def __len__(self) -> int:
        return len(self.repeat)

    @property
    def good(self) -> Bools:
        """Measured and succeeded: the requests that latencies are taken of."""
        return self.measured & self.succeeded

    @property
    def tpot_ps(self) -> Int64s:
        """TPOT of every row, in picoseconds; meaningful where ``has_tpot``."""
        span = (self.last_token - self.first_token) * 1000
        # Rows without a TPOT divide by 1 here, and are masked by `has_tpot`.
        return span // np.maximum(self.output_tokens - 1, 1)

    @property
    def has_tpot(self) -> Bools:
        """The rows that succeeded with two tokens or more."""
        return self.succeeded & self.has_tokens & (self.output_tokens >= 2)

    def meets(self, slo: Slo) -> Bools:
        """Return which rows succeeded within every bound of the SLO."""
        meets = self.succeeded.copy()
        if slo.ttft_ms is not None:
            # From the schedule: waiting in a client that is late counts (coordinated omission).
            meets &= (self.first_token - self.scheduled) <= slo.ttft_ms * 10**6
        if slo.tpot_ms is not None:
            single = self.has_tokens & (self.output_tokens == 1)
            meets &= single | (self.has_tpot & (self.tpot_ps <= slo.tpot_ms * 10**9))
        return meets

    def part(self, start: int, stop: int) -> Rows:
        """Return some successive rows."""
        return replace(
            self, **{field.name: getattr(self, field.name)[start:stop] for field in fields(self)}
        )


@dataclass(frozen=True)
class Windows:
    """The measured window of each repeat, cut into :data:`BINS` equal parts."""

    start: Int64s
    length: Int64s
    """The length in nanoseconds; 0 for a repeat without a measured request."""

    @classmethod
    def of(cls, rows: Rows, bounds: list[tuple[int, int]]) -> Windows:
        """Return the windows of the repeats, whose rows ``bounds`` gives."""
        starts, lengths = [], []
        for begin, stop in bounds:
            measured = rows.measured[begin:stop]
            some = bool(measured.any())
            start = int(rows.scheduled[begin:stop][measured].min()) if some else 0
            end = int(rows.end[begin:stop][measured].max()) if some else 0
            starts.append(start)
            lengths.append(max(end - start, 0))
        return cls(np.array(starts, dtype=np.int64), np.array(lengths, dtype=np.int64))

    @property
    def bin_ns(self) -> Int64s:
        """The length of each part in nanoseconds, an array of repeats by parts."""
        # In whole nanoseconds: parts may differ by one, and together they are exactly the window.
        edges = self.length[:, None] * np.arange(BINS + 1) // BINS
        return np.diff(edges, axis=1)

    def totals(self, repeat: Int64s, instants: Int64s, amounts: Int64s | None = None) -> Int64s:
        """Return the total amount in each part, an array of repeats by parts.

        Args:
            repeat: position of the repeat that each event belongs to.
            instants: when it happened; the start of a window is not in it, its end is.
            amounts: how much each is worth, 1 when None.
        """
        # Of one repeat, as most batches are, by one number, which divides ten times as fast.
        one = len(repeat) > 0 and bool((repeat == repeat[0]).all())
        of = repeat[0] if one else repeat
        after = instants - self.start[of]
        inside = (after > 0) & (after <= self.length[of])
        repeat, after = repeat[inside], after[inside]
        # The first part whose end, rounded down, is not before the instant.
        part = (after * BINS - 1) // (max(self.length[of], 1) if one else self.length[repeat])
        weights = None if amounts is None else amounts[inside].astype(np.float64)
        count = len(self.start) * BINS
        # Float sums of whole numbers below 2^53 are exact.
        sums = np.bincount(repeat * BINS + part, weights=weights, minlength=count)
        return sums.astype(np.int64).reshape(-1, BINS)

    def part(self, position: int) -> Windows:
        """Return the window of one repeat."""
        here = slice(position, position + 1)
        return Windows(self.start[here], self.length[here])


@dataclass(frozen=True)
class TraceArrays:
    """Everything the metrics are computed from. Rows are in the order of repeat and request."""

    rows: Rows
    bounds: list[tuple[int, int]]
    """First row, and the row after the last, of each repeat."""
    windows: Windows
    gaps: PackedIntegers
    """Gaps between text chunks of good requests in ns, request after request."""
    gap_counts: Int64s
    """The number of gaps of each row."""
    tokens: Int64s
    """Output tokens that arrived in each part of each window."""
    missed_deadlines: Int64s
    """The missed deadlines of each row; all 0 where the SLO sets none."""
    deadlines: Int64s
    energy: tuple[WindowEnergy, ...]
    """The energy of each repeat's window."""

    @classmethod
    def of(cls, traces: Traces, slo: Slo) -> TraceArrays:
        """Return the arrays of ``traces`` after one pass over their chunks.

        Raises:
            TracesError: the file they come from is damaged.
        """
        rows = Rows.of(traces.rows)
        bounds = _bounds(rows.repeat)
        windows = Windows.of(rows, bounds)
        chunk_pass = _ChunkPass(rows, bounds, windows, Deadlines.of(slo), traces.most_chunks)
        for batch in traces.chunk_batches():
            chunk_pass.take(batch)
        return cls(
            rows,
            bounds,
            windows,
            chunk_pass.gaps,
            chunk_pass.gap_counts,
            chunk_pass.tokens,
            chunk_pass.missed,
            chunk_pass.deadlines,
            _energy(traces.rows, len(bounds)),
        )

    def repeats(self) -> Iterator[TraceArrays]:
        """Yield each repeat as if it were all there is."""
        ends = np.concatenate(([0], np.cumsum(self.gap_counts)))
        for position, (start, stop) in enumerate(self.bounds):
            yield TraceArrays(
                self.rows.part(start, stop),
                [(0, stop - start)],
                self.windows.part(position),
                self.gaps.part(int(ends[start]), int(ends[stop])),
                self.gap_counts[start:stop],
                self.tokens[position : position + 1],
                self.missed_deadlines[start:stop],
                self.deadlines[start:stop],
                self.energy[position : position + 1],
            )

    @property
    def repeat_position(self) -> Int64s:
        """The position of its repeat for every row."""
        counts = [stop - start for start, stop in self.bounds]
        return np.repeat(np.arange(len(self.bounds), dtype=np.int64), counts)


class _ChunkPass:
    """The sums that are kept of the chunks while they go by."""

    def __init__(
        self,
        rows: Rows,
        bounds: list[tuple[int, int]],
        windows: Windows,
        deadlines: Deadlines | None,
        most_chunks: int,
    ) -> None:
        self._rows = rows
        self._good = rows.good
        self._usable = rows.succeeded & rows.has_tokens
        self._windows = windows
        self._slo_deadlines = deadlines
        self._position = np.repeat(
            np.arange(len(bounds), dtype=np.int64), [stop - start for start, stop in bounds]
        )
        self.gaps = PackedIntegers.empty(most_chunks)
        self.gap_counts = np.zeros(len(rows), dtype=np.int64)
        self.tokens = np.zeros((len(bounds), BINS), dtype=np.int64)
        self.missed = np.zeros(len(rows), dtype=np.int64)
        self.deadlines = np.zeros(len(rows), dtype=np.int64)

    def take(self, batch: ChunkBatch) -> None:
        row, received = batch.row[batch.has_text], batch.received_ns[batch.has_text]
        here = slice(batch.first_row, batch.first_row + len(batch.lengths))
        local = row - batch.first_row
        lengths = np.bincount(local, minlength=len(batch.lengths)).astype(np.int64)
        good = self._good[here]
        pooled = (local[1:] == local[:-1]) & good[local[1:]]
        self.gaps.append(np.diff(received)[pooled])
        if self.gaps.long_numbers > MOST_LONG_GAPS:
            raise TracesError(
                f"more than {MOST_LONG_GAPS} gaps between chunks are negative or longer than "
                "4.29 s, more than any run leaves"
            )
        self.gap_counts[here] = np.where(good, np.maximum(lengths - 1, 0), 0)
        tokens = chunk_tokens(batch.tokens[batch.has_text], lengths, self._rows.output_tokens[here])
        # Of every phase: whatever arrived in the window is the engine's output in it.
        usable = self._usable[here][local]
        self.tokens += self._windows.totals(
            self._position[row[usable]], received[usable], tokens[usable]
        )
        if self._slo_deadlines is not None:
            self.missed[here], self.deadlines[here] = missed_and_set(
                received, tokens, lengths, self._rows.scheduled[here], self._slo_deadlines
            )


def chunk_tokens(told: Int64s, lengths: Int64s, output_tokens: Int64s) -> Int64s:
    """Return the number of tokens of each text chunk.

    As the engine told, where it did so for all chunks of a request and they add up; otherwise each
    chunk carries an equal share of the request's tokens, cumulatively rounded down.

    Args:
        told: the engine's count per text chunk, -1 where it gave none.
        lengths: text chunks of each request.
        output_tokens: tokens of each request, -1 where unknown (its chunks then carry 0).
    """
    if not len(told):
        return told
    ends, some = np.cumsum(lengths), lengths > 0
    starts = ends - lengths
    request = np.repeat(np.arange(len(lengths)), lengths)
    until = np.arange(1, len(told) + 1) - starts[request]
    until *= np.maximum(output_tokens, 0)[request]
    until //= lengths[request]
    shared = np.diff(until, prepend=np.int64(0))
    # Before the first chunk of a request stands the last one of another.
    shared[starts[some]] = until[starts[some]]
    if told.max() < 0:
        return shared
    believed = np.zeros(len(lengths), dtype=np.bool_)
    least = np.minimum.reduceat(told, starts[some])
    believed[some] = (least >= 0) & (np.add.reduceat(told, starts[some]) == output_tokens[some])
    return np.where(believed[request], told, shared)


def _failure_classes(table: pa.Table) -> npt.NDArray[np.object_]:
    column = table.column("error_class")
    known = pc.is_in(column, value_set=pa.array(ERROR_CLASSES))
    named = cast("pa.ChunkedArray[Any]", pc.if_else(known, column, pa.scalar("other")))
    return np.asarray(named, np.object_)


def _bounds(repeat: Int64s) -> list[tuple[int, int]]:
    edges = [0, *(np.flatnonzero(np.diff(repeat)) + 1).tolist(), len(repeat)]
    return list(itertools.pairwise(edges)) if len(repeat) else []


def _energy(rows: pa.Table, repeats: int) -> tuple[WindowEnergy, ...]:
    """Return the energy of each repeat as the file's metadata states it."""
    try:
        stated = orjson.loads(traces_metadata(rows)["energy"])
        energy = tuple(WindowEnergy.model_validate(each) for each in stated)
    except (KeyError, TypeError, ValueError, ValidationError):
        # What the metadata does not state properly was not measured.
        return (NO_TELEMETRY,) * repeats
    return energy if len(energy) == repeats else (NO_TELEMETRY,) * repeats


def _int64s(table: pa.Table, column: str) -> Int64s:
    values = table.column(column).cast(pa.int64())
    filled = cast("pa.ChunkedArray[Any]", pc.fill_null(values, pa.scalar(-1, pa.int64())))
    return filled.to_numpy().astype(np.int64)


def _is_null(table: pa.Table, column: str) -> Bools:
    return np.asarray(table.column(column).is_null(), np.bool_)
