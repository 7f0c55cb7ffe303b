"""A run's life on disk: complete, killed, repeated, without an engine, without a disk."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from inferencebench_pipeline.files.atomic_writes import StoreError
from inferencebench_pipeline.measure.client.capture import (
    COMPLETE,
    SPOOL,
    Capture,
    SpoolHeader,
    SpoolWriter,
    read_spool,
)
from inferencebench_pipeline.measure.client.completion import bound_files
from inferencebench_pipeline.measure.client.exchange import Exchange, Read
from inferencebench_pipeline.measure.engines.http import free_port
from inferencebench_pipeline.measure.errors import (
    AllRequestsFailedError,
    CaptureError,
    EngineAccessError,
    EngineDiedError,
    EngineUnreachableError,
    ModelNotServedError,
    RunDeadlineError,
    SpecError,
)
from inferencebench_pipeline.measure.metrics.plot import latency_plot_png
from inferencebench_pipeline.measure.run.measurement import (
    Measurement,
    build_measurement,
    write_measurement,
)
from inferencebench_pipeline.measure.run.run import run_benchmark
from inferencebench_pipeline.measure.run.token_check import count_answers
from inferencebench_pipeline.measure.run.trace_writer import read_traces, write_traces
from inferencebench_pipeline.measure.spec.spec import spec_json
from inferencebench_pipeline.measure.workloads.resolution import resolve
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile
from tests.measure.fake_engine import Behaviour
from tests.measure.support import content_of_spec, ignore_progress, spec_for

SLOW = Behaviour(ttft_s=0.05, itl_s=0.05)


def test_a_run_becomes_a_measurement_that_reads_back_the_same(fake, run) -> None:
    spec = spec_for(fake().base_url)
    seen = []
    summary = run_benchmark(spec, run, on_progress=seen.append)
    assert (summary.requests, summary.succeeded, summary.failed) == (3, 3, 0)
    assert [progress.stage for progress in (seen[0], seen[-1])] == ["starting engine", "finishing"]
    info = write_traces(run)
    measurement = write_measurement(run)
    assert Measurement.model_validate_json(run.read(RunFile.MEASUREMENT)) == measurement
    assert measurement.traces == info
    assert measurement.metrics["requests_measured"].value == 3
    assert measurement.started_at <= measurement.finished_at
    assert latency_plot_png(read_traces(run.file(RunFile.TRACES))).startswith(b"\x89PNG")


def test_the_recorded_spec_leaves_no_default_open(fake, run) -> None:
    run_benchmark(spec_for(fake().base_url), run, on_progress=ignore_progress)
    recorded = json.loads(run.read(RunFile.SPEC))
    assert recorded["model"]["served_name"] == "fake"
    assert recorded["workload"]["dataset"] == {"kind": "builtin", "name": "chat-short"}
    assert recorded["workload"]["salt"] == "request"
    assert recorded["load"]["warmup_requests"] == 0


def test_running_again_over_a_complete_capture_changes_nothing(fake, run) -> None:
    engine = fake()
    spec = spec_for(engine.base_url)
    first = run_benchmark(spec, run, on_progress=ignore_progress)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    assert run_benchmark(spec, run, on_progress=ignore_progress) == first
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
    assert len(engine.truths) == 3


def test_a_complete_capture_is_not_passed_off_as_that_of_another_spec(fake, run) -> None:
    engine = fake()
    run_benchmark(spec_for(engine.base_url), run, on_progress=ignore_progress)
    with pytest.raises(SpecError, match="another spec"):
        run_benchmark(spec_for(engine.base_url, seed=7), run, on_progress=ignore_progress)


def test_a_damaged_capture_is_kept_aside_and_measured_again(fake, run) -> None:
    engine = fake()
    spec = spec_for(engine.base_url)
    run_benchmark(spec, run, on_progress=ignore_progress)
    (Capture(run).path / COMPLETE).write_text("{")
    assert run_benchmark(spec, run, on_progress=ignore_progress).succeeded == 3
    assert (run.path / "capture.incomplete-1").is_dir()


def test_the_same_capture_gives_the_same_bytes_of_traces(fake, run) -> None:
    run_benchmark(spec_for(fake().base_url), run, on_progress=ignore_progress)
    first = write_traces(run)
    assert write_traces(run) == first


def test_a_killed_run_leaves_a_readable_spool_and_can_be_run_again(fake, run) -> None:
    engine = fake(SLOW)
    load = {"kind": "closed", "concurrency": 2, "requests": 12, "warmup_requests": 0}
    content = content_of_spec(engine.base_url, load=load)
    program = (
        "import json, sys; from pathlib import Path;"
        "from inferencebench_pipeline.measure.run.run import run_benchmark;"
        "from inferencebench_pipeline.measure.spec.spec_file import parse_spec;"
        "from inferencebench_pipeline.runs.run_directory import RunDirectory;"
        "spec = parse_spec(json.loads(sys.argv[1]), where='test');"
        "run = RunDirectory(sys.argv[2], Path(sys.argv[3]));"
        "run_benchmark(spec, run, on_progress=lambda _: None)"
    )
    victim = subprocess.Popen(
        [sys.executable, "-c", program, json.dumps(content), run.run_id, str(run.path)]
    )
    capture = Capture(run)
    _wait_until(lambda: capture.spool.exists() and len(list(read_spool(capture.spool))) >= 2)
    victim.send_signal(signal.SIGKILL)
    victim.wait(10)
    _wait_until(lambda: engine.in_flight == 0)  # the client died with its parent
    kept = list(read_spool(capture.spool))
    assert 2 <= len(kept) < 12
    assert all(exchange.reads for exchange in kept)
    assert capture.completion() is None
    with pytest.raises(CaptureError, match="incomplete"):
        write_traces(run)

    spec = spec_for(engine.base_url, load=load)
    summary = run_benchmark(spec, run, on_progress=ignore_progress)
    assert summary.succeeded == 12
    aside = run.path / "capture.incomplete-1"
    assert len(list(read_spool(aside / SPOOL))) == len(kept)
    assert write_traces(run).rows >= 12


def test_a_torn_last_line_is_left_out_and_a_damaged_one_is_an_error(fake, run) -> None:
    run_benchmark(spec_for(fake().base_url), run, on_progress=ignore_progress)
    spool = Capture(run).spool
    lines = spool.read_bytes().splitlines(keepends=True)
    spool.write_bytes(b"".join(lines)[:-20])
    assert len(list(read_spool(spool))) == 2
    with pytest.raises(CaptureError, match="is not the file"):
        write_traces(run)
    spool.write_bytes(lines[0] + b"{}\n" + lines[2])
    with pytest.raises(CaptureError, match="the line at byte"):
        list(read_spool(spool))


def test_an_engine_that_is_not_there_is_unreachable_and_worth_a_retry(run) -> None:
    spec = spec_for(f"http://127.0.0.1:{free_port()}/v1")
    with pytest.raises(EngineUnreachableError, match=r"no engine answers.*engine\.base_url"):
        run_benchmark(spec, run, on_progress=ignore_progress)


def test_an_engine_that_dies_in_the_middle_is_reported_and_the_run_is_incomplete(fake, run) -> None:
    engine = fake(SLOW)
    load = {"kind": "closed", "concurrency": 2, "requests": 1000, "warmup_requests": 0}
    threading.Thread(
        target=lambda: (_wait_until(lambda: len(engine.truths) >= 4), engine.die())
    ).start()
    with pytest.raises(EngineDiedError, match="stopped accepting connections"):
        run_benchmark(spec_for(engine.base_url, load=load), run, on_progress=ignore_progress)
    assert Capture(run).completion() is None
    assert list(read_spool(Capture(run).spool))


def test_a_model_that_is_not_served_is_named_with_those_that_are(fake, run) -> None:
    engine = fake()
    engine.models = ["other/model", "another"]
    with pytest.raises(ModelNotServedError, match=r"'fake'.*another, other/model"):
        run_benchmark(spec_for(engine.base_url), run, on_progress=ignore_progress)
    assert engine.truths == []


def test_an_engine_that_lists_no_models_is_measured_with_a_warning(fake, run) -> None:
    engine = fake()
    engine.models = None
    summary = run_benchmark(spec_for(engine.base_url), run, on_progress=ignore_progress)
    assert any("does not list its models" in warning for warning in summary.warnings)


def test_an_engine_that_refuses_the_key_says_which_variable_to_set(fake, run) -> None:
    engine = fake()
    engine.models_status = 401
    with pytest.raises(EngineAccessError, match=r"engine\.api_key_env"):
        run_benchmark(spec_for(engine.base_url), run, on_progress=ignore_progress)


def test_a_variable_for_the_key_that_is_not_set_is_named(fake, run, monkeypatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    url = fake().base_url
    monkeypatch.setenv("INFERENCEBENCH_ENGINE_KEYS", f"NO_SUCH_KEY={url.removesuffix('/v1')}")
    engine = {"kind": "openai", "base_url": url, "api_key_env": "NO_SUCH_KEY"}
    with pytest.raises(EngineAccessError, match="NO_SUCH_KEY, which is not set"):
        run_benchmark(spec_for("http://x/v1", engine=engine), run, on_progress=ignore_progress)


def test_when_everything_fails_the_capture_is_kept_and_the_error_counts_the_classes(
    fake, run
) -> None:
    engine = fake(Behaviour(status=500), Behaviour(status=429))
    spec = spec_for(engine.base_url)
    with pytest.raises(AllRequestsFailedError, match=r"2 x http_4xx .*; 1 x http_5xx"):
        run_benchmark(spec, run, on_progress=ignore_progress)
    assert write_traces(run).rows == 3
    measurement = build_measurement(run)
    assert measurement.metrics["error_rate"].value == 1
    assert measurement.metrics["ttft_p50_ms"].value is None
    assert not {flag.name: flag for flag in measurement.validity}["some_success"].ok
    # Nothing was measured, so running again measures again.
    engine.behaviour = lambda _: Behaviour()
    assert run_benchmark(spec, run, on_progress=ignore_progress).succeeded == 3
    assert (run.path / "capture.incomplete-1").is_dir()


def test_the_run_deadline_ends_the_run(fake, run) -> None:
    deadlines = {"request_s": 30, "run_s": 1, "engine_start_s": 20}
    spec = spec_for(fake(Behaviour(fault="silent")).base_url, deadlines=deadlines)
    with pytest.raises(RunDeadlineError, match=r"deadlines\.run_s = 1 s"):
        run_benchmark(spec, run, on_progress=ignore_progress)


def test_more_prompts_than_there_are_is_an_error_before_anything_runs(fake, run) -> None:
    engine = fake()
    spec = spec_for(engine.base_url, workload={"prompts": 4000})
    with pytest.raises(SpecError, match=r"workload\.prompts = 4000.*48"):
        run_benchmark(spec, run, on_progress=ignore_progress)
    assert not run.path.exists()


def test_an_unknown_dataset_is_answered_with_the_known_ones(fake, run) -> None:
    spec = spec_for(fake().base_url, workload={"dataset": "builtin:nope"})
    with pytest.raises(SpecError, match="builtin:chat-short"):
        run_benchmark(spec, run, on_progress=ignore_progress)


def test_an_unwritable_store_is_named(fake, tmp_path) -> None:
    blocker = tmp_path / "store"
    blocker.write_text("a file where the store should be")
    run = RunDirectory("01900000-0000-7000-8000-000000000000", blocker / "runs/x")
    with pytest.raises(StoreError, match=str(blocker)):
        run_benchmark(spec_for(fake().base_url), run, on_progress=ignore_progress)


def test_a_spool_is_appended_to_by_later_repeats_whose_instants_follow_on(tmp_path) -> None:
    header = SpoolHeader(
        run_id="r", begun_at=datetime.now(UTC), workload_sha256="0" * 64, schedule_sha256="0" * 64
    )
    for repeat, origin_ns in ((1, 0), (2, 5000)):
        writer = SpoolWriter(tmp_path / SPOOL, header, secret=None)
        exchange = Exchange(0, "measured", "p", 10, repeat=repeat, repeat_origin_ns=origin_ns)
        exchange.sent_ns, exchange.end_ns = 11, 20
        exchange.reads.append(Read(15, 14, b"x"))
        writer.append(exchange)
        writer.close()
    assert (tmp_path / SPOOL).read_bytes().count(b"capture_version") == 1
    first, second = read_spool(tmp_path / SPOOL)
    assert (first.repeat, first.scheduled_ns, first.reads[0].seen_ns) == (1, 10, 15)
    assert (second.repeat, second.scheduled_ns, second.sent_ns) == (2, 5010, 5011)
    assert (second.end_ns, second.reads[0]) == (5020, Read(5015, 5014, b"x"))
    assert second.connected_ns is None


def test_a_disk_that_fills_up_in_the_middle_is_a_store_error(fake, run) -> None:
    """A file-size limit is the nearest thing to a full disk that needs no privileges."""
    engine = fake()
    program = (
        "import json, resource, signal, sys; from pathlib import Path;"
        "from inferencebench_pipeline.measure.client.__main__ import measure;"
        "from inferencebench_pipeline.runs.run_directory import RunDirectory;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "measure(RunDirectory(sys.argv[1], Path(sys.argv[2])), sys.argv[3], None)"
    )
    load = {"kind": "closed", "concurrency": 1, "requests": 30, "warmup_requests": 0}
    Capture(run).begin()
    run.write(RunFile.SPEC, spec_json(spec_for(engine.base_url, load=load)))
    ended = subprocess.run(
        [sys.executable, "-c", program, run.run_id, str(run.path), engine.base_url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "StoreError: cannot write" in ended.stderr
    assert list(read_spool(Capture(run).spool))


def _wait_until(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Words:
    """A tokenizer whose tokens are what lies between blanks; it may go away."""

    def __init__(self, most: int) -> None:
        self.left = most

    def length(self, text: str) -> int:
        if not self.left:
            raise EngineUnreachableError("the engine went away")
        self.left -= 1
        return len(text.split())

    def prompt_length(self, messages: Any) -> int:
        raise AssertionError

    def completion_length(self, text: str) -> int:
        raise AssertionError


@pytest.mark.parametrize(("most", "counted"), [(10, 3), (2, 2), (0, 0)])
def test_the_tokenizers_counts_come_with_the_traces_as_far_as_it_answered(
    fake, run, most, counted
) -> None:
    spec = spec_for(fake().base_url)
    run_benchmark(spec, run, on_progress=ignore_progress)
    capture = Capture(run)
    count_answers(capture, lambda: Words(most), spec.load.requests)
    ended = capture.completion()
    assert ended is not None
    capture.complete(ended.model_copy(update={"files": bound_files(run)}))
    write_traces(run)
    found = read_traces(run.file(RunFile.TRACES)).column("tokenizer_tokens").to_pylist()
    assert sum(count is not None for count in found) == counted
    assert all(count >= 1 for count in found if count is not None)


@pytest.mark.parametrize("capture", ["none", "nothing succeeded", "damaged"])
def test_a_delivered_run_is_never_measured_here(capture, fake, run) -> None:
    """Its spec is another host's, and would decide which engine is started on this one."""
    engine = fake(Behaviour(fault="close_before_answer"))
    spec = spec_for(engine.base_url)
    run.path.mkdir(parents=True)
    run.write(RunFile.SPEC, spec_json(resolve(spec)))
    if capture != "none":
        with pytest.raises(AllRequestsFailedError):
            run_benchmark(spec, run, on_progress=ignore_progress)
    if capture == "damaged":
        Capture(run).spool.write_bytes(b"")
    run.write(RunFile.DELIVERY, b"{}")
    asked = len(engine.truths)
    with pytest.raises(CaptureError, match="never measured here"):
        run_benchmark(spec, run, on_progress=ignore_progress)
    assert len(engine.truths) == asked
    assert [path.name for path in run.path.glob("capture*")] == (["capture"] * (capture != "none"))


def _as_version_1(run: RunDirectory) -> None:
    """Make the capture one that an older version left: its spool alone is bound."""
    capture = Capture(run)
    ended = capture.completion()
    assert ended is not None
    content = ended.model_dump(mode="json", exclude={"files"}) | {"capture_version": "1"}
    (capture.path / COMPLETE).write_text(json.dumps(content))


def test_a_capture_of_an_older_version_is_read_as_it_always_was(fake, run) -> None:
    run_benchmark(spec_for(fake().base_url), run, on_progress=ignore_progress)
    _as_version_1(run)
    (Capture(run).path / "client.log").write_text("bound by nothing then")
    assert write_traces(run).rows == 3
    spool = Capture(run).spool
    spool.write_bytes(spool.read_bytes()[:-1])
    with pytest.raises(CaptureError, match="is not the file"):
        write_traces(run)


def test_a_new_capture_does_not_pass_for_an_older_one(fake, run) -> None:
    run_benchmark(spec_for(fake().base_url), run, on_progress=ignore_progress)
    path = Capture(run).path / COMPLETE
    sealed = path.read_bytes()
    path.write_bytes(sealed.replace(b'"capture_version": "2"', b'"capture_version": "1"'))
    with pytest.raises(CaptureError, match="its own digest"):
        write_traces(run)
    path.write_bytes(b"{\n" + sealed.split(b"\n", 2)[2])  # the seal taken off
    with pytest.raises(CaptureError, match="its own digest"):
        write_traces(run)


@pytest.mark.parametrize("lost", ["conduct.json", "telemetry.json", "telemetry.jsonl"])
def test_absence_never_reads_as_nothing_was_asked(fake, run, lost) -> None:
    run_benchmark(spec_for(fake().base_url), run, on_progress=ignore_progress)
    (Capture(run).path / lost).unlink()
    for stage in (write_traces, build_measurement):
        with pytest.raises(CaptureError, match=rf"{lost} is lost"):
            stage(run)
