"""The traces file: what a reader refuses, and what the validity flags see."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inferencebench_pipeline.files.atomic_writes import StoreError
from inferencebench_pipeline.measure.errors import TracesError
from inferencebench_pipeline.measure.run.trace_writer import (
    SCHEMA,
    TRACES_SCHEMA_VERSION,
    ValidityFlag,
    check_traces,
    open_traces,
    planned_requests,
    read_traces,
    traces_metadata,
)
from inferencebench_pipeline.measure.spec.load import ClosedLoad
from inferencebench_pipeline.measure.spec.workload import Workload
from inferencebench_pipeline.measure.traces.schema import METADATA_PREFIX
from tests.measure.metrics.rows import answered, row

LOAD = ClosedLoad(kind="closed", concurrency=1, requests=2, warmup_requests=1)
METADATA = {
    "traces_schema_version": TRACES_SCHEMA_VERSION,
    "run_id": "01900000-0000-7000-8000-00000000000a",
    "origin_unix_ns": "1700000000000000000",
    "load": LOAD.model_dump_json(),
    "workload": Workload(max_tokens=3).model_dump_json(),
}


def rows() -> list[dict[str, Any]]:
    return [
        answered(index, [10 + index, 20 + index, 30 + index], tokens=3, http_status=200)
        | {"phase": "measured" if index else "warmup"}
        for index in range(3)
    ]


def table(content: list[dict[str, Any]] | None = None, **metadata: str) -> pa.Table:
    pairs = {METADATA_PREFIX + k.encode(): v.encode() for k, v in (METADATA | metadata).items()}
    return pa.Table.from_pylist(
        rows() if content is None else content, schema=SCHEMA.with_metadata(pairs)
    )


def parquet(of: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(of, buffer, compression="zstd")
    return buffer.getvalue()


GOOD = parquet(table())


def flag(content: list[dict[str, Any]], name: str, **metadata: str):
    return {flag.name: flag for flag in check_traces(table(content, **metadata))}[name]


def test_a_good_file_reads_back_with_its_metadata_and_every_flag_holds() -> None:
    found = read_traces(GOOD)
    assert found.to_pylist() == table().to_pylist()
    assert check_traces(found) == check_traces(open_traces(GOOD))
    assert traces_metadata(found)["run_id"] == METADATA["run_id"]
    assert planned_requests(found) == (1, 2)
    judged = {flag.name for flag in check_traces(found) if not flag.ok}
    assert judged == {"enough_samples", "steady"}


@given(st.integers(0, len(GOOD) - 1))
def test_a_truncated_file_is_a_traces_error(size) -> None:
    with pytest.raises(TracesError):
        read_traces(GOOD[:size])


# These made Arrow abort the process, gave rows without chunks, or put a list where a page's header
# has a structure, when they were found.
@example(1758, 5)
@example(2660, 59)
@example(2778, 15)
@example(5061, 73)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_file_with_a_changed_byte_is_read_or_refused_but_never_worse(position, mask) -> None:
    damaged = bytearray(GOOD)
    damaged[position] ^= mask
    try:
        check_traces(read_traces(bytes(damaged)))
    except TracesError:
        return


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" * 100, b"{}", b"\0" * 5000])
def test_what_is_not_parquet_is_a_traces_error(data) -> None:
    with pytest.raises(TracesError, match="not a complete Parquet file"):
        read_traces(data)


def test_another_schema_version_is_refused_by_number() -> None:
    with pytest.raises(TracesError, match="'3'"):
        read_traces(parquet(table(traces_schema_version="3")))
    with pytest.raises(TracesError, match="not given"):
        read_traces(parquet(table().replace_schema_metadata(None)))


def test_missing_and_mistyped_and_unknown_columns_are_named() -> None:
    good = table()
    with pytest.raises(TracesError, match="'sent_ns' is missing"):
        read_traces(parquet(good.drop_columns(["sent_ns"])))
    position = good.schema.get_field_index("attempt")
    changed = good.set_column(position, "attempt", pa.array(["1", "1", "1"]))
    with pytest.raises(TracesError, match="'attempt' is"):
        read_traces(parquet(changed))
    with pytest.raises(TracesError, match="surprise"):
        read_traces(parquet(good.append_column("surprise", pa.array([1, 2, 3]))))


@pytest.mark.parametrize(
    "change",
    [
        {"completion_tokens": -1},
        {"prompt_tokens": 2**41},
        {"sent_ns": -(2**51)},
        {"end_ns": 2**62},
        {"chunks": [dict(received_ns=1, size_bytes=1, content_chars=-3, kernel_stamp=True)]},
    ],
)
def test_numbers_that_no_run_can_leave_are_refused_by_column(change) -> None:
    content = rows()
    content[1] |= change
    with pytest.raises(TracesError, match=next(iter(change))):
        read_traces(parquet(table(content)))


_COUNTS_THREADS = """
import os, sys
from inferencebench_pipeline.measure.run.trace_writer import read_traces
data = sys.stdin.buffer.read()
before = len(os.listdir("/proc/self/task"))
read_traces(data)
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads through /proc")
def test_reading_leaves_no_thread_behind_that_could_abort_the_exit() -> None:
    """Arrow's pools outlive the read; a thread of theirs that wants the GIL at exit aborts."""
    done = subprocess.run(
        [sys.executable, "-c", _COUNTS_THREADS],
        input=GOOD,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert int(done.stdout) == 0


def test_a_file_that_is_not_there_is_a_store_error(tmp_path) -> None:
    with pytest.raises(StoreError, match=r"none\.parquet"):
        read_traces(tmp_path / "none.parquet")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sent_ns": -1}, "sent_ns lies before scheduled_ns"),
        ({"end_ns": 5}, "end_ns lies before last_token_ns"),
        ({"first_token_ns": 5}, "first or last token is not a chunk"),
        ({"first_byte_ns": 12}, "first_token_ns lies before first_byte_ns"),
        ({"connect_started_ns": 4, "connected_ns": 3}, "connected_ns lies before"),
        ({"first_token_ns": None, "last_token_ns": None}, "succeeded without an answer"),
    ],
)
def test_instants_out_of_order_are_an_error(change, said) -> None:
    content = rows()
    content[1] |= change
    found = flag(content, "monotone_times")
    assert (found.ok, found.severity) == (False, "error")
    assert said in found.detail


def test_a_missing_request_is_an_error() -> None:
    assert "planned (1, 2)" in flag(rows()[:2], "requests_complete").detail
    assert "without a gap" in flag([rows()[0], rows()[2]], "requests_complete").detail
    assert not flag(rows(), "requests_complete", load="{}").ok


def test_failures_are_counted_by_class_and_no_success_at_all_is_an_error() -> None:
    content = [rows()[0], row(1, error_class="timeout"), row(2, error_class="http_5xx")]
    assert "1 http_5xx, 1 timeout" in flag(content, "no_failures").detail
    assert not flag(content, "some_success").ok


def test_an_answer_of_another_length_than_asked_for_is_seen() -> None:
    short = Workload(max_tokens=30).model_dump_json()
    assert "3.0 tokens on average" in flag(rows(), "output_length", workload=short).detail
    long = Workload(max_tokens=2).model_dump_json()
    assert "though max_tokens was 2" in flag(rows(), "output_length", workload=long).detail


def test_chunks_that_carry_several_tokens_are_seen() -> None:
    content = rows()
    for changed in content:
        changed["completion_tokens"] = 9
    found = flag(content, "one_token_per_chunk")
    assert not found.ok
    assert "18 tokens came in 6 chunks" in found.detail


def test_late_requests_are_seen() -> None:
    late = [
        answered(index, [9_000_000], sent=5_000_000, tokens=1, scheduled_ns=0)
        | {"phase": "measured" if index else "warmup"}
        for index in range(3)
    ]
    assert "5.000 ms" in flag(late, "dispatch_lateness").detail


def steady_run(
    requests: int = 200, *, ttft: Callable[[int], int] = lambda _: 10_000_000, **fields: Any
) -> list[dict[str, Any]]:
    """One request after another, each of three tokens 0.1 s apart: 0.3 s, and over a minute."""
    rows = []
    for index in range(requests):
        sent = index * 300_000_000
        first = sent + ttft(index)
        times = [first, first + 100_000_000, first + 200_000_000]
        rows.append(answered(index, times, sent=sent, tokens=3, http_status=200) | fields)
    return rows


def flags(content: list[dict[str, Any]]) -> dict[str, ValidityFlag]:
    load = ClosedLoad(kind="closed", concurrency=1, requests=len(content), warmup_requests=0)
    judged = check_traces(table(content, load=load.model_dump_json()))
    return {flag.name: flag for flag in judged}


def test_a_long_even_run_has_every_flag() -> None:
    assert [name for name, flag in flags(steady_run()).items() if not flag.ok] == []


def test_a_run_that_never_settles_is_not_steady() -> None:
    found = flags(steady_run(ttft=lambda index: 50_000_000 + index * 800_000))["steady"]
    assert not found.ok
    assert "TTFT of repeat 1: still settling" in found.detail


def test_few_requests_are_said_to_be_few() -> None:
    assert "63 measured requests" in flags(steady_run(63))["enough_samples"].detail
    assert flags(steady_run(64))["enough_samples"].ok
    repeats = [row | {"repeat": repeat} for repeat in range(1, 6) for row in rows()]
    assert flag(repeats, "enough_samples").ok
    assert not flag(repeats[: 4 * len(rows())], "enough_samples").ok


def test_prompt_tokens_from_the_engines_cache_are_seen() -> None:
    assert flags(steady_run(cached_tokens=1))["not_cached"].ok
    assert "1000 of 1400 prompt tokens" in flags(steady_run(cached_tokens=5))["not_cached"].detail


def test_prompts_answered_faster_the_second_time_are_suspected_of_a_cache() -> None:
    rows = steady_run(ttft=lambda index: 50_000_000 if index < 100 else 9_000_000)
    for index, changed in enumerate(rows):
        changed["prompt_id"] = str(index % 100)
    assert "a cache may have known them" in flags(rows)["not_cached"].detail


def test_token_counts_that_the_tokenizer_does_not_share_are_seen() -> None:
    # The end marks that ignore_eos makes a model go on with have no text.
    assert flags(steady_run(tokenizer_tokens=1))["token_counts_agree"].ok
    found = flags(steady_run(tokenizer_tokens=30))["token_counts_agree"]
    assert "200 of 200 token counts" in found.detail


def test_each_repeat_must_be_whole() -> None:
    content = [row | {"repeat": repeat} for repeat in (1, 2) for row in rows()]
    assert flag(content, "requests_complete").ok
    assert "planned (1, 2)" in flag(content[:-1], "requests_complete").detail
    assert "repeat does not count" in flag(content[3:], "requests_complete").detail


def test_a_file_out_of_order_is_refused() -> None:
    with pytest.raises(TracesError, match="not in the order"):
        read_traces(parquet(table(rows()[::-1])))


def judged_as(content: list[dict[str, Any]], **workload: Any) -> dict[str, ValidityFlag]:
    load = ClosedLoad(kind="closed", concurrency=1, requests=len(content), warmup_requests=0)
    asked = Workload(**({"max_tokens": 3} | workload)).model_dump_json()
    judged = check_traces(table(content, load=load.model_dump_json(), workload=asked))
    return {flag.name: flag for flag in judged}


@pytest.mark.parametrize(
    ("ours", "theirs", "ignore_eos", "agree"),
    [
        (3, 3, True, True),
        (1, 3, True, True),
        (1, 3, False, False),
        (2, 3, False, True),
        (4, 3, False, True),
        (5, 3, False, False),
        (5, 3, True, False),
        (100, 103, False, True),
        (100, 104, False, False),
        (103, 100, True, True),
        (104, 100, True, False),
        # An answer of no token at all is one whose count is known.
        (0, 2, False, False),
        (2, 0, False, False),
        (0, 1, False, True),
    ],
)
def test_token_counts_agree_within_one_and_two_percent(ours, theirs, ignore_eos, agree) -> None:
    rows = steady_run(tokenizer_tokens=ours, completion_tokens=theirs)
    found = judged_as(rows, ignore_eos=ignore_eos, max_tokens=200)["token_counts_agree"]
    assert found.ok == agree
    if not agree:
        said = f"{200 * theirs} against {200 * ours} tokens in all"
        assert found.detail.startswith("200 of 200 token counts")
        assert found.detail.endswith(said)


def test_only_the_answers_that_both_have_counted_are_compared() -> None:
    rows = steady_run(tokenizer_tokens=30)
    for index, each in enumerate(rows):
        if index % 2:
            each["tokenizer_tokens"] = None
        elif index % 4:
            each["completion_tokens"] = None
    assert judged_as(rows)["token_counts_agree"].detail.startswith("50 of 50 token counts")


def test_other_columns_are_not_those_of_the_schema() -> None:
    other = table().rename_columns([name.upper() for name in SCHEMA.names])
    (only,) = check_traces(other)
    assert (only.name, only.ok, only.severity) == ("schema", False, "error")


def test_an_unknown_phase_is_named() -> None:
    content = rows()
    content[1]["phase"] = "cooldown"
    assert flag(content, "requests_complete").detail == "unknown phases ['cooldown']"


@pytest.mark.parametrize("load", ["", "{}", "[]", '{"requests": 2}'])
def test_metadata_that_plans_nothing_is_told(load: str) -> None:
    said = "the metadata does not say how many requests were planned"
    assert flag(rows(), "requests_complete", load=load).detail == said


def test_a_gap_in_the_requests_is_told() -> None:
    content = rows()
    content[2]["request_index"] = 7
    said = "request_index does not count up from 0 without a gap"
    assert flag(content, "requests_complete").detail == said


@pytest.mark.parametrize(
    ("tokens", "workload", "said"),
    [
        (3, {}, None),
        (4, {}, "an answer of 4 tokens, though max_tokens was 3"),
        (2, {}, "2.0 tokens on average, though ignore_eos asked for exactly 3"),
        (2, {"ignore_eos": False}, None),
        (9, {"max_tokens": 10}, None),
        (8, {"max_tokens": 10}, "8.0 tokens on average, though ignore_eos asked for exactly 10"),
    ],
)
def test_answers_are_as_long_as_was_asked_for(tokens, workload, said) -> None:
    found = judged_as(steady_run(completion_tokens=tokens), **workload)["output_length"]
    assert (found.ok, found.detail) == (said is None, said or "as long as was asked for")


def test_a_file_that_does_not_say_what_was_asked_for_cannot_be_held_to_it() -> None:
    said = "the metadata does not say how many tokens were asked for"
    assert flag(rows(), "output_length", workload="{}x").detail == said


@pytest.mark.parametrize(("tokens", "ok"), [(3, True), (30, False), (1, False)])
def test_chunks_of_several_tokens_are_told(tokens: int, ok: bool) -> None:
    found = judged_as(steady_run(completion_tokens=tokens), max_tokens=40)["one_token_per_chunk"]
    assert found.ok == ok
    if not ok:
        assert f"{200 * tokens} tokens came in 600 chunks" in found.detail


def test_a_run_in_which_nothing_succeeded_and_one_with_failures_are_told() -> None:
    failed = [row(k, error_class="timeout", http_status=None) for k in range(3)]
    found = judged_as(failed)
    assert not found["some_success"].ok
    assert found["no_failures"].detail == "3 of 3 measured requests failed: 3 timeout"
    mixed = [*steady_run(2), row(2, error_class="x"), row(3, error_class="b")]
    assert judged_as(mixed)["some_success"].ok
    assert judged_as(mixed)["no_failures"].detail == "2 of 4 measured requests failed: 1 b, 1 x"


def test_arrivals_that_the_kernel_did_not_stamp_are_told() -> None:
    rows = steady_run()
    assert judged_as(rows)["kernel_stamps"].ok
    for each in rows[:3]:
        for chunk in each["chunks"]:
            chunk["kernel_stamp"] = False
    found = judged_as(rows)["kernel_stamps"]
    assert (found.ok, found.detail) == (False, "only 985 of 1000 chunks carry the kernel's stamp")


@pytest.mark.parametrize(
    ("salt", "ok"), [("none", True), ("run", True), ("conversation", True), ("request", False)]
)
def test_a_cache_that_the_spec_chose_is_no_surprise(salt: str, ok: bool) -> None:
    assert judged_as(steady_run(cached_tokens=5), salt=salt)["not_cached"].ok == ok


def test_prompts_that_are_answered_as_fast_again_raise_no_suspicion() -> None:
    rows = steady_run()
    for index, changed in enumerate(rows):
        changed["prompt_id"] = str(index % 100)
    assert judged_as(rows)["not_cached"].ok
