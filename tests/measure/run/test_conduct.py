"""How a run is conducted: repeats, the looks at their intervals, turns, progress."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inferencebench_pipeline.measure.client.capture import Capture
from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.run.measurement import write_measurement
from inferencebench_pipeline.measure.run.progress import Progress, ProgressLog
from inferencebench_pipeline.measure.run.run import run_benchmark
from inferencebench_pipeline.measure.run.stopping_rule import CONDUCT, Conduct
from inferencebench_pipeline.measure.run.trace_writer import read_traces, write_traces
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile
from tests.measure.fake_engine import Behaviour
from tests.measure.support import ignore_progress, measured_rows, spec_for

LOAD = {"kind": "closed", "concurrency": 2, "requests": 4, "warmup_requests": 1}


def conduct(run: RunDirectory) -> Conduct:
    return Conduct.model_validate_json((Capture(run).path / CONDUCT).read_bytes())


def repeated(base_url: str, repeats: Any, **changes: Any) -> BenchmarkSpec:
    return spec_for(base_url, **({"load": LOAD, "repeats": repeats} | changes))


def test_every_repeat_is_measured_whole_and_on_one_time_line(fake, run) -> None:
    engine = fake()
    rows = measured_rows(repeated(engine.base_url, 3), run)
    for repeat in (1, 2, 3):
        phases = [row["phase"] for row in rows if row["repeat"] == repeat]
        assert phases[:5] == ["warmup", "measured", "measured", "measured", "measured"]
    ends = [max(row["end_ns"] for row in rows if row["repeat"] == n) for n in (1, 2, 3)]
    starts = [min(row["scheduled_ns"] for row in rows if row["repeat"] == n) for n in (1, 2, 3)]
    assert starts[0] >= 0
    assert ends[0] < starts[1] < ends[1] < starts[2]
    assert conduct(run).stopped_because == "3 repeats were asked for"
    assert len({json.dumps(truth.body) for truth in engine.truths}) == len(engine.truths)


def test_each_repeat_of_an_open_loop_draws_its_own_arrivals(fake, run) -> None:
    load = {"kind": "open", "rate_per_s": 200, "requests": 5, "warmup_requests": 0}
    rows = measured_rows(repeated(fake().base_url, 2, load=load), run)
    gaps = [
        [
            row["scheduled_ns"] - min(r["scheduled_ns"] for r in rows if r["repeat"] == n)
            for row in rows
            if row["repeat"] == n
        ]
        for n in (1, 2)
    ]
    assert gaps[0] != gaps[1]


def test_repeats_end_when_the_intervals_are_narrow_enough_and_the_looks_are_kept(fake, run) -> None:
    rule = {"least": 3, "most": 6, "relative_half_width": 1.0, "metrics": ["output_tokens"]}
    spec = repeated(fake().base_url, rule)
    run_benchmark(spec, run, on_progress=ignore_progress)
    found = conduct(run)
    assert (found.repeats, len(found.looks)) == (3, 1)
    assert found.looks[0].narrow_enough
    assert found.looks[0].estimates[0].mean == 20.0
    assert "narrow enough" in found.stopped_because


def test_repeats_end_at_the_most_when_the_intervals_never_are(fake, run) -> None:
    rule = {"least": 3, "most": 4, "relative_half_width": 1e-9, "metrics": ["ttft_mean_ms"]}
    run_benchmark(repeated(fake().base_url, rule), run, on_progress=ignore_progress)
    found = conduct(run)
    assert found.repeats == 4
    assert [look.repeats for look in found.looks] == [3, 4]
    assert "repeats.most = 4 was reached" in found.stopped_because
    write_traces(run)
    measurement = write_measurement(run)
    assert measurement.metrics["requests_measured"].value == 16
    assert measurement.conduct.conduct == found
    assert [cut.repeat for cut in measurement.conduct.settling] == [1, 2, 3, 4]
    assert {cut.requests for cut in measurement.conduct.settling} == {4}


def test_a_rule_on_what_is_no_metric_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SpecError, match=r"ttft_p50 is not a metric; did you mean ttft_p50_ms\?"):
        repeated("http://127.0.0.1:1/v1", {"least": 3, "metrics": ["ttft_p50"]})


def test_warm_up_hands_over_without_a_drain(fake, run) -> None:
    """The first measured request starts while warm-up requests are still being answered."""
    load = LOAD | {"concurrency": 3, "warmup_requests": 3, "requests": 6}
    rows = measured_rows(spec_for(fake(Behaviour(ttft_s=0.03)).base_url, load=load), run)
    warm_ends = sorted(row["end_ns"] for row in rows if row["phase"] == "warmup")
    first = min(row["sent_ns"] for row in rows if row["phase"] == "measured")
    assert first < warm_ends[-1]


def test_turns_of_a_conversation_are_sent_in_order_with_what_was_said(fake, run, tmp_path) -> None:
    talk = [{"from": "human" if n % 2 == 0 else "gpt", "value": f"said {n}"} for n in range(6)]
    path = tmp_path / "talk.json"
    path.write_text(json.dumps([{"id": "a", "conversations": talk}]))
    dataset = {"kind": "sharegpt", "path": str(path), "turns": 3}
    workload = {"dataset": dataset, "prompts": 1, "max_tokens": 5}
    load = LOAD | {"concurrency": 1, "requests": 6, "warmup_requests": 0}
    engine = fake()
    rows = measured_rows(spec_for(engine.base_url, workload=workload, load=load), run)
    assert [row["prompt_id"] for row in rows] == ["a/1", "a/2", "a/3"] * 2
    said = [[message["content"] for message in truth.body["messages"]] for truth in engine.truths]
    assert [len(messages) for messages in said] == [1, 3, 5, 1, 3, 5]
    assert said[0][0] == said[2][0] != said[3][0]
    assert said[2][1:] == ["said 1", "said 2", "said 3", "said 4"]
    assert read_traces(run.file(RunFile.TRACES)).num_rows == 6


def test_a_log_gets_a_line_for_each_stage_and_few_within_it() -> None:
    lines: list[str] = []
    log = ProgressLog(lines.append, every_s=5)
    log.hear(Progress("starting engine", 0, 0, 0, 0.0))
    for tenth in range(100):
        log.hear(Progress("measuring", tenth, 100, 1, 1 + tenth / 10, 1, 2))
    log.hear(Progress("measuring", 0, 100, 0, 11.1, 2, 2))
    assert lines[:2] == ["starting engine", "repeat 1/2, measuring: 0/100 requests, 1 failed"]
    assert len(lines) == 4
    assert lines[-1] == "repeat 2/2, measuring: 0/100 requests"
