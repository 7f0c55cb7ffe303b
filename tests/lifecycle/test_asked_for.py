"""A run measures what was asked for under its id; an absent request is no wish."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from definitions import build_definitions
from inferencebench_pipeline.lifecycle.life_of_a_run.benchmark_run import BenchmarkForm, spec_of
from inferencebench_pipeline.lifecycle.partitions import runs
from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.spec.spec import spec_json
from inferencebench_pipeline.measure.spec.spec_file import load_spec, read_spec
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile, RunStore, new_run_id
from inferencebench_pipeline.settings import Settings
from tests.lifecycle.conftest import failed_steps, failure_text, materialised
from tests.measure.fake_engine import Behaviour, FakeEngine, running
from tests.measure.support import content_of_spec
from tests.paths import SPECS as SHIPPED


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with running(FakeEngine(lambda _: Behaviour())) as engine:
        yield engine


@pytest.fixture
def settings(tmp_path: Path, engine: FakeEngine) -> Settings:
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / "fake-chat.yaml").write_text(yaml.safe_dump(content_of_spec(engine.base_url)))
    return Settings.from_environment(
        {"INFERENCEBENCH_HOME": str(tmp_path / "home"), "INFERENCEBENCH_SPECS": str(specs)}
    )


def materialise(settings: Settings, run: RunDirectory, **form: object) -> dg.ExecuteInProcessResult:
    """Materialise the partition as the UI does: its first stages, with what the form says."""
    config: dict[str, Any] = {"ops": {"benchmark_run": {"config": form}}} if form else {}
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(runs.name), [run.run_id])
        return (
            build_definitions(settings)
            .resolve_job_def("publish_run")
            .execute_in_process(
                instance=instance,
                partition_key=run.run_id,
                run_config=config,
                asset_selection=[dg.AssetKey("benchmark_run")],
                raise_on_error=False,
            )
        )


def test_a_registered_run_without_a_request_measures_nothing_and_says_why(
    settings: Settings, engine: FakeEngine
) -> None:
    run = RunStore(settings.store).run(new_run_id())
    result = materialise(settings, run)
    assert failed_steps(result) == ["benchmark_run"]
    said = failure_text(result)
    assert f"run {run.run_id} is registered" in said
    assert str(run.file(RunFile.SPEC)) in said
    assert "launch_benchmark" in said
    assert not run.path.exists()
    assert not engine.truths


def test_a_request_in_another_store_is_no_request_for_another_benchmark(
    settings: Settings, engine: FakeEngine, tmp_path: Path
) -> None:
    """One host wrote it, another runs it, and they share no disk."""
    asked = RunStore(settings.store).run(new_run_id())
    asked.write(RunFile.SPEC, spec_json(load_spec(settings.specs / "fake-chat.yaml")))
    elsewhere = settings.model_copy(update={"home": tmp_path / "another-host"})
    result = materialise(elsewhere, RunStore(elsewhere.store).run(asked.run_id))
    assert "so it measures nothing" in failure_text(result)
    assert not engine.truths


def test_a_spec_that_the_launch_names_is_recorded_before_it_is_measured(
    settings: Settings, engine: FakeEngine
) -> None:
    run = RunStore(settings.store).run(new_run_id())
    seen: list[bool] = []
    engine.behaviour = lambda _: seen.append(run.has(RunFile.SPEC)) or Behaviour()
    result = materialise(settings, run, spec="fake-chat", overrides=["load.requests=5"])
    assert materialised(result) == {"benchmark_run"}
    assert read_spec(run.file(RunFile.SPEC)).load.requests == 5
    assert seen
    assert all(seen)
    # What was named once may be named again, also after it was measured.
    again = materialise(settings, run, spec="fake-chat", overrides=["load.requests=5"])
    assert again.success


def test_a_launch_cannot_name_another_spec_than_was_asked_for(
    settings: Settings, engine: FakeEngine
) -> None:
    run = RunStore(settings.store).run(new_run_id())
    run.write(RunFile.SPEC, spec_json(load_spec(settings.specs / "fake-chat.yaml")))
    result = materialise(settings, run, spec="fake-chat", overrides=["load.requests=5"])
    assert "was requested with another spec" in failure_text(result)
    assert not engine.truths


@pytest.mark.parametrize("damage", [b"", b"{", b"null", b"[]", b"\xff", b'{"name": "x"}'])
def test_a_damaged_request_measures_nothing(
    settings: Settings, engine: FakeEngine, damage: bytes
) -> None:
    run = RunStore(settings.store).run(new_run_id())
    run.write(RunFile.SPEC, damage)
    result = materialise(settings, run)
    assert failed_steps(result) == ["benchmark_run"]
    assert failure_text(result).startswith("SpecError: ")
    assert not engine.truths


def test_overrides_without_a_spec_are_refused(tmp_path: Path) -> None:
    run = RunStore(tmp_path).run(new_run_id())
    form = BenchmarkForm(overrides=["load.requests=5"])
    with pytest.raises(SpecError, match="without the spec that they belong to"):
        spec_of(run, SHIPPED, form)


def test_defaults_of_this_host_are_no_other_spec(tmp_path: Path) -> None:
    """The threads that ``null`` stands for are written into the request of the first attempt."""
    run = RunStore(tmp_path).run(new_run_id())
    form = BenchmarkForm(spec="smollm2-chat-quick")
    spec = spec_of(run, SHIPPED, form)
    engine = spec.engine.model_copy(update={"threads": 63})
    run.write(RunFile.SPEC, spec_json(spec.model_copy(update={"engine": engine})))
    assert spec_of(run, SHIPPED, form).engine == engine
