"""Engines that break every rule: a row with its error class, never a hang, never a wrong number."""

from __future__ import annotations

import time

import pytest

from inferencebench_pipeline.measure.metrics.compute import compute_metrics
from inferencebench_pipeline.measure.run.trace_writer import check_traces, read_traces
from inferencebench_pipeline.measure.spec.stated_parts import Slo
from inferencebench_pipeline.runs.run_directory import RunFile
from tests.measure.fake_engine import Behaviour
from tests.measure.support import measured_rows, spec_for

GOOD = Behaviour()
REQUEST_S = 1.0
DEADLINES = {"request_s": REQUEST_S, "run_s": 30, "engine_start_s": 20}


@pytest.mark.parametrize(
    ("fault", "error_class", "status", "said"),
    [
        ("half_headers", "timeout", None, "within 1 s"),
        ("half_headers_then_close", "closed_mid_stream", None, "headers"),
        ("drip", "timeout", 200, "within 1 s"),
        ("endless", "timeout", 200, "within 1 s"),
        ("bad_chunk", "malformed_stream", 200, "not HTTP"),
        ("binary", "malformed_stream", 200, "not an event stream"),
    ],
)
def test_an_answer_that_never_becomes_one_is_a_row_with_its_error_class(
    fake, run, fault, error_class, status, said
) -> None:
    engine = fake(GOOD, Behaviour(fault=fault, itl_s=0.01), GOOD)
    began = time.monotonic()
    rows = measured_rows(spec_for(engine.base_url, deadlines=DEADLINES), run)
    assert time.monotonic() - began < DEADLINES["run_s"]
    assert [row["error_class"] for row in rows] == [None, error_class, None]
    assert rows[1]["http_status"] == status
    assert said in rows[1]["error_detail"]
    assert rows[1]["end_ns"] - rows[1]["scheduled_ns"] >= 0
    table = read_traces(run.file(RunFile.TRACES))
    assert not [flag for flag in check_traces(table) if not flag.ok and flag.severity == "error"]
    metrics = compute_metrics(table, Slo())
    assert metrics["requests_failed"].value == 1
    assert metrics["output_tokens"].value == 10  # of the two that were answered


def test_an_endless_stream_counts_for_nothing_but_what_was_seen(fake, run) -> None:
    engine = fake(GOOD, Behaviour(fault="endless", itl_s=0.01), GOOD)
    row = measured_rows(spec_for(engine.base_url, deadlines=DEADLINES), run)[1]
    assert row["completion_tokens"] is None
    assert row["token_source"] == "missing"
    assert row["end_ns"] - row["sent_ns"] >= REQUEST_S * 1e9
    assert len(row["chunks"]) > 5


def test_every_request_failing_in_turn_leaves_the_others_their_pace(fake, run) -> None:
    """One stream that hangs must not hold up those beside it."""
    engine = fake(Behaviour(fault="drip"), GOOD)
    load = {"kind": "closed", "concurrency": 2, "requests": 8, "warmup_requests": 0}
    rows = measured_rows(spec_for(engine.base_url, load=load, deadlines=DEADLINES), run)
    measured = [row for row in rows if row["phase"] == "measured"]
    assert [row["error_class"] for row in measured] == ["timeout"] + [None] * 7
    assert max(row["end_ns"] for row in measured[1:]) < measured[0]["end_ns"]
