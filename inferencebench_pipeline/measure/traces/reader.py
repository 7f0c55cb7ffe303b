"""Reading a traces file that may come from anyone: checked, and row group by row group.

What a metric needs of every chunk is gone through once; nothing here holds all chunks in memory,
unless asked for the whole table.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from inferencebench_pipeline.files import StoreError
from inferencebench_pipeline.measure.errors import TracesError
from inferencebench_pipeline.measure.largest_run import (
    MOST_CHUNKS,
    MOST_CHUNKS_OF_A_ROW,
    MOST_REPEATS,
    MOST_TEXT_BYTES,
)
from inferencebench_pipeline.measure.traces.parquet_bounds import (
    ParquetDamagedError,
    ParquetTooLargeError,
    check_bounds,
)
from inferencebench_pipeline.measure.traces.schema import (
    CHUNK,
    SCHEMA,
    SCHEMAS,
    TRACES_SCHEMA_VERSION,
    TracesInfo,
    completed,
    completed_chunks,
    schema_version,
    traces_metadata,
)
from inferencebench_pipeline.measure.version_numbers import is_later_version

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_BATCH_CHUNKS: Final = 2**18
"""The chunks that are computed on together, but for those of a single longer answer."""
_MOST_NS: Final = 2**50
"""Thirteen days: longer than the longest run a spec allows, and safe to multiply in int64."""
_MOST_COUNT: Final = 2**40

ROW_COLUMNS: Final = [name for name in SCHEMA.names if name != "chunks"]


@dataclass(frozen=True)
class ChunkBatch:
    """The chunks of some successive rows, in order."""

    first_row: int
    lengths: Int64s
    """The number of chunks of each row."""
    _flat: pa.StructArray

    @classmethod
    def empty(cls) -> ChunkBatch:
        """Return the chunks of no row at all."""
        flat = pa.array([], type=CHUNK)
        return cls(0, np.zeros(0, dtype=np.int64), cast("pa.StructArray", flat))

    @cached_property
    def row(self) -> Int64s:
        """The row of every chunk."""
        rows = np.arange(self.first_row, self.first_row + len(self.lengths), dtype=np.int64)
        return np.repeat(rows, self.lengths)

    @cached_property
    def received_ns(self) -> Int64s:
        """The arrival of each chunk, in nanoseconds."""
        return self._field("received_ns").astype(np.int64)

    @cached_property
    def has_text(self) -> Bools:
        """The chunks that hold generated text."""
        return self._field("content_chars") > 0

    @cached_property
    def kernel_stamp(self) -> Bools:
        """The chunks that the kernel stamped."""
        return self._field("kernel_stamp").astype(np.bool_)

    @cached_property
    def tokens(self) -> Int64s:
        """The engine's count of each, or -1 where it gave none."""
        counts = self._flat.field("tokens").fill_null(cast("Any", -1))
        return counts.to_numpy(zero_copy_only=False).astype(np.int64)

    def _field(self, name: str) -> npt.NDArray[Any]:
        return self._flat.field(name).to_numpy(zero_copy_only=False)


class Traces:
    """Traces whose rows are at hand and whose chunks come in batches, from a file or a table."""

    def __init__(
        self,
        rows: pa.Table,
        chunks: pq.ParquetFile | pa.ChunkedArray[Any],
        where: str,
        observer: Callable[[ChunkBatch], None] = lambda _: None,
    ) -> None:
        self.rows = rows
        """Every column but the chunks, in the order of repeat and request."""
        self._chunks = chunks
        self._where = where
        self._observer = observer

    @classmethod
    def of(cls, traces: Traces | pa.Table) -> Traces:
        """Return ``traces``, or those of a table that fits in memory, brought into order."""
        if isinstance(traces, Traces):
            return traces
        table = traces
        if not _in_order(table):
            table = table.sort_by([("repeat", "ascending"), ("request_index", "ascending")])
        return cls(table.select(ROW_COLUMNS), table.column("chunks"), "the table")

    def observed(self, observer: Callable[[ChunkBatch], None]) -> Traces:
        """Return these traces, of which ``observer`` gets each batch of chunks before its reader.

        To read the chunks is most of the work, which two who need them so do once.
        """
        return Traces(self.rows, self._chunks, self._where, observer)

    @property
    def metadata(self) -> dict[str, str]:
        """The statements of the file's metadata about its run, by their keys."""
        return traces_metadata(self.rows)

    @property
    def num_rows(self) -> int:
        """The number of requests, failed ones included."""
        return self.rows.num_rows

    @property
    def most_chunks(self) -> int:
        """The number of chunks, and one for each request without any."""
        if isinstance(self._chunks, pa.ChunkedArray):
            return len(self._chunks) + sum(len(lists.flatten()) for lists in self._lists())
        footer = self._chunks.metadata
        groups = (footer.row_group(number) for number in range(footer.num_row_groups))
        return sum(group.column(group.num_columns - 1).num_values for group in groups)

    @property
    def schema_version(self) -> str:
        """The version of the schema that the file says it has; empty where it says none."""
        return schema_version(self.rows.schema)

    def table(self) -> pa.Table:
        """Return everything as one table, for a few requests or much memory."""
        columns = [*self.rows.columns, pa.chunked_array(self._lists(), type=SCHEMA.field(-1).type)]
        return pa.table(columns, schema=SCHEMA.with_metadata(self.rows.schema.metadata))

    def chunk_batches(self) -> Iterator[ChunkBatch]:
        """Yield the chunks of all rows in order, some rows at a time.

        Raises:
            TracesError: the file is damaged, or holds numbers that no run can leave.
        """
        first_row = chunks = 0
        for lists in self._lists():
            flat = cast("pa.StructArray", lists.flatten())
            lengths = lists.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
            chunks += len(flat)
            if chunks > MOST_CHUNKS:
                raise TracesError(f"{self._where}: more than {MOST_CHUNKS} chunks")
            longest = int(lengths.max(initial=0))
            if longest > MOST_CHUNKS_OF_A_ROW:
                raise TracesError(
                    f"{self._where}: an answer of {longest} chunks, at most {MOST_CHUNKS_OF_A_ROW}"
                )
            for start, stop, begin, end in _batches(lengths):
                part = flat.slice(begin, end - begin)
                batch = ChunkBatch(first_row + start, lengths[start:stop], part)
                self._observer(batch)
                yield batch
            first_row += len(lists)

    def _lists(self) -> Iterator[pa.ListArray[Any]]:
        if isinstance(self._chunks, pa.ChunkedArray):
            yield from cast("list[pa.ListArray[Any]]", self._chunks.chunks)
            return
        for group in range(self._chunks.num_row_groups):
            table = _read_group(self._chunks, group, ["chunks"], self._where)
            if table.num_rows != self._chunks.metadata.row_group(group).num_rows:
                raise TracesError(f"{self._where}: row group {group} lacks the chunks of some rows")
            lists = table.column("chunks").combine_chunks()
            whole = completed_chunks(cast("pa.ListArray[Any]", lists))
            _check_chunks(whole, self._where)
            yield whole


def _batches(lengths: Int64s) -> Iterator[tuple[int, int, int, int]]:
    """Yield the rows that are computed on together, and their chunks: first, and after the last."""
    ends = np.cumsum(lengths)
    start = begin = 0
    while start < len(lengths):
        stop = max(start + 1, int(np.searchsorted(ends, begin + _BATCH_CHUNKS, side="right")))
        end = int(ends[stop - 1])
        yield start, stop, begin, end
        start, begin = stop, end


def open_traces(source: Path | bytes, *, named: str | None = None) -> Traces:
    """Return the traces in a file, which may come from anyone; its rows are checked here.

    A file of an earlier schema is checked against that one, and read into the newest.

    Args:
        source: the file or its bytes.
        named: what errors call it, when its path says nothing to a reader.

    Raises:
        TracesError: it is truncated, not Parquet, larger than any run leaves, of a schema version
            that is not known, or does not follow the schema.
        StoreError: the file cannot be read.
    """
    where = named or ("the traces" if isinstance(source, bytes) else str(source))
    try:
        _check_size(source, where)
        # Neither mapped nor read whole: what is mapped counts as the process's memory while it is
        # looked at, and a file may exceed the memory. Its row groups are read in turn.
        handle = (
            pa.BufferReader(source) if isinstance(source, bytes) else pa.OSFile(str(source), "r")
        )
    except OSError as error:
        raise StoreError(f"cannot read {where}: {error}") from error
    # Neither a Python file object nor Arrow's pools: an I/O thread of Arrow's lets go of what it
    # read from after the read has returned, and one that needs the interpreter's lock for that
    # while the interpreter exits aborts the process ("terminate called without an active
    # exception"), after all work was done.
    try:
        file = pq.ParquetFile(handle, pre_buffer=False)
        schema = file.schema_arrow
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise _damaged(where, error) from error
    expected = _checked_schema(schema, where)
    # Before the rows are read, which unpacks every string.
    _check_strings(handle, expected, where)
    names = [name for name in expected.names if name != "chunks"]
    groups = [_read_group(file, group, names, where) for group in range(file.num_row_groups)]
    empty = expected.with_metadata(schema.metadata).empty_table().select(names)
    rows = completed(pa.concat_tables(groups) if groups else empty)
    _check_integers({name: rows.column(name) for name in ROW_COLUMNS}, where)
    if not _in_order(rows):
        raise TracesError(f"{where}: the rows are not in the order of repeat and request_index")
    repeats = pc.count_distinct(rows.column("repeat")).as_py()
    if repeats > MOST_REPEATS:
        raise TracesError(f"{where}: {repeats} repeats, at most {MOST_REPEATS}")
    return Traces(rows, file, where)


def read_traces(source: Path | bytes) -> pa.Table:
    """Return a traces file as one table: for a notebook, and for few requests.

    Raises:
        TracesError: as :func:`open_traces`.
        StoreError: the file cannot be read.
    """
    return open_traces(source).table()


def traces_info(source: Path | bytes, traces: Traces | pa.Table) -> TracesInfo:
    """Return the values that identify the traces file ``source``, which ``traces`` was read from.

    Raises:
        StoreError: the file cannot be read.
    """
    if isinstance(source, bytes):
        digest, size = hashlib.sha256(source), len(source)
    else:
        try:
            with source.open("rb") as handle:
                digest, size = hashlib.file_digest(handle, "sha256"), handle.tell()
        except OSError as error:
            raise StoreError(f"cannot read {source}: {error.strerror or error}") from error
    return TracesInfo(
        sha256=digest.hexdigest(),
        rows=traces.num_rows,
        size_bytes=size,
        schema_version=schema_version(
            (traces.rows if isinstance(traces, Traces) else traces).schema
        ),
    )


def _damaged(where: str, error: Exception) -> TracesError:
    return TracesError(
        f"{where}: not a complete Parquet file ({error}); write or download it again"
    )


def _read_group(file: pq.ParquetFile, group: int, columns: list[str], where: str) -> pa.Table:
    try:
        table = file.read_row_group(group, columns=columns, use_threads=False)
        # Arrow believes offsets and UTF-8 of a file until it is told to look.
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise _damaged(where, error) from error
    return table


def _in_order(rows: pa.Table) -> bool:
    repeat = rows.column("repeat").to_numpy().astype(np.int64)
    index = rows.column("request_index").to_numpy()
    later = (np.diff(repeat) > 0) | ((np.diff(repeat) == 0) & (np.diff(index) >= 0))
    return bool(later.all())


def _check_size(source: Path | bytes, where: str) -> None:
    """Refuse what is small in the file and without end in memory, before anything is decoded.

    Raises:
        TracesError: it is refused.
        OSError: the file cannot be read.
    """
    try:
        if isinstance(source, bytes):
            check_bounds(source)
            return
        with source.open("rb") as file:
            # Nothing is no file of Parquet, and cannot be mapped. What is mapped is closed with the
            # last view into it, which an error may hold.
            empty = not os.fstat(file.fileno()).st_size
            check_bounds(b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except ParquetTooLargeError as error:
        raise TracesError(f"{where}: {error}") from error
    except ParquetDamagedError as error:
        raise _damaged(where, error) from error


def _check_strings(handle: pa.NativeFile, schema: pa.Schema, where: str) -> None:
    """Refuse strings that are few and short in the file and without end in memory.

    A dictionary of one long string and a run of references to it is a few kilobytes, and gigabytes
    once decoded. Read as dictionaries they cost what they are in the file.
    """
    strings = [field.name for field in schema if pa.types.is_string(field.type)]
    try:
        file = pq.ParquetFile(handle, pre_buffer=False, read_dictionary=strings)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise _damaged(where, error) from error
    size = 0
    for number in range(file.num_row_groups):
        group = _read_group(file, number, strings, where)
        size += sum(_decoded_bytes(column) for column in group.columns)
        if size > MOST_TEXT_BYTES:
            raise TracesError(
                f"{where}: {size} bytes of text are more than any run leaves ({MOST_TEXT_BYTES})"
            )


def _decoded_bytes(column: pa.ChunkedArray[Any]) -> int:
    size = 0
    for chunk in cast("list[pa.DictionaryArray[Any, Any]]", column.chunks):
        words = cast("pa.StringArray", chunk.dictionary)
        lengths = pc.binary_length(words).to_numpy(zero_copy_only=False)
        used = chunk.indices.drop_null().to_numpy(zero_copy_only=False)
        counts = np.bincount(used, minlength=len(lengths))
        size += int((counts * lengths.astype(np.int64)).sum())
    return size


def _checked_schema(schema: pa.Schema, where: str) -> pa.Schema:
    """Return the schema of the version that a file says it has, which it must follow."""
    version = schema_version(schema)
    known = SCHEMAS.get(version)
    if known is None:
        later = (
            "; a newer release reads it" if is_later_version(version, TRACES_SCHEMA_VERSION) else ""
        )
        raise TracesError(
            f"{where}: traces schema version is {version or 'not given'!r}, this reader knows "
            f"{', '.join(map(repr, SCHEMAS))}{later}"
        )
    for expected in known:
        position = schema.get_field_index(expected.name)
        if position < 0:
            raise TracesError(f"{where}: column {expected.name!r} is missing")
        found = schema.field(position)
        if not found.equals(expected):
            raise TracesError(f"{where}: column {expected.name!r} is {found}, not {expected}")
    if len(schema) != len(known):
        extra = sorted(set(schema.names) - set(known.names))
        raise TracesError(f"{where}: unknown columns {extra}")
    return known


def _check_chunks(lists: pa.ListArray[Any], where: str) -> None:
    flat = cast("pa.StructArray", lists.flatten())
    _check_integers({f"chunks.{name}": flat.field(name) for name in CHUNK.names}, where)


def _check_integers(columns: dict[str, Any], where: str) -> None:
    """Refuse numbers that no run can leave, before any arithmetic meets them."""
    for name, values in columns.items():
        if not pa.types.is_integer(values.type):
            continue
        low = -_MOST_NS if name.endswith("_ns") else 0
        high = _MOST_NS if name.endswith("_ns") else _MOST_COUNT
        bounds = pc.min_max(values)
        least, most = bounds["min"].as_py(), bounds["max"].as_py()
        if least is not None and most is not None and not low <= least <= most <= high:
            raise TracesError(
                f"{where}: column {name!r} runs from {least} to {most}, outside {low} to {high}"
            )
