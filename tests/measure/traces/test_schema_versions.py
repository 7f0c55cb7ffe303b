"""Traces by version: a file of an earlier schema is read into the newest one, and still checked."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inferencebench_pipeline.measure.errors import TracesError
from inferencebench_pipeline.measure.traces.reader import open_traces, read_traces, traces_info
from inferencebench_pipeline.measure.traces.schema import METADATA_PREFIX, SCHEMA, SCHEMAS
from inferencebench_pipeline.measure.traces.schema_history import (
    TRACES_SCHEMA_HISTORY,
    TRACES_SCHEMA_VERSION,
)
from tests.measure.metrics.rows import answered, row
from tests.paths import REPOSITORY
from tests.records import GOLDEN, published_meanings
from tools.golden_records import columns_of

FIRST = GOLDEN / "0.1.0-definitions-1-traces-1/traces.parquet"


@pytest.mark.parametrize("version", SCHEMAS)
def test_a_published_schema_never_changes(version: str) -> None:
    published = published_meanings("columns").get(version)
    assert published is not None, "python -m tools.golden_records keeps the columns of this version"
    assert columns_of(SCHEMAS[version]) == published, (
        f"the columns of schema {version} are not those that were published. A column that is new "
        "needs a further line of TRACES_SCHEMA_HISTORY, and its version in `_SINCE`"
    )


def test_versions_count_from_one_and_the_newest_is_what_is_written() -> None:
    numbers = [each.number for each in TRACES_SCHEMA_HISTORY]
    assert numbers == list(range(1, len(numbers) + 1))
    assert list(SCHEMAS) == [str(number) for number in numbers]
    assert SCHEMAS[TRACES_SCHEMA_VERSION].equals(SCHEMA)
    text = (REPOSITORY / "docs/traces.md").read_text()
    for each in TRACES_SCHEMA_HISTORY:
        assert f"| {each.number} | {each.began_with} |" in " ".join(text.split())


def file_of(version: str, rows: list[dict[str, Any]], *, labelled: str | None = None) -> bytes:
    """A file with the columns of one version, that says another where ``labelled`` does."""
    label = {METADATA_PREFIX + b"traces_schema_version": (labelled or version).encode()}
    names = SCHEMAS[version].names
    cut = [{name: each.get(name) for name in names} for each in rows]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(cut, schema=SCHEMAS[version].with_metadata(label)), buffer)
    return buffer.getvalue()


ROWS = [
    answered(0, [900, 1500], tokens=2, told_tokens=[1, 1], cached_tokens=3),
    row(1, error_class="timeout"),
    answered(2, [1900], tokens=1),
]


@pytest.mark.parametrize("version", SCHEMAS)
def test_a_file_of_any_version_is_read_into_the_newest(version: str) -> None:
    traces = open_traces(file_of(version, ROWS))
    assert traces.schema_version == version
    whole = traces.table()
    assert whole.schema.equals(SCHEMA)
    whole.validate(full=True)
    for name in SCHEMAS[version].names:
        if name != "chunks":
            assert whole.column(name).to_pylist() == [each.get(name) for each in ROWS]
    chunks: list[Any] = whole.column("chunks").to_pylist()
    assert [len(each) for each in chunks] == [len(each["chunks"]) for each in ROWS]
    assert chunks[0][1]["received_ns"] == 900


def test_what_the_first_schema_did_not_record_is_null_and_its_run_one_repeat() -> None:
    whole = open_traces(file_of("1", ROWS)).table()
    assert whole.column("repeat").to_pylist() == [1, 1, 1]
    for name in ("cached_tokens", "tokenizer_tokens"):
        assert whole.column(name).null_count == len(ROWS)
    lists: list[Any] = whole.column("chunks").to_pylist()
    chunks = [chunk for each in lists for chunk in each]
    assert {chunk["tokens"] for chunk in chunks} == {None}


def test_a_file_that_was_written_by_the_first_release_is_read() -> None:
    traces = open_traces(FIRST)
    assert (traces.num_rows, traces.schema_version) == (27, "1")
    assert traces.table().schema.equals(SCHEMA)
    assert traces_info(FIRST, traces).schema_version == "1"
    assert traces_info(FIRST.read_bytes(), read_traces(FIRST)).schema_version == "1"


def test_an_empty_file_of_the_first_schema_has_every_column() -> None:
    assert open_traces(file_of("1", [])).table().schema.equals(SCHEMA)


@pytest.mark.parametrize(
    ("version", "labelled", "said"),
    [
        ("2", "1", "column 'chunks' is"),
        ("1", "2", "column 'repeat' is missing"),
        ("2", "99", "'99', this reader knows '1', '2'.*; a newer release reads it"),
        ("2", "0", "knows '1', '2'[^;]*$"),
        ("2", "two", "knows '1', '2'[^;]*$"),
    ],
)
def test_the_columns_are_those_of_the_version_that_the_file_says(
    version: str, labelled: str, said: str
) -> None:
    with pytest.raises(TracesError, match=said):
        open_traces(file_of(version, ROWS, labelled=labelled))


def test_the_numbers_of_an_earlier_schema_have_the_same_bounds() -> None:
    late = answered(0, [2**51], tokens=1)
    with pytest.raises(TracesError, match="outside"):
        open_traces(file_of("1", [late]))
    inside = answered(0, [900], tokens=1)
    inside["chunks"][1]["received_ns"] = 2**51
    with pytest.raises(TracesError, match=r"chunks\.received_ns"):
        open_traces(file_of("1", [inside])).table()
