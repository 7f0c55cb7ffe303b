"""A traces file that is small on the disk and without end in memory costs one clear error."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inferencebench_pipeline.measure.traces.schema import CHUNK
from tests.envelope.measured import traces_bytes

ROWS = 20_000
LONG = 10 << 20
ROOM = 3 << 30


def repeated_string() -> bytes:
    """A traces file in which one string of 10 MiB stands 20,000 times: 66 KB, or 200 GB."""
    genuine = pq.read_table(io.BytesIO(traces_bytes("run", rows=4)))
    columns: list[Any] = []
    for name in genuine.schema.names:
        if name == "prompt_id":
            columns.append(
                pa.DictionaryArray.from_arrays(
                    pa.array([0] * ROWS, pa.int32()), pa.array(["x" * LONG])
                )
            )
        elif name == "request_index":
            columns.append(pa.array(range(ROWS), pa.int64()))
        else:
            first = genuine.column(name).combine_chunks().slice(0, 1)
            columns.append(first.take(pa.array([0] * ROWS)))
    fields = [
        field.with_type(column.type) for field, column in zip(genuine.schema, columns, strict=True)
    ]
    table = pa.table(columns, schema=pa.schema(fields))
    file = io.BytesIO()
    with pq.ParquetWriter(
        file,
        table.schema,
        compression="zstd",
        store_schema=False,
        dictionary_pagesize_limit=1 << 30,
    ) as writer:
        writer.write_table(table)
        metadata = genuine.schema.metadata or {}
        writer.add_key_value_metadata(
            {key.decode(): value.decode() for key, value in metadata.items()}
        )
    return file.getvalue()


def front_coded_strings() -> bytes:
    """Long strings, each stated as "the last one again"."""
    genuine = pq.read_table(io.BytesIO(traces_bytes("run", rows=4)))
    position = genuine.schema.get_field_index("prompt_id")
    rows = genuine.slice(0, 1).take(pa.array([0] * 400))
    file = io.BytesIO()
    pq.write_table(
        rows.set_column(position, genuine.schema.field(position), pa.array(["x" * 100_000] * 400)),
        file,
        compression="zstd",
        use_dictionary=cast("Any", ["phase"]),
        column_encoding={"prompt_id": "DELTA_BYTE_ARRAY"},
    )
    return file.getvalue()


def endless_chunks() -> bytes:
    """A traces file in which one request has twenty million equal chunks."""
    count = 20_000_000
    genuine = pq.read_table(io.BytesIO(traces_bytes("run", rows=4)))
    chunks = pa.StructArray.from_arrays(
        [pa.repeat(pa.scalar(0).cast(field.type), count) for field in CHUNK], fields=list(CHUNK)
    )
    position = genuine.schema.get_field_index("chunks")
    lists = pa.ListArray.from_arrays(
        pa.array([0, count], pa.int32()), chunks, type=genuine.schema.field(position).type
    )
    file = io.BytesIO()
    table = genuine.slice(0, 1).set_column(position, genuine.schema.field(position), lists)
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()


READ_IN_LITTLE_ROOM = f"""
import pathlib, resource, sys
from inferencebench_pipeline.measure.errors import TracesError
from inferencebench_pipeline.measure.run.trace_writer import open_traces
resource.setrlimit(resource.RLIMIT_AS, ({ROOM}, {ROOM}))
try:
    open_traces(pathlib.Path(sys.argv[1]).read_bytes())
except TracesError as error:
    print(error)
except BaseException as error:
    print(f"not refused as it should be: {{type(error).__name__}}: {{error}}")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bomb", "expected"),
    [
        (repeated_string, "bytes of text are more than any run leaves"),
        (front_coded_strings, "encoding 7"),
        (endless_chunks, "20000000 values"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bomb_is_refused_before_it_goes_off(
    bomb: Callable[[], bytes], expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "traces.parquet"
    path.write_bytes(bomb())
    assert path.stat().st_size < 1 << 20
    # A process of its own: one forked from a busy test process may have no room left at all.
    command = [sys.executable, "-c", READ_IN_LITTLE_ROOM, str(path)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert expected in said.stdout, said.stdout + said.stderr
