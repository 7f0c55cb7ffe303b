"""``inferencebench spec``, ``run`` and ``replay`` as a person uses them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from inferencebench_pipeline.cli.app import app
from inferencebench_pipeline.cli.measurement.live import progress_table
from inferencebench_pipeline.cli.policy.signer_options import SignerOptionError
from inferencebench_pipeline.cli.targets import TargetError
from inferencebench_pipeline.envelope.canonical import parse_envelope
from inferencebench_pipeline.envelope.extension import pipeline_extension
from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.run.measurement import read_measurement
from inferencebench_pipeline.measure.run.progress import Progress
from inferencebench_pipeline.runs.run_directory import (
    MissingRunFileError,
    RunFile,
    RunStore,
    new_run_id,
)
from inferencebench_pipeline.settings import origin_of
from tests.measure.fake_engine import Behaviour, FakeEngine, running
from tests.measure.support import content_of_spec


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with running(FakeEngine(lambda _: Behaviour())) as engine:
        yield engine


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    monkeypatch.setenv("INFERENCEBENCH_HOME", str(tmp_path))
    return RunStore(tmp_path / "store")


@pytest.fixture
def spec(tmp_path: Path, engine: FakeEngine) -> Path:
    path = tmp_path / "mine.yaml"
    load = {"kind": "closed", "concurrency": [1, 2], "requests": 3, "warmup_requests": 0}
    path.write_text(yaml.safe_dump(content_of_spec(engine.base_url, load=load)))
    return path


def call(*arguments: str) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_check_lists_the_runs_and_starts_none(spec, store, engine) -> None:
    output = call("spec", "check", spec)
    assert "1 in flight" in output
    assert "2 in flight" in output
    assert not store.run_ids()
    with pytest.raises(SpecError, match=r"load\.requests = 0"):
        call("spec", "check", spec, "--set", "load.requests=0")


def test_schema_is_json(store) -> None:
    assert json.loads(call("spec", "schema"))["title"] == "BenchmarkFile"


def test_a_sweep_is_a_run_for_each_load_point_and_each_envelope_names_it(spec, store) -> None:
    call("run", spec)
    envelopes = [
        parse_envelope(store.run(run_id).read(RunFile.UNSIGNED_ENVELOPE))
        for run_id in store.run_ids()
    ]
    places = [envelope.driver_options["spec"]["place"] for envelope in envelopes]
    assert [place["point"] for place in places] == [1, 2]
    assert {place["sweep"] for place in places} == {"fake-chat"}
    assert len({pipeline_extension(envelope).workload_hash for envelope in envelopes}) == 1
    with pytest.raises(SpecError, match="expands to 2 runs"):
        call("run", spec, "--run-id", new_run_id())


def test_a_run_is_finished_by_its_own_spec_or_not_at_all(spec, store, engine) -> None:
    call("run", spec, "--set", "load.concurrency=2", "--set", "load.requests=5")
    (run_id,) = store.run_ids()
    own = store.run(run_id).read(RunFile.SPEC)
    shutil.rmtree(store.run(run_id).file(RunFile.CAPTURE))  # as if it had been interrupted
    with pytest.raises(SpecError, match=r"load\.requests is 5 there and 3 here"):
        call("run", spec, "--set", "load.concurrency=2", "--run-id", run_id)
    with pytest.raises(SpecError, match="--set needs a spec"):
        call("run", "--run-id", run_id, "--set", "load.requests=3")
    assert store.run(run_id).read(RunFile.SPEC) == own
    assert not store.run(run_id).has(RunFile.CAPTURE)

    call("run", "--run-id", run_id)
    assert store.run(run_id).read(RunFile.SPEC) == own
    assert _requests(store, run_id) == 5
    call("run", spec, "--set", "load.requests=5", "--run-id", run_id)  # one of its points
    assert _requests(store, run_id) == 5


def test_a_run_that_has_no_spec_is_not_given_another(spec, store) -> None:
    call("run", spec, "--set", "load.concurrency=2")
    (run_id,) = store.run_ids()
    store.run(run_id).remove(RunFile.SPEC)
    for arguments in ([], [spec, "--set", "load.concurrency=1"]):
        with pytest.raises(MissingRunFileError, match=r"has no spec\.json"):
            call("run", *arguments, "--run-id", run_id)


def test_what_a_reader_must_know_is_printed(spec, store) -> None:
    output = call("run", spec, "--set", "load.concurrency=2")
    assert "warning: enough_samples:" in output
    assert f"next: inferencebench sign {store.run_ids()[0]}" in output


def _requests(store: RunStore, run_id: str) -> int:
    measurement = read_measurement(store.run(run_id))
    return int(measurement.metrics["requests_measured"].value or 0)


def test_a_replay_of_an_envelope_is_a_run_with_the_same_hashes(spec, store, engine) -> None:
    call("run", spec, "--set", "load.concurrency=2")
    (first,) = store.run_ids()
    said = call("replay", store.run(first).path, "--engine", engine.base_url, "--unverified")
    assert "sends 3 requests, each for up to 5 tokens" in said
    second = next(run_id for run_id in store.run_ids() if run_id != first)
    notes = [
        pipeline_extension(parse_envelope(store.run(run_id).read(RunFile.UNSIGNED_ENVELOPE)))
        for run_id in (first, second)
    ]
    assert notes[0].workload_hash == notes[1].workload_hash
    assert notes[0].schedule_hash == notes[1].schedule_hash


def test_a_replay_of_nothing_is_refused(store, tmp_path) -> None:
    with pytest.raises(TargetError, match="cannot read"):
        call("replay", tmp_path / "none.json", "--engine", "embedded")


def test_a_replay_names_its_own_engine(spec, store, engine, monkeypatch) -> None:
    call("run", spec, "--set", "load.concurrency=2")
    (first,) = store.run_ids()
    target = store.run(first).path
    with pytest.raises(SpecError, match="on your engine"):
        call("replay", target, "--unverified")
    monkeypatch.setenv("ENGINE_KEY", "sk-0123456789")
    monkeypatch.setenv("INFERENCEBENCH_ENGINE_KEYS", f"ENGINE_KEY={origin_of(engine.base_url)}")
    own = content_of_spec(engine.base_url)
    own["engine"] |= {"api_key_env": "ENGINE_KEY", "version": "mine"}
    spec.write_text(yaml.safe_dump(own))
    call("replay", target, "--engine", spec, "--unverified")
    second = next(run_id for run_id in store.run_ids() if run_id != first)
    envelope = parse_envelope(store.run(second).read(RunFile.UNSIGNED_ENVELOPE))
    assert envelope.driver_options["spec"]["engine"]["version"] == "mine"
    assert engine.truths[-1].headers["authorization"] == "Bearer sk-0123456789"
    own["engine"] = [own["engine"], {"kind": "embedded"}]
    spec.write_text(yaml.safe_dump(own))
    with pytest.raises(SpecError, match="several engines or models"):
        call("replay", target, "--engine", spec, "--unverified")
    for wrong in ("http://x y/v1", "ftp://x/v1", "http://a:b@x/v1"):
        with pytest.raises(SpecError, match="do not name an engine"):
            call("replay", target, "--engine", wrong, "--unverified")
    with pytest.raises(SpecError, match="do not name an engine"):
        call("replay", target, "--engine", engine.base_url, "--model", "-x", "--unverified")


def test_a_record_that_nobody_can_verify_needs_a_word_of_the_reader(
    spec, store, engine, monkeypatch
) -> None:
    monkeypatch.delenv("INFERENCEBENCH_POLICY", raising=False)
    call("run", spec, "--set", "load.concurrency=2")
    (first,) = store.run_ids()
    asked = len(engine.truths)
    with pytest.raises(SignerOptionError, match="--unverified"):
        call("replay", store.run(first).path, "--engine", engine.base_url)
    assert store.run_ids() == [first]
    assert len(engine.truths) == asked


def test_the_live_table_shows_stage_repeat_and_counts() -> None:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(progress_table("mine", Progress("measuring", 3, 9, 1, 12.0, 2, 5)))
    text = console.export_text()
    assert all(cell in text for cell in ("mine", "measuring", "2/5", "3/9", "12 s"))
