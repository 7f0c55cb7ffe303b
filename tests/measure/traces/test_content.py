"""The digest of what a traces file holds: the same however the rows are written down."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inferencebench_pipeline.measure.errors import TracesError
from inferencebench_pipeline.measure.traces.content import ContentDigest
from inferencebench_pipeline.measure.traces.reader import open_traces, read_traces
from tests.envelope.measured import traces_bytes

RUN_ID = "0199c2f4-a1b3-7def-8abc-0123456789ab"
TRACES = traces_bytes(RUN_ID)


def content_sha256(data: bytes) -> str:
    traces = open_traces(data)
    digest = ContentDigest(traces.rows)
    for _ in traces.observed(digest.take).chunk_batches():
        pass
    return digest.hexdigest()


def written(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def with_rows(change: Callable[[list[dict[str, Any]]], None]) -> bytes:
    table = read_traces(TRACES)
    rows = table.to_pylist()
    change(rows)
    return written(pa.Table.from_pylist(rows, schema=table.schema))


def with_metadata(**changes: str) -> bytes:
    table = read_traces(TRACES)
    metadata = {**(table.schema.metadata or {})}
    metadata.update(
        {f"inferencebench.{key}".encode(): value.encode() for key, value in changes.items()}
    )
    return written(table.replace_schema_metadata(metadata))


def later(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        for name in row:
            if name.endswith("_ns") and row[name] is not None:
                row[name] += 5_000_000
        for chunk in row["chunks"]:
            chunk["received_ns"] += 5_000_000


def warmed_otherwise(rows: list[dict[str, Any]]) -> None:
    rows[0]["end_ns"] += 1
    rows[0]["chunks"] = rows[0]["chunks"][:-1]


def told_otherwise(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        row["prompt_id"], row["finish_reason"] = "another", "stop"


SAME: dict[str, Callable[[], bytes]] = {
    "the same file": lambda: TRACES,
    "another compression": lambda: written(read_traces(TRACES), compression="zstd"),
    "no compression": lambda: written(read_traces(TRACES), compression="none"),
    "a row group for each row": lambda: written(read_traces(TRACES), row_group_size=1),
    "five rows in a group": lambda: written(read_traces(TRACES), row_group_size=5),
    "without dictionaries": lambda: written(read_traces(TRACES), use_dictionary=False),
    "another run id": lambda: with_metadata(run_id="0199c2f4-a1b3-7def-8abc-0123456789ac"),
    "another origin": lambda: with_metadata(origin_unix_ns="1"),
    "a clock that began before": lambda: with_rows(later),
    "another warm-up": lambda: with_rows(warmed_otherwise),
    "other names of prompts": lambda: with_rows(told_otherwise),
}


@pytest.mark.parametrize("name", SAME)
def test_another_encoding_of_the_same_measurement_has_the_same_digest(name: str) -> None:
    assert content_sha256(SAME[name]()) == content_sha256(TRACES)


def change(name: str, value: Callable[[Any], Any]) -> Callable[[list[dict[str, Any]]], None]:
    def of(rows: list[dict[str, Any]]) -> None:
        rows[3][name] = value(rows[3][name])

    return of


def of_chunk(name: str, value: Any) -> Callable[[list[dict[str, Any]]], None]:
    def of(rows: list[dict[str, Any]]) -> None:
        rows[3]["chunks"][2][name] = value

    return of


OTHER: dict[str, Callable[[list[dict[str, Any]]], None]] = {
    "a nanosecond": change("end_ns", lambda value: value + 1),
    "an answer's tokens": change("completion_tokens", lambda value: value + 1),
    "tokens that nobody counted": change("completion_tokens", lambda _: None),
    "a status": change("http_status", lambda _: None),
    "nought for unknown": change("connected_ns", lambda _: None),
    "a failure": change("error_class", lambda _: "timeout"),
    "a chunk's text": of_chunk("content_chars", 0),
    "a row less": lambda rows: rows.__delitem__(5),
    "a chunk less": lambda rows: rows[3]["chunks"].__delitem__(1),
    "a chunk in another row": lambda rows: rows[4]["chunks"].insert(0, rows[3]["chunks"].pop()),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_another_measurement_has_another_digest(name: str) -> None:
    assert content_sha256(with_rows(OTHER[name])) != content_sha256(TRACES)


def test_two_runs_have_two_digests() -> None:
    digests = {content_sha256(traces_bytes(f"run {number}")) for number in range(20)}
    assert len(digests) == 20


def test_a_file_without_rows_has_one_and_one_that_is_none_is_refused() -> None:
    assert content_sha256(with_rows(lambda rows: rows.clear())) != content_sha256(TRACES)
    with pytest.raises(TracesError):
        content_sha256(b"PAR1")


def test_it_is_the_digest_that_stored_verdicts_have() -> None:
    assert content_sha256(TRACES) == (
        "cd3456609ccba4317674a8e34728f370da5df48720cc6024355f9eecebcd7bc5"
    )


def test_a_digest_without_the_chunks_of_all_rows_is_refused() -> None:
    traces = open_traces(written(read_traces(TRACES), row_group_size=5))
    digest = ContentDigest(traces.rows)
    digest.take(next(traces.chunk_batches()))
    with pytest.raises(ValueError, match="a digest is over all of them"):
        digest.hexdigest()
