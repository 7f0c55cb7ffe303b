"""What a Parquet file would take in memory is known, and bounded, before it is decoded."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inferencebench_pipeline.measure.largest_run import MOST_ROWS
from inferencebench_pipeline.measure.traces import parquet_bounds
from inferencebench_pipeline.measure.traces.parquet_bounds import (
    ParquetDamagedError,
    ParquetTooLargeError,
    check_bounds,
)
from tests.chance import dice, examples

NUMBERS = list(range(1000))


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, **options)
    return file.getvalue()


def split(data: bytes) -> tuple[bytes, bytes]:
    """The pages, and the footer with what follows it."""
    size = int.from_bytes(data[-8:-4], "little") + 8
    return data[:-size], data[-size:]


def varint(value: int) -> bytes:
    """A number as the footer holds it."""
    value <<= 1
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "none"},
        {"compression": "gzip", "row_group_size": 100},
        {"compression": "zstd", "data_page_version": "2.0", "use_dictionary": False},
        {"write_page_index": True, "write_page_checksum": True},
        {"data_page_size": 64, "write_batch_size": 16, "store_schema": False},
        {"column_encoding": {"a": "DELTA_BINARY_PACKED"}, "use_dictionary": ["s"]},
    ],
    ids=repr,
)
def test_what_writers_write_is_within_bounds(options: dict[str, Any]) -> None:
    nested = [[{"x": n}] * (n % 4) for n in NUMBERS]
    texts = [f"text {n % 7}" for n in NUMBERS]

    check_bounds(parquet({"a": NUMBERS, "s": texts, "n": nested, "z": [None] * 1000}, **options))


def test_a_file_without_rows_is_within_bounds() -> None:
    check_bounds(parquet({"a": pa.array([], pa.int64())}))


def test_one_page_that_unpacks_to_too_much_is_refused() -> None:
    data = parquet({"s": ["x" * (parquet_bounds.MOST_PAGE_BYTES + 1)]}, compression="zstd")

    assert len(data) < 1 << 20
    with pytest.raises(ParquetTooLargeError, match="the page at byte"):
        check_bounds(data)


def test_many_pages_that_unpack_to_too_much_together_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = parquet({"a": NUMBERS, "b": NUMBERS}, data_page_size=64, write_batch_size=16)
    check_bounds(data)

    monkeypatch.setattr(parquet_bounds, "MOST_GROUP_BYTES", 8000)
    with pytest.raises(ParquetTooLargeError, match="row group 0 unpacks"):
        check_bounds(data)


def test_values_that_take_no_bytes_in_the_file_are_counted() -> None:
    count = parquet_bounds.MOST_GROUP_VALUES + 1
    lists = pa.ListArray.from_arrays(
        pa.array([0, count], pa.int32()),
        pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int8()), pa.array([7])).cast(
            pa.int64()
        ),
    )
    data = parquet({"n": lists}, compression="zstd", dictionary_pagesize_limit=1 << 20)

    assert len(data) < 1 << 20
    with pytest.raises(ParquetTooLargeError, match=f"{count} values"):
        check_bounds(data)


def test_too_many_rows_are_refused() -> None:
    rows = MOST_ROWS + 1

    with pytest.raises(ParquetTooLargeError, match=f"{rows} rows"):
        check_bounds(parquet({"a": pa.nulls(rows, pa.int8())}, row_group_size=1 << 20))


def test_strings_stated_as_changes_of_each_other_are_refused() -> None:
    data = parquet(
        {"s": ["x" * 10_000] * 1000},
        use_dictionary=False,
        column_encoding={"s": "DELTA_BYTE_ARRAY"},
        compression="none",
    )

    assert len(data) < 100_000
    with pytest.raises(ParquetTooLargeError, match="encoding 7"):
        check_bounds(data)


def test_a_footer_that_describes_other_pages_is_refused() -> None:
    pages, _ = split(parquet({"a": NUMBERS}, compression="none", use_dictionary=False))
    for other in (NUMBERS[:-1], NUMBERS * 100, [0]):
        _, footer = split(parquet({"a": other}, compression="none", use_dictionary=False))
        with pytest.raises(ParquetDamagedError):
            check_bounds(pages + footer)


def test_columns_that_lie_over_each_other_are_refused() -> None:
    """One column's bytes, decoded as often as there are columns that point at them."""
    few = NUMBERS[:100]
    data = parquet({"a": few, "b": few, "c": few}, use_dictionary=False)
    group = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0)
    second, third = (group.column(n).data_page_offset for n in (1, 2))
    assert len(varint(second)) == len(varint(third)) > 1
    pages, footer = split(data)
    assert varint(third) in footer
    lying = pages + footer.replace(varint(third), varint(second))
    assert pq.read_table(io.BytesIO(lying)).column("c").to_pylist() == few

    with pytest.raises(ParquetDamagedError, match="over each other"):
        check_bounds(lying)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1PAR1", b"PAR1" * 100, b"\0" * 5000])
def test_what_is_not_parquet_is_refused(data: bytes) -> None:
    with pytest.raises(ParquetDamagedError):
        check_bounds(data)


def test_damage_anywhere_has_no_other_consequence_than_refusal() -> None:
    data = parquet({"a": NUMBERS[:50], "s": ["x", "y"] * 25, "n": [[1, 2]] * 50})
    rolls = dice("damage to a Parquet file")
    refused = 0
    for _ in range(examples(5000)):
        damaged = bytearray(data)
        for _ in range(rolls.choice([1, 1, 4])):
            damaged[rolls.randrange(len(data))] = rolls.randrange(256)
        try:
            check_bounds(
                bytes(damaged[: rolls.choice([len(data), len(data), rolls.randrange(len(data))])])
            )
        except (ParquetDamagedError, ParquetTooLargeError):
            refused += 1
    assert refused > examples(2000)
