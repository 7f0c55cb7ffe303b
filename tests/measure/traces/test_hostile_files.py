"""Files that follow the format and ask for more work than a run leaves are refused before it.

Work is counted (rows, chunks, row groups, what pages unpack to), never timed:
``benchmarks/traces_verify.py`` measures what a unit of it takes.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inferencebench_pipeline.measure import largest_run
from inferencebench_pipeline.measure.errors import TracesError
from inferencebench_pipeline.measure.largest_run import most_unpacked, most_work, work_of
from inferencebench_pipeline.measure.metrics.compute import compute_metrics
from inferencebench_pipeline.measure.spec.stated_parts import Slo
from inferencebench_pipeline.measure.traces import parquet_bounds, reader
from inferencebench_pipeline.measure.traces.reader import open_traces
from inferencebench_pipeline.measure.traces.schema import CHUNK, METADATA_PREFIX, SCHEMA
from inferencebench_pipeline.measure.traces.schema_history import TRACES_SCHEMA_VERSION
from tests.chance import dice, examples
from tests.measure.metrics.rows import many_rows, table

STATED = SCHEMA.with_metadata(
    {METADATA_PREFIX + b"traces_schema_version": TRACES_SCHEMA_VERSION.encode()}
)
_SLO = Slo(ttft_ms=1.0, tpot_ms=0.05)


def written(of: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(of, file, **{"compression": "zstd"} | options)
    return file.getvalue()


def rows_of(lengths: list[int], *, repeat: list[int] | None = None, seed: int | None = None) -> Any:
    """A table of failed requests with so many chunks each: all equal, or random ones."""
    count, chunks = len(lengths), sum(lengths)
    values = np.zeros(chunks, dtype=np.int64)
    if seed is not None:
        values = np.random.default_rng(seed).integers(0, 2**30, chunks)
    ends: list[int] = [0, *itertools.accumulate(lengths)]
    fields: list[pa.Array[Any]] = [
        pa.array(values),
        *(pa.array(np.zeros(chunks, dtype=np.int32)) for _ in range(2)),
        pa.nulls(chunks, pa.int32()),
        pa.array(np.zeros(chunks, dtype=bool)),
    ]
    chunk_lists = pa.ListArray.from_arrays(
        pa.array(ends, pa.int32()),
        pa.StructArray.from_arrays(fields, fields=list(CHUNK)),
        type=SCHEMA.field("chunks").type,
    )
    columns: dict[str, Any] = {
        "repeat": repeat or [1] * count,
        "request_index": range(count),
        "phase": ["measured"] * count,
        "prompt_id": ["p"] * count,
        "attempt": [1] * count,
        "scheduled_ns": [0] * count,
        "end_ns": [0] * count,
        "token_source": ["missing"] * count,
        "error_class": ["timeout"] * count,
    }
    found = [
        chunk_lists
        if field.name == "chunks"
        else pa.array(columns.get(field.name, [None] * count), field.type)
        for field in SCHEMA
    ]
    return pa.Table.from_arrays(found, schema=STATED)


SHAPES: dict[str, tuple[Callable[[Random], bytes], str]] = {
    "one answer of millions of equal chunks": (
        lambda chance: written(rows_of([chance.randrange(2_000_000, 8_000_000)])),
        "can hold of a run",
    ),
    "a few answers of very many equal chunks": (
        lambda chance: written(rows_of([chance.randrange(400_000, 900_000) for _ in range(8)])),
        "can hold of a run",
    ),
    "more rows than the bytes can hold": (
        lambda chance: written(rows_of([0] * chance.randrange(150_000, 300_000))),
        "can hold of a run",
    ),
    "one answer that is longer than any": (
        lambda chance: written(rows_of([1, 2**20 + chance.randrange(1, 99)], seed=1)),
        "an answer of 1048",
    ),
    "more repeats than a spec can ask for": (
        lambda chance: written(
            rows_of(
                [1] * 200, repeat=sorted([*range(1, 102), *chance.choices(range(1, 101), k=99)])
            )
        ),
        "101 repeats, at most 100",
    ),
    "lists that may be null": (
        lambda _: written(
            rows_of([1, 0, 2]).cast(
                pa.schema(
                    [
                        field.with_nullable(True) if field.name == "chunks" else field
                        for field in SCHEMA
                    ]
                ).with_metadata(STATED.metadata)
            )
        ),
        "column 'chunks' is",
    ),
    "a column for each day of the year": (
        lambda chance: written(
            rows_of([1]).append_column(f"day {chance.randrange(365)}", pa.array([0]))
        ),
        "unknown columns",
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_what_no_run_leaves_is_refused_in_one_sentence(shape: str) -> None:
    make, said = SHAPES[shape]
    data = make(dice(f"hostile {shape}"))
    with pytest.raises(TracesError, match=said):
        for _ in open_traces(data).chunk_batches():
            pass


@pytest.mark.parametrize("seed", range(examples(25)))
def test_no_file_that_is_read_asks_for_more_than_its_size_allows(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of every size around the bound, equal and random, are read within it or refused."""
    chance = dice(f"work {seed}")
    monkeypatch.setattr(largest_run, "_FREE_WORK", 2**14)
    lengths = [
        chance.choice([0, 1, chance.randrange(2_000), chance.randrange(40_000)])
        for _ in range(chance.randrange(1, 300))
    ]
    data = written(
        rows_of(lengths, seed=chance.choice([None, seed])),
        row_group_size=chance.choice([1 + len(lengths) // 7, 1_000]),
    )
    asked = work_of(len(lengths), sum(lengths))
    seen = 0
    try:
        opened = open_traces(data)
        for batch in opened.chunk_batches():
            seen += int(batch.lengths.sum())
    except TracesError as error:
        assert "can hold of a run" in str(error)
        # An empty list counts as one value, so there may be as many more as there are rows.
        assert asked + len(lengths) > most_work(len(data))
    else:
        assert (opened.num_rows, seen) == (len(lengths), sum(lengths))
        assert asked <= most_work(len(data))


def test_row_groups_and_their_columns_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(rows_of([1] * 40), row_group_size=2)
    open_traces(data)
    monkeypatch.setattr(parquet_bounds, "MOST_GROUPS", 19)
    with pytest.raises(TracesError, match="20 row groups are more"):
        open_traces(data)
    monkeypatch.undo()
    monkeypatch.setattr(parquet_bounds, "MOST_PAGES", 20 * 26)
    with pytest.raises(TracesError, match=r"or their columns are \(520\)"):
        open_traces(data)


def test_what_all_pages_unpack_to_is_counted_by_the_size_of_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = written(rows_of([20_000] * 40), row_group_size=4, use_dictionary=False)
    open_traces(data)
    monkeypatch.setattr(largest_run, "_FREE_UNPACKED", 2**20)
    with pytest.raises(TracesError, match=f"unpacks to more than {most_unpacked(len(data))} bytes"):
        open_traces(data)


@pytest.mark.parametrize("name", ["MOST_CHUNKS", "MOST_ROWS"])
def test_no_more_chunks_are_read_than_the_largest_run_leaves(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = written(rows_of([30] * 10, seed=1))
    monkeypatch.setattr(parquet_bounds, name, 299 if name == "MOST_CHUNKS" else 9)
    if name == "MOST_CHUNKS":
        # One value for each of the rows could be an empty list.
        monkeypatch.setattr(parquet_bounds, "MOST_ROWS", 10)
        data = written(rows_of([31] * 10, seed=1))
    with pytest.raises(TracesError, match="than any run leaves"):
        open_traces(data)


def test_chunks_are_counted_while_a_table_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    traces = reader.Traces.of(rows_of([30] * 10))
    monkeypatch.setattr(reader, "MOST_CHUNKS", 299)
    with pytest.raises(TracesError, match="more than 299 chunks"):
        list(traces.chunk_batches())


@pytest.mark.parametrize("together", [1, 7, 100])
def test_metrics_do_not_depend_on_how_many_chunks_are_computed_on_together(
    together: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = table(many_rows(together, (40, 30)))
    expected = compute_metrics(rows, _SLO)
    path = tmp_path / "traces.parquet"
    path.write_bytes(written(rows.cast(STATED), row_group_size=17))
    monkeypatch.setattr(reader, "_BATCH_CHUNKS", together)
    for source in (path, path.read_bytes()):
        assert compute_metrics(open_traces(source), _SLO) == expected


def test_an_empty_file_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "traces.parquet"
    path.touch()
    with pytest.raises(TracesError, match="not a complete Parquet file"):
        open_traces(path)
