"""The audit: the engine's own counters beside ours, told apart by model, family and meaning."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from inferencebench_pipeline.measure.audit.prometheus_text import read_exposition
from inferencebench_pipeline.measure.run.measurement import Measurement, write_measurement
from inferencebench_pipeline.measure.run.run import run_benchmark
from inferencebench_pipeline.measure.run.trace_writer import read_traces, write_traces
from inferencebench_pipeline.runs.run_directory import RunFile
from tests.measure.fake_engine import Behaviour, FakeEngine
from tests.measure.support import ignore_progress, spec_for


def vllm_metrics(engine: FakeEngine, *, others: int = 0) -> Callable[[], str]:
    """Return what vLLM would say of the requests that this engine answered, from its own log."""

    def text() -> str:
        ttft = [(t.token_ns[0] - t.received_ns) / 1e9 for t in engine.truths if t.token_ns]
        gaps = [
            (later - earlier) / 1e9
            for truth in engine.truths
            for earlier, later in zip(truth.token_ns, truth.token_ns[1:], strict=False)
        ]
        tokens = sum(len(truth.token_ns) for truth in engine.truths)
        answered = len(ttft) + (others if ttft else 0)
        label = '{engine="0",model_name="fake"}'
        return "\n".join(
            [
                "# HELP vllm:time_to_first_token_seconds Time to first token.",
                f"vllm:time_to_first_token_seconds_sum{label} {sum(ttft)}",
                f"vllm:time_to_first_token_seconds_count{label} {float(answered)}",
                f"vllm:inter_token_latency_seconds_sum{label} {sum(gaps)}",
                f"vllm:inter_token_latency_seconds_count{label} {float(len(gaps))}",
                f"vllm:prompt_tokens_total{label} {9.0 * len(ttft)}",
                f"vllm:generation_tokens_total{label} {float(tokens)}",
                'vllm:generation_tokens_total{engine="0",model_name="another"} 1e9',
            ]
        )

    return text


def measured(engine: FakeEngine, run) -> Measurement:
    load = {"kind": "closed", "concurrency": 2, "requests": 6, "warmup_requests": 2}
    run_benchmark(spec_for(engine.base_url, load=load), run, on_progress=ignore_progress)
    write_traces(run)
    return write_measurement(run)


def test_the_engines_own_counts_stand_beside_ours_warm_up_included(fake, run) -> None:
    engine = fake(Behaviour(ttft_s=0.02, itl_s=0.002))
    engine.questions["/metrics"] = vllm_metrics(engine)
    audit = measured(engine, run).audit
    assert audit is not None
    assert (audit.family, audit.null_reason) == ("vllm", None)
    lines = {line.name: line for line in audit.lines}
    answered = len(engine.truths)
    assert (lines["answered requests"].engine, lines["answered requests"].ours) == (
        answered,
        answered,
    )
    assert lines["output tokens"].engine == lines["output tokens"].ours == answered * 5
    assert lines["prompt tokens"].engine == lines["prompt tokens"].ours == answered * 9
    assert lines["ITL"].engine_n == answered * 4
    truths = [(truth.token_ns[0] - truth.received_ns) / 1e6 for truth in engine.truths]
    assert lines["TTFT"].engine == pytest.approx(sum(truths) / answered)
    rows = read_traces(run.file(RunFile.TRACES)).to_pylist()
    ours = [(row["first_token_ns"] - row["sent_ns"]) / 1e6 for row in rows]
    assert lines["TTFT"].ours == pytest.approx(sum(ours) / len(rows))
    gaps = [(row["last_token_ns"] - row["first_token_ns"]) / 4e6 for row in rows]
    assert lines["ITL"].ours == pytest.approx(sum(gaps) / len(rows))


def test_requests_of_somebody_else_are_noticed(fake, run) -> None:
    engine = fake()
    engine.questions["/metrics"] = vllm_metrics(engine, others=3)
    flags = {flag.name: flag for flag in measured(engine, run).validity}
    assert not flags["engine_not_shared"].ok
    assert flags["engine_not_shared"].severity == "warn"


def test_an_engine_that_contradicts_us_is_noticed(fake, run) -> None:
    engine = fake()
    truth = vllm_metrics(engine)
    hour = '\nvllm:time_to_first_token_seconds_sum{model_name="fake"} 3600'
    engine.questions["/metrics"] = lambda: truth() + hour * bool(engine.truths)
    flags = {flag.name: flag for flag in measured(engine, run).validity}
    assert not flags["engine_agrees"].ok
    assert "TTFT mean" in flags["engine_agrees"].detail


def test_an_engine_without_metrics_gives_a_reason_and_no_numbers(fake, run) -> None:
    measurement = measured(fake(), run)
    assert measurement.audit is not None
    assert measurement.audit.lines == ()
    assert "/metrics" in (measurement.audit.null_reason or "")
    assert "engine_agrees" not in {flag.name for flag in measurement.validity}


def test_metrics_of_an_unknown_engine_are_kept_and_not_interpreted(fake, run) -> None:
    engine = fake()
    engine.questions["/metrics"] = lambda: "house_engine_ttft_ms 12\n"
    audit = measured(engine, run).audit
    assert audit is not None
    assert (audit.family, audit.lines) == (None, ())
    assert audit.after_sha256 is not None


def test_exposition_text_is_read_by_model_and_summed_over_series() -> None:
    text = (
        "# HELP a_total Something {not a series} 7\n"
        'a_total{model_name="m",reason="odd \\"}\\" value"} 1.5 1700000000\n'
        'a_total{reason="x",model_name="m"} 2\n'
        'a_total{model_name="other"} 100\n'
        "b_seconds_sum 3e-2\n"
        "c_gauge NaN\n"
        "d_gauge +Inf\n"
        "this is no series\n"
    )
    assert read_exposition(text, "m") == {"a_total": 3.5, "b_seconds_sum": 0.03}


def test_the_model_that_answers_is_recorded_in_the_answers_own_words(fake, run) -> None:
    audit = measured(fake(), run).audit
    assert audit is not None
    assert [said.model_dump() for said in audit.answered_as] == [
        {"model": "fake-2026-11", "provider": None, "system_fingerprint": "fp_fake"}
    ]
