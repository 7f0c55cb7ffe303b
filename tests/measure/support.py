"""Specs against the scripted engine, and the shortest way from a spec to its traces."""

from __future__ import annotations

from typing import Any

from inferencebench_pipeline.measure.run import Progress, run_benchmark
from inferencebench_pipeline.measure.spec import BenchmarkSpec
from inferencebench_pipeline.measure.spec_file import parse_spec
from inferencebench_pipeline.measure.traces import read_traces, write_traces
from inferencebench_pipeline.runs import RunDirectory, RunFile

Rows = list[dict[str, Any]]


def content_of_spec(base_url: str, **changes: Any) -> dict[str, Any]:
    """Plain data of a small spec against ``base_url``; keyword arguments replace whole fields."""
    content: dict[str, Any] = {
        "name": "fake-chat",
        "suite": {"id": "llm.inference.chat", "version": "1.0.0"},
        "model": {"id": "fake"},
        "engine": {"kind": "openai", "base_url": base_url, "name": "fake", "version": "1"},
        "workload": {"max_tokens": 5},
        "load": {"kind": "closed", "concurrency": 1, "requests": 3, "warmup_requests": 0},
        "slo": {"ttft_ms": 1000, "tpot_ms": 1000},
        "deadlines": {"request_s": 20, "run_s": 60, "engine_start_s": 20},
    }
    return content | changes


def spec_for(base_url: str, **changes: Any) -> BenchmarkSpec:
    return parse_spec(content_of_spec(base_url, **changes), where="test")


def ignore_progress(_: Progress) -> None:
    return


def measured_rows(spec: BenchmarkSpec, run: RunDirectory) -> Rows:
    """Run the spec and return the rows of its traces."""
    run_benchmark(spec, run, on_progress=ignore_progress)
    write_traces(run)
    return read_traces(run.file(RunFile.TRACES)).to_pylist()
