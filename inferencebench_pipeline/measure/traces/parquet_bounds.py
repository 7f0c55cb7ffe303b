"""The cost of decoding a Parquet file, counted from its page headers before it is decoded.

A footer may state any size, and a reader that believes it, or the header of a page, asks for that
much memory. So every page is visited here: the pages of a column must fill the column's bytes
exactly, no column may lie over another, and what they say they unpack to is summed up and bounded.
Arrow unpacks no page beyond the size in its header. Nothing is unpacked here.

Source: apache/parquet-format src/main/thrift/parquet.thrift, Encodings.md.
"""

from __future__ import annotations

import itertools
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from inferencebench_pipeline.measure.largest_run import (
    MOST_CHUNKS,
    MOST_ROWS,
    most_unpacked,
    most_work,
    work_of,
)
from inferencebench_pipeline.measure.traces.thrift import Struct, ThriftError, read_struct

MOST_FOOTER_BYTES: Final = 2**22
"""The largest run leaves 1.4 MB."""
MOST_GROUPS: Final = 2**11
"""The row groups: a writer ends one at 2^18 chunks or 2^16 rows, so the largest run leaves 530."""
MOST_PAGE_BYTES: Final = 2**26
"""Unpacked. Writers aim at one MiB; a single long string makes a larger one."""
MOST_GROUP_BYTES: Final = 2**29
"""Unpacked, all columns of a row group together: what one read holds in memory."""
MOST_GROUP_VALUES: Final = 2**23
"""The most values in one column of a row group. Repeated values take no bytes in a page, but do in
memory."""
MOST_PAGES: Final = 2**17
"""The pages, and the columns of all row groups: the largest run leaves 40,000."""

_MAGIC: Final = b"PAR1"
# PageType of parquet.thrift.
_DATA, _INDEX, _DICTIONARY, _DATA_V2 = range(4)
_ENCODINGS: Final = frozenset({0, 2, 3, 5, 8, 9})
"""Plain, dictionary, run lengths, deltas of numbers, split bytes. Not strings as changes of the
last one: that is any number of long ones in a few bytes."""


class ParquetDamagedError(ValueError):
    """The file is not whole, or contradicts itself."""


class ParquetTooLargeError(ValueError):
    """Decoding the file would take more memory than is granted."""


@dataclass(frozen=True)
class _Column:
    """The pages of one column in one row group, as the footer describes them."""

    start: int
    end: int
    values: int
    unpacked_bytes: int


def check_bounds(data: bytes | memoryview | mmap.mmap) -> None:
    """Refuse a Parquet file whose decoding would take more memory than is granted.

    Args:
        data: the whole file; only its footer and its page headers are looked at.

    Raises:
        ParquetTooLargeError: one of the limits of this module is passed.
        ParquetDamagedError: the file is not whole, or its parts contradict each other.
    """
    try:
        _check(memoryview(data).cast("B"))
    except (ThriftError, LookupError, TypeError, AttributeError) as error:
        raise ParquetDamagedError(f"its metadata is damaged: {error}") from error


def _check(data: memoryview) -> None:
    footer = _footer(data)
    # FileMetaData: 3 is num_rows, and 4 the row groups, whose own fields are columns and num_rows.
    groups: list[Struct] = footer[4]
    rows = sum(group[3] for group in groups)
    if rows != footer[3] or any(group[3] < 0 for group in groups):
        raise ParquetDamagedError(f"its row groups have {rows} rows, its footer says {footer[3]}")
    if len(groups) > MOST_GROUPS or sum(len(group[1]) for group in groups) > MOST_PAGES:
        raise ParquetTooLargeError(
            f"{len(groups)} row groups are more than any run leaves ({MOST_GROUPS}), or their "
            f"columns are ({MOST_PAGES})"
        )
    columns_of = [[_column(stored, len(data)) for stored in group[1]] for group in groups]
    _check_work(rows, columns_of, len(data))
    pages = whole = 0
    most = most_unpacked(len(data))
    used: list[tuple[int, int]] = []
    for number, columns in enumerate(columns_of):
        used += [(column.start, column.end) for column in columns]
        unpacked = 0
        for column in columns:
            for size in _page_sizes(data, column):
                unpacked += size
                whole += size
                pages += 1
                if whole > most:
                    raise ParquetTooLargeError(
                        f"a file of {len(data)} bytes unpacks to more than {most} bytes, which no "
                        "run leaves"
                    )
                if unpacked > MOST_GROUP_BYTES or pages > MOST_PAGES:
                    raise ParquetTooLargeError(
                        f"row group {number} unpacks to more than {MOST_GROUP_BYTES} bytes, or "
                        f"there are more than {MOST_PAGES} pages: more than any run leaves"
                    )
    used.sort()
    if any(end > start for (_, end), (start, _) in itertools.pairwise(used)):
        raise ParquetDamagedError("two of its columns lie over each other")


def _check_work(rows: int, columns_of: list[list[_Column]], file_bytes: int) -> None:
    """Refuse more rows or chunks than a run, or a file of this size, can have.

    A list has a value for each chunk and one if it is empty, so no column has fewer than there are
    chunks. The pages are held to what the footer says of them.
    """
    if rows > MOST_ROWS:
        raise ParquetTooLargeError(f"{rows} rows are more than any run leaves ({MOST_ROWS})")
    values = sum(max((each.values for each in columns), default=0) for columns in columns_of)
    if values > MOST_CHUNKS + MOST_ROWS:
        raise ParquetTooLargeError(
            f"{values} values in a column are more chunks than any run leaves ({MOST_CHUNKS})"
        )
    work, most = work_of(rows, values), most_work(file_bytes)
    if work > most:
        raise ParquetTooLargeError(
            f"{rows} rows and {values} values in a column are more than a file of {file_bytes} "
            f"bytes can hold of a run ({work} units of work, at most {most})"
        )


def _footer(data: memoryview) -> Struct:
    # Both magic words and the length of the footer are 12 bytes.
    if len(data) < 12 or bytes(data[:4]) != _MAGIC or bytes(data[-4:]) != _MAGIC:
        raise ParquetDamagedError("it does not begin and end as a Parquet file does")
    size = int.from_bytes(data[-8:-4], "little")
    if size > len(data) - 12:
        raise ParquetDamagedError(f"its footer is said to have {size} bytes")
    if size > MOST_FOOTER_BYTES:
        raise ParquetTooLargeError(f"its footer has {size} bytes, at most {MOST_FOOTER_BYTES}")
    footer, _ = read_struct(data[len(data) - 8 - size : len(data) - 8], 0)
    return footer


def _column(stored: Struct, file_bytes: int) -> _Column:
    # ColumnChunk: 8 and 9 are there when it is encrypted, 3 is its ColumnMetaData.
    if 8 in stored or 9 in stored:
        raise ParquetDamagedError("it has an encrypted column")
    described: Struct = stored[3]
    # ColumnMetaData: 5 is num_values, 6 and 7 are the bytes unpacked and packed, 9 and 11 the
    # offsets of the first data page and of the dictionary.
    if described[5] == 0:
        return _Column(0, 0, 0, 0)  # no page of it is read, wherever it is said to lie
    start: int = described[9]
    # The dictionary lies before the data that refers to it, and 0 stands for none.
    if 0 < described.get(11, 0) < start:
        start = described[11]
    end = start + described[7]
    if not len(_MAGIC) <= start <= end <= file_bytes:
        raise ParquetDamagedError(f"a column is said to lie from byte {start} to {end}")
    if described[5] > MOST_GROUP_VALUES:
        raise ParquetTooLargeError(
            f"{described[5]} values in a column of a row group are more than any run leaves "
            f"({MOST_GROUP_VALUES})"
        )
    return _Column(start, end, described[5], described[6])


def _page_sizes(data: memoryview, column: _Column) -> Iterator[int]:
    """Yield what each page of a column unpacks to, with the values that are in no page's bytes.

    Raises:
        ParquetTooLargeError: a page unpacks to too much.
        ParquetDamagedError: the pages are not what the footer describes.
    """
    here = data[: column.end]
    at, values, unpacked = column.start, 0, 0
    while at < column.end:
        header, body = read_struct(here, at)
        # PageHeader: 1 is the type, 2 and 3 are the bytes of the page unpacked and packed.
        size, packed = header[2], header[3]
        if not 0 <= packed <= column.end - body or size < 0:
            raise ParquetDamagedError(
                f"the page at byte {at} is said to have {packed} bytes and unpack to {size}"
            )
        if size > MOST_PAGE_BYTES:
            raise ParquetTooLargeError(
                f"the page at byte {at} unpacks to {size} bytes, more than any run leaves "
                f"({MOST_PAGE_BYTES})"
            )
        values += _values(header, size)
        # The footer counts the headers of pages among the unpacked bytes.
        unpacked += size + body - at
        at = body + packed
        yield size
    if (values, unpacked) != (column.values, column.unpacked_bytes):
        raise ParquetDamagedError(
            f"a column is said to have {column.values} values in {column.unpacked_bytes} bytes, "
            f"its pages have {values} in {unpacked}"
        )


def _values(header: Struct, size: int) -> int:
    """Return the number of values that a page adds to its column."""
    kind = header[1]
    if kind == _INDEX:
        return 0
    described: dict[int, Any] = header[{_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}[kind]]
    # In each of these headers 1 is num_values. The encoding is 2, or 4 in the newer data page.
    count: int = described[1]
    if count < 0:
        raise ParquetDamagedError(f"a page is said to have {count} values")
    if kind == _DICTIONARY:
        # Plain: a value takes a bit at least.
        if count > 8 * size:
            raise ParquetDamagedError(
                f"a dictionary of {size} bytes is said to have {count} values"
            )
        return 0
    encoding = described[4 if kind == _DATA_V2 else 2]
    if encoding not in _ENCODINGS:
        raise ParquetTooLargeError(f"a page is in encoding {encoding}, whose size is in no header")
    return count
