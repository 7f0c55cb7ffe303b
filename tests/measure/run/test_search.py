"""The search for the highest load that meets an SLO: what it tries, decides, and records."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.run.measurement import Measurement, write_measurement
from inferencebench_pipeline.measure.run.run import run_benchmark
from inferencebench_pipeline.measure.run.search import (
    ProbeOutcome,
    SearchResult,
    find_highest,
    probe_spec,
    write_search,
)
from inferencebench_pipeline.measure.run.trace_writer import write_traces
from inferencebench_pipeline.measure.spec.plan import Search
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec
from inferencebench_pipeline.runs.run_directory import RunStore
from tests.measure.fake_engine import Behaviour, FakeEngine, running
from tests.measure.support import ignore_progress, spec_for

CLOSED = {"kind": "closed", "concurrency": 1, "requests": 40, "warmup_requests": 0}
RANGE = Search(low=1, high=8, attainment=0.8)


def searched(folder: Path, limit: int, **changes: object) -> SearchResult:
    """Search an engine that refuses requests beyond so many in flight."""

    def behaviour(_: int) -> Behaviour:
        return Behaviour(status=429) if engine.in_flight > limit else Behaviour(ttft_s=0.02)

    engine = FakeEngine(behaviour)
    store = RunStore(folder)

    def measure(spec: BenchmarkSpec, run_id: str) -> Measurement:
        run = store.run(run_id)
        run_benchmark(spec, run, on_progress=ignore_progress)
        write_traces(run)
        return write_measurement(run)

    with running(engine):
        base = spec_for(engine.base_url, load=CLOSED, slo={"ttft_ms": 10_000})
        return find_highest(base, RANGE.model_copy(update=changes), measure)


def test_the_highest_load_is_found_between_one_that_passed_and_one_that_did_not(tmp_path) -> None:
    found = searched(tmp_path, limit=5)
    assert (found.highest, found.lowest_failed) == (5, 6)
    assert [probe.load for probe in found.probes] == [1, 8, 4, 6, 5]
    outcomes = [probe.outcome for probe in found.probes]
    assert outcomes == ["passed", "failed", "passed", "failed", "passed"]
    assert RunStore(tmp_path).run_ids() == [probe.run_id for probe in found.probes]
    path = write_search(tmp_path, found)
    assert SearchResult.model_validate_json(path.read_bytes()) == found


def test_a_search_says_when_all_loads_pass_or_none_does(tmp_path) -> None:
    all_pass = searched(tmp_path, limit=8)
    assert (all_pass.highest, all_pass.lowest_failed, len(all_pass.probes)) == (8, None, 2)
    assert "still met at the highest" in all_pass.reason


def test_a_load_at_which_every_request_fails_is_one_that_failed(tmp_path) -> None:
    found = searched(tmp_path, limit=0)
    assert found.highest is None
    assert (found.probes[0].met, found.probes[0].outcome) == (0, "failed")
    assert "not met at the lowest load" in found.reason


def test_a_search_ends_at_its_budget_with_what_it_knows(tmp_path) -> None:
    found = searched(tmp_path, limit=5, most_probes=3)
    assert (found.highest, found.lowest_failed, len(found.probes)) == (4, 8, 3)
    assert "most_probes = 3" in found.reason


def test_what_cannot_be_told_apart_is_not_promised(tmp_path) -> None:
    """Forty of forty are no proof of 95 %: the interval reaches down to 91 %."""
    found = searched(tmp_path, limit=8, attainment=0.95)
    assert found.highest is None
    assert found.probes[0].outcome is ProbeOutcome.UNDECIDED
    assert found.probes[0].low == pytest.approx(0.912, abs=0.001)


def test_a_load_point_of_a_probe_says_which_search_it_belongs_to() -> None:
    base = spec_for("http://127.0.0.1:1/v1", load=CLOSED)
    probe = probe_spec(base, 5, number=3)
    assert probe.load.concurrency == 5
    assert (probe.place.sweep, probe.place.point, probe.place.points) == ("fake-chat", 3, None)
    load = {"kind": "open", "rate_per_s": 1, "requests": 9}
    rate = probe_spec(spec_for("http://127.0.0.1:1/v1", load=load), 2.5, number=1)
    assert rate.load.rate_per_s == 2.5
    replay = {"kind": "replay", "schedule": "x", "requests": 9}
    with pytest.raises(SpecError, match="neither"):
        probe_spec(spec_for("http://127.0.0.1:1/v1", load=replay), 2, number=1)
