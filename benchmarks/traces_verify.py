"""CPU time and memory of the checks on traces files: of the largest run, and of what costs most.

Each file is checked in a process of its own, as a verdict checks it: the digest, the bounds, the
reading, every metric again, and, with --content, the digest of the content that the pass over the
corpus keeps. The kernel reports the CPU time and the peak resident memory. The largest run is a
million requests of 128 tokens, each with two chunks without text. The other shapes are legal files
that take much work, and files that are refused.

    python benchmarks/traces_verify.py [--requests 1000000] [--folder DIRECTORY] [--shapes NAME ...]
        [--content]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from inferencebench_pipeline.measure.errors import TracesError
from inferencebench_pipeline.measure.metrics.compute import compute_metrics
from inferencebench_pipeline.measure.run.trace_writer import open_traces
from inferencebench_pipeline.measure.spec.load import ClosedLoad
from inferencebench_pipeline.measure.spec.stated_parts import Slo
from inferencebench_pipeline.measure.spec.workload import Workload
from inferencebench_pipeline.measure.traces.content import ContentDigest
from inferencebench_pipeline.measure.traces.schema import (
    CHUNK,
    METADATA_PREFIX,
    SCHEMA,
    TRACES_SCHEMA_VERSION,
)
from inferencebench_pipeline.trust.verify.traces_checks import sealed

_SLO: Final = Slo(ttft_ms=100.0, tpot_ms=25.0)
_GROUP_ROWS: Final = 2_000
_INSTANTS: Final = [
    *(field.name for field in SCHEMA if pa.types.is_int64(field.type)),
    *(f"chunks.list.element.{name}" for name in ("received_ns", "size_bytes")),
]
_REPEATING: Final = [
    *(field.name for field in SCHEMA if pa.types.is_string(field.type)),
    *(f"chunks.list.element.{name}" for name in ("content_chars", "tokens")),
]
Gaps = Callable[[np.random.Generator, int, int], "np.ndarray[Any, np.dtype[np.int64]]"]


def real(random: np.random.Generator, rows: int, chunks: int) -> Any:  # noqa: ANN401
    """Gaps as an engine leaves them: 20 ms with jitter, and longer before the first."""
    gaps = random.normal(20e6, 2e6, (rows, chunks)).astype(np.int64)
    gaps[:, 0] = 50_000_000 + random.exponential(2e7, rows).astype(np.int64)
    return gaps


def late(random: np.random.Generator, rows: int, chunks: int) -> Any:  # noqa: ANN401
    """Gaps that miss most deadlines of the objective."""
    return real(random, rows, chunks) + 10_000_000


def long(random: np.random.Generator, rows: int, chunks: int) -> Any:  # noqa: ANN401
    """Gaps of which one in twenty does not fit into 32 bits."""
    gaps = real(random, rows, chunks)
    gaps[:, ::20] += 2**32
    return gaps


def late_and_long(random: np.random.Generator, rows: int, chunks: int) -> Any:  # noqa: ANN401
    """Gaps that miss every deadline, of which one in sixteen does not fit into 32 bits."""
    gaps = late(random, rows, chunks)
    gaps[:, ::16] += 2**32
    return gaps


def equal(random: np.random.Generator, rows: int, chunks: int) -> Any:  # noqa: ANN401, ARG001
    """Gaps that take no bytes in the file."""
    return np.full((rows, chunks), 1_000, dtype=np.int64)


def write(
    path: Path,
    rows: int,
    chunks: int,
    gaps_of: Gaps,
    group_rows: int = _GROUP_ROWS,
    *,
    repeats: int = 1,
    told: bool = False,
) -> None:
    """Write a traces file, with the encodings that a run's writer chooses.

    Args:
        path: the file.
        rows: how many requests.
        chunks: how many chunks each has.
        gaps_of: their gaps in nanoseconds.
        group_rows: the rows of a row group.
        repeats: how many repeats the rows are shared among.
        told: whether the engine told the tokens of each chunk.
    """
    load = ClosedLoad(
        kind="closed", concurrency=64, requests=min(max(rows, 1), 10**6), warmup_requests=0
    )
    metadata = {
        "traces_schema_version": TRACES_SCHEMA_VERSION,
        "run_id": "01900000-0000-7000-8000-00000000000a",
        "origin_unix_ns": "1700000000000000000",
        "load": load.model_dump_json(),
        "workload": Workload(max_tokens=min(max(chunks - 2, 1), 10**6)).model_dump_json(),
    }
    schema = SCHEMA.with_metadata(
        {METADATA_PREFIX + key.encode(): value.encode() for key, value in metadata.items()}
    )
    random = np.random.default_rng(1)
    with pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=_REPEATING,  # type: ignore[arg-type] # a list of names
        column_encoding=dict.fromkeys(_INSTANTS, "DELTA_BINARY_PACKED"),
    ) as writer:
        for first in range(0, rows, group_rows):
            count = min(group_rows, rows - first)
            table = _table(schema, random, first, count, chunks, gaps_of, told=told)
            repeat = np.arange(first, first + count) * repeats // max(rows, 1) + 1
            writer.write_table(table.set_column(0, schema.field(0), pa.array(repeat, pa.int16())))


def _table(
    schema: pa.Schema,
    random: np.random.Generator,
    first: int,
    rows: int,
    chunks: int,
    gaps_of: Gaps,
    *,
    told: bool,
) -> pa.Table:
    index = np.arange(first, first + rows, dtype=np.int64)
    due = index * 2_500_000
    ends = np.arange(0, rows * chunks + 1, max(chunks, 1), dtype=np.int32)[: rows + 1]
    if not chunks:
        ends = np.zeros(rows + 1, dtype=np.int32)
    times = due[:, None] + np.cumsum(gaps_of(random, rows, chunks), axis=1) if chunks else None
    most_chars = 2 if gaps_of is equal else 9
    chars = random.integers(1, most_chars, (rows, chunks)).astype(np.int32)
    chars[:, [0, -1][: min(chunks, 2)]] = 0
    fields = [
        pa.array(np.zeros(0, np.int64) if times is None else times.ravel()),
        pa.array((210 + chars).ravel().astype(np.int32)),
        pa.array(chars.ravel()),
        pa.array((chars > 0).ravel().astype(np.int32))
        if told
        else pa.nulls(rows * chunks, pa.int32()),
        pa.array(np.ones(rows * chunks, dtype=bool)),
    ]
    offsets: pa.Int32Array = pa.array(ends, pa.int32())
    lists = pa.ListArray.from_arrays(
        offsets,
        pa.StructArray.from_arrays(fields, fields=list(CHUNK)),
        type=SCHEMA.field("chunks").type,
    )
    answered = times is not None and chunks > 2
    columns: dict[str, Any] = {
        "repeat": np.ones(rows, dtype=np.int16),
        "request_index": index,
        "phase": ["measured"] * rows,
        "prompt_id": [f"p{number % 1000}" for number in index],
        "attempt": np.ones(rows, dtype=np.int32),
        "scheduled_ns": due,
        "sent_ns": due + 20_000,
        "first_token_ns": times[:, 1] if answered and times is not None else None,
        "last_token_ns": times[:, -2] if answered and times is not None else None,
        "end_ns": times[:, -1] + 10_000 if times is not None else due + 30_000,
        "prompt_tokens": np.full(rows, 64),
        "completion_tokens": np.full(rows, max(chunks - 2, 0)),
        "token_source": ["engine_usage"] * rows,
        "error_class": None if answered else ["timeout"] * rows,
        "chunks": lists,
    }
    arrays = [
        pa.nulls(rows, field.type)
        if columns.get(field.name) is None
        else columns[field.name]
        if field.name == "chunks"
        else pa.array(columns[field.name], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


SHAPES: Final[dict[str, Callable[[Path, int], None]]] = {
    "largest run": lambda path, requests: write(path, requests, 130, real),
    "every token late": lambda path, requests: write(path, requests, 130, late),
    "one gap in 20 over 4.3 s": lambda path, requests: write(path, requests, 130, long),
    "all of these, in 100 repeats": lambda path, requests: write(
        path, requests, 130, late_and_long, repeats=100, told=True
    ),
    "of all requests there may be": lambda path, requests: write(
        path, requests * 5 // 4, 107, late_and_long, repeats=100, told=True
    ),
    "with one row in a group": lambda path, requests: write(
        path, requests * 130 // 2**16, 2**16, late_and_long, group_rows=1, repeats=100, told=True
    ),
    "answers of a million": lambda path, requests: write(
        path, max(requests * 130 // 2**20, 1), 2**20, real, group_rows=1
    ),
    "requests without answers": lambda path, requests: write(
        path, requests * 5 // 4, 0, real, group_rows=2**16
    ),
    "seven million chunks in a row": lambda path, _: write(path, 1, 7_000_000, equal),
    "eight rows of 50,000": lambda path, _: write(path, 8, 50_000, equal, group_rows=1),
    "five million rows": lambda path, _: write(path, 5_000_000, 0, equal, group_rows=2**16),
}


def check(path: Path, *, with_content: bool) -> dict[str, Any]:
    """Return what checking the file took."""
    try:
        with sealed(path) as (_, content):
            traces = open_traces(content)
            digest = ContentDigest(traces.rows)
            watched = traces.observed(digest.take) if with_content else traces
            metrics = compute_metrics(watched, _SLO)
            of_content = f", content {digest.hexdigest()[:12]}" if with_content else ""
        found = json.dumps({key: metric.model_dump() for key, metric in metrics.items()})
        said = f"metrics {hashlib.sha256(found.encode()).hexdigest()[:12]}{of_content}"
    except TracesError as error:
        said = f"refused: {error}"
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mib": used.ru_maxrss / 1024,
        "said": said,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--content", action="store_true", help="take the content's digest as well")
    parser.add_argument("--check", type=Path, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--write", type=Path, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.check:
        print(json.dumps(check(arguments.check, with_content=arguments.content)))
        return 0
    if arguments.write:
        SHAPES[arguments.shapes[0]](arguments.write, arguments.requests)
        return 0
    print(f"{'shape':>30} {'file KiB':>10} {'CPU-s':>7} {'peak MiB':>9}")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for name in arguments.shapes:
            path = Path(folder) / "traces.parquet"
            this = [sys.executable, __file__]
            # A process begins with the peak of the one that started it, so this one stays small.
            size = ["--requests", str(arguments.requests)]
            subprocess.run([*this, "--write", str(path), "--shapes", name, *size], check=True)
            command = [*this, "--check", str(path), *(["--content"] if arguments.content else [])]
            began = time.perf_counter()
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            found = json.loads(done.stdout)
            print(
                f"{name:>30} {path.stat().st_size / 1024:>10,.0f} {found['cpu_s']:>7.1f} "
                f"{found['peak_mib']:>9,.0f}  {found['said']} "
                f"({time.perf_counter() - began:.0f} s)"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
