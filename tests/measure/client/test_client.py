"""What the client makes of engines that behave, and of those that do not."""

from __future__ import annotations

import pytest

from inferencebench_pipeline.measure.metrics.compute import compute_metrics
from inferencebench_pipeline.measure.run.run import run_benchmark
from inferencebench_pipeline.measure.run.trace_writer import check_traces, read_traces
from inferencebench_pipeline.measure.spec.stated_parts import Slo
from inferencebench_pipeline.runs.run_directory import RunFile
from inferencebench_pipeline.settings import origin_of
from tests.measure.fake_engine import Behaviour
from tests.measure.support import measured_rows, spec_for

GOOD = Behaviour()
QUICK = {"request_s": 1.0, "run_s": 60, "engine_start_s": 20}


def test_a_well_behaved_stream_becomes_a_complete_row(fake, run) -> None:
    engine = fake()
    rows = measured_rows(spec_for(engine.base_url), run)
    assert [row["request_index"] for row in rows] == [0, 1, 2]
    for row, truth in zip(rows, engine.truths, strict=True):
        assert row["error_class"] is None
        assert (row["http_status"], row["finish_reason"]) == (200, "length")
        assert (row["prompt_tokens"], row["completion_tokens"]) == (9, 5)
        assert row["token_source"] == "engine_usage"
        assert row["attempt"] == 1
        text = [chunk for chunk in row["chunks"] if chunk["content_chars"] > 0]
        assert len(text) == len(truth.token_ns) == 5
        assert len(row["chunks"]) == 5 + 3  # role, finish reason, usage
        assert row["first_token_ns"] == text[0]["received_ns"]
        assert row["last_token_ns"] == text[-1]["received_ns"]
        assert row["scheduled_ns"] <= row["sent_ns"] <= row["first_byte_ns"]
        assert row["first_byte_ns"] <= row["first_token_ns"] <= row["last_token_ns"]
        assert row["last_token_ns"] <= row["end_ns"]


def test_the_role_chunk_is_not_the_first_token(fake, run) -> None:
    engine = fake(Behaviour(ttft_s=0.2))
    for row in measured_rows(spec_for(engine.base_url), run):
        role, first = row["chunks"][:2]
        assert role["content_chars"] == 0
        assert first["content_chars"] > 0
        assert row["first_token_ns"] == first["received_ns"] > role["received_ns"]
        assert row["first_token_ns"] - row["sent_ns"] >= 200_000_000


def test_every_request_is_salted_asks_for_usage_and_is_measured_once(fake, run) -> None:
    engine = fake()
    measured_rows(spec_for(engine.base_url), run)
    prompts = [truth.body["messages"][0]["content"] for truth in engine.truths]
    assert len({prompt[:11] for prompt in prompts}) == len(prompts)
    for truth in engine.truths:
        assert truth.body["stream"] is True
        assert truth.body["stream_options"] == {"include_usage": True}
        assert truth.body["ignore_eos"] is True
        assert truth.body["model"] == "fake"


@pytest.mark.parametrize(
    ("behaviour", "error_class", "status", "said"),
    [
        (Behaviour(status=429), "http_4xx", 429, "scripted"),
        (Behaviour(status=500), "http_5xx", 500, "scripted"),
        (Behaviour(fault="close_mid_stream"), "closed_mid_stream", 200, "broke off after 3"),
        (
            Behaviour(fault="close_mid_stream", framing="until_close"),
            "closed_mid_stream",
            200,
            "broke off",
        ),
        (Behaviour(fault="reset_mid_stream"), "connection_reset", 200, "reset"),
        (Behaviour(fault="garbage"), "malformed_stream", 200, "not JSON"),
        (Behaviour(fault="not_http"), "malformed_stream", None, "not HTTP"),
        (Behaviour(fault="json_answer"), "malformed_stream", 200, "not an event stream"),
        (Behaviour(fault="error_event"), "engine_error", 200, "slot lost"),
        (Behaviour(fault="no_content"), "no_content", 200, "without generated text"),
        (Behaviour(fault="never_ends"), "timeout", 200, "within 1 s"),
        (Behaviour(fault="silent"), "timeout", None, "within 1 s"),
    ],
    ids=lambda value: value.fault if isinstance(value, Behaviour) else None,
)
def test_a_misbehaving_answer_is_a_row_with_its_error_class(
    fake, run, behaviour, error_class, status, said
) -> None:
    engine = fake(GOOD, behaviour, GOOD)
    rows = measured_rows(spec_for(engine.base_url, deadlines=QUICK), run)
    assert [row["error_class"] for row in rows] == [None, error_class, None]
    assert rows[1]["http_status"] == status
    assert said in rows[1]["error_detail"]
    assert len(engine.truths) == 3  # nothing was retried behind our back
    table = read_traces(run.file(RunFile.TRACES))
    assert not [flag for flag in check_traces(table) if not flag.ok and flag.severity == "error"]
    metrics = compute_metrics(table, Slo())
    assert metrics["requests_failed"].value == 1
    assert metrics["ttft_p50_ms"].n == 2


def test_a_connection_closed_before_the_answer_fails_on_a_fresh_connection(fake, run) -> None:
    engine = fake(Behaviour(fault="close_before_answer"), GOOD)
    rows = measured_rows(spec_for(engine.base_url), run)
    assert rows[0]["error_class"] == "closed_mid_stream"
    assert rows[0]["attempt"] == 1


def test_a_reused_connection_that_dies_before_the_answer_is_retried_once_and_counted(
    fake, run
) -> None:
    engine = fake(GOOD, Behaviour(fault="close_before_answer"), GOOD)
    rows = measured_rows(spec_for(engine.base_url), run)
    assert [row["error_class"] for row in rows] == [None, None, None]
    assert [row["attempt"] for row in rows] == [1, 2, 1]
    assert engine.truths[1].body == engine.truths[2].body


def test_an_engine_that_breaks_its_promise_of_keep_alive_costs_nothing_but_connections(
    fake, run
) -> None:
    engine = fake(Behaviour(close_unannounced=True))
    load = {"kind": "closed", "concurrency": 2, "requests": 10, "warmup_requests": 2}
    rows = measured_rows(spec_for(engine.base_url, load=load), run)
    assert {row["error_class"] for row in rows} == {None}
    assert all(row["connect_started_ns"] <= row["connected_ns"] <= row["sent_ns"] for row in rows)


@pytest.mark.parametrize("piece_bytes", [1, 7, 1000])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_events_split_at_odd_points_are_whole_again(fake, run, piece_bytes, newline) -> None:
    engine = fake(Behaviour(piece_bytes=piece_bytes, newline=newline))
    rows = measured_rows(spec_for(engine.base_url), run)
    for row in rows:
        assert row["error_class"] is None
        assert [chunk["content_chars"] for chunk in row["chunks"]] == [0, 4, 4, 4, 4, 4, 0, 0]


@pytest.mark.parametrize(
    ("behaviour", "error_class"),
    [
        (Behaviour(done_mark=False), None),  # the framing and the finish reason say it is whole
        (Behaviour(framing="until_close"), None),  # the mark says so
        (Behaviour(framing="until_close", done_mark=False), "closed_mid_stream"),  # nothing does
    ],
)
def test_an_answer_is_whole_when_its_mark_or_its_framing_says_so(
    fake, run, behaviour, error_class
) -> None:
    engine = fake(GOOD, behaviour)
    rows = measured_rows(spec_for(engine.base_url), run)
    assert [row["error_class"] for row in rows] == [None, error_class, error_class]


def test_missing_usage_leaves_tokens_unknown_and_says_so(fake, run) -> None:
    engine = fake(Behaviour(usage=()))
    rows = measured_rows(spec_for(engine.base_url), run)
    assert {(row["error_class"], row["completion_tokens"]) for row in rows} == {(None, None)}
    assert {row["token_source"] for row in rows} == {"missing"}
    table = read_traces(run.file(RunFile.TRACES))
    flags = {flag.name: flag for flag in check_traces(table)}
    assert not flags["token_counts"].ok
    metrics = compute_metrics(table, Slo(tpot_ms=1000))
    for key in ("output_tok_per_s", "output_tokens", "tpot_p50_ms"):
        assert metrics[key].value is None
        assert metrics[key].null_reason
    assert metrics["slo_attainment"].value == 0


@pytest.mark.parametrize(
    "usage",
    [
        ({"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},),
        ({"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 99},),
        ({"prompt_tokens": 9, "completion_tokens": -5, "total_tokens": 4},),
        ({"prompt_tokens": "nine", "completion_tokens": 5},),
        (
            {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18},
            {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},
        ),
    ],
)
def test_usage_that_contradicts_itself_or_the_stream_is_not_believed(fake, run, usage) -> None:
    engine = fake(Behaviour(usage=usage))
    rows = measured_rows(spec_for(engine.base_url), run)
    assert {row["token_source"] for row in rows} == {"contradictory"}
    assert {row["completion_tokens"] for row in rows} == {None}
    assert {row["error_class"] for row in rows} == {None}


def test_the_closed_loop_holds_its_concurrency_exactly(fake, run) -> None:
    engine = fake(Behaviour(ttft_s=0.02, itl_s=0.005))
    load = {"kind": "closed", "concurrency": 4, "requests": 20, "warmup_requests": 6}
    rows = measured_rows(spec_for(engine.base_url, load=load), run)
    phases = [row["phase"] for row in rows]
    assert phases[:26] == ["warmup"] * 6 + ["measured"] * 20
    assert set(phases[26:]) <= {"drained"}
    assert max(truth.in_flight for truth in engine.truths) == 4
    # Every request but the first four starts the moment another one ends: there is no drain
    # between warm-up and measurement, and none before the last measured request ends.
    ends = [row["end_ns"] for row in rows]
    assert all(row["scheduled_ns"] in ends for row in rows[4:])
    last_end = max(row["end_ns"] for row in rows if row["phase"] == "measured")
    in_flight_at_end = [row for row in rows if row["scheduled_ns"] < last_end <= row["end_ns"]]
    assert len(in_flight_at_end) == 4


def test_the_open_loop_sends_on_schedule_whether_or_not_answers_come(fake, run) -> None:
    engine = fake(Behaviour(ttft_s=0.5))
    load = {
        "kind": "open",
        "rate_per_s": 40,
        "requests": 16,
        "process": "constant",
        "warmup_requests": 4,
    }
    rows = measured_rows(spec_for(engine.base_url, load=load), run)
    assert [row["scheduled_ns"] for row in rows] == [index * 25_000_000 for index in range(20)]
    assert all(row["sent_ns"] >= row["scheduled_ns"] for row in rows)
    assert max(truth.in_flight for truth in engine.truths) > 8
    metrics = compute_metrics(read_traces(run.file(RunFile.TRACES)), Slo())
    assert metrics["ttft_sched_p50_ms"].value >= metrics["ttft_p50_ms"].value


def test_an_api_key_is_sent_and_written_nowhere(fake, run, monkeypatch, tmp_path) -> None:
    secret = "sk-do-not-leak-0123456789"
    monkeypatch.setenv("FAKE_KEY", secret)
    engine = fake(Behaviour(usage=()))
    monkeypatch.setenv("INFERENCEBENCH_ENGINE_KEYS", f"FAKE_KEY={origin_of(engine.base_url)}")
    spec = spec_for(engine.base_url)
    spec = spec.model_copy(
        update={"engine": spec.engine.model_copy(update={"api_key_env": "FAKE_KEY"})}
    )
    run_benchmark(spec, run, on_progress=lambda _: None)
    assert engine.truths[0].headers["authorization"] == f"Bearer {secret}"
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
