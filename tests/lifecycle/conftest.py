"""A deployment on the sandbox, and a run that has been measured once and can be copied."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.defs_state.base import _current_storage

from definitions import build_definitions
from inferencebench_pipeline.lifecycle.partitions import runs
from inferencebench_pipeline.measure.run.run import run_benchmark
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec, spec_json
from inferencebench_pipeline.measure.spec.spec_file import parse_spec
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile, RunStore, new_run_id
from inferencebench_pipeline.sandbox.faults_client import Faults
from inferencebench_pipeline.sandbox.process import SandboxEnvironment, running_sandbox
from inferencebench_pipeline.settings import Settings
from tests.measure.fake_engine import Behaviour, FakeEngine, running
from tests.measure.support import content_of_spec

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"


@dataclass(frozen=True)
class World:
    """One deployment: its definitions, its Dagster instance, its store and its sandbox."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance
    store: RunStore
    sandbox: SandboxEnvironment
    settings: Settings

    @property
    def hub_faults(self) -> Faults:
        return Faults(self.sandbox.hub_url)

    @property
    def sigstore_faults(self) -> Faults:
        return Faults(self.sandbox.sigstore_url)

    def materialise(self, run: RunDirectory) -> dg.ExecuteInProcessResult:
        """Run the whole life of a run, as the UI's button does; never raises."""
        self.instance.add_dynamic_partitions(str(runs.name), [run.run_id])
        return self.job("publish_run", run.run_id)

    def job(self, name: str, partition_key: str | None = None) -> dg.ExecuteInProcessResult:
        return self.definitions.resolve_job_def(name).execute_in_process(
            instance=self.instance, partition_key=partition_key, raise_on_error=False
        )


def failure_text(result: dg.ExecuteInProcessResult) -> str:
    """Return what the failed steps said, joined: description, message and cause."""
    texts = []
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data is not None:
                texts.append(data.user_failure_data.description or "")
            error = data.error
            while error is not None:
                texts.append(error.message)
                error = error.cause
    return "\n".join(texts)


def failed_steps(result: dg.ExecuteInProcessResult) -> list[str]:
    return [event.step_key for event in result.all_events if event.is_step_failure]


def materialised(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.asset_key.path[-1] for event in result.get_asset_materialization_events()}


def failed_checks(result: dg.ExecuteInProcessResult) -> set[str]:
    return {
        evaluation.check_name
        for evaluation in result.get_asset_check_evaluations()
        if not evaluation.passed
    }


@pytest.fixture(autouse=True)
def _no_storage_of_a_dead_instance() -> None:
    """Forget which instance was entered last.

    Dagster keeps its storage in a context variable, and an instance that is left by the garbage
    collector puts back there what was before it, which may be the storage of one that is gone.
    """
    _current_storage.set(None)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxEnvironment]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as environment:
        yield environment


@pytest.fixture
def world(
    sandbox: SandboxEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    for name, value in sandbox.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("INFERENCEBENCH_HOME", str(tmp_path))
    monkeypatch.setenv("INFERENCEBENCH_UPDATE_MODEL_CARD", "1")
    monkeypatch.setenv("INFERENCEBENCH_OUTAGE_RETRIES", "0")
    settings = Settings.from_environment()
    with dg.DagsterInstance.ephemeral() as instance:
        world = World(
            definitions=build_definitions(settings),
            instance=instance,
            store=RunStore(settings.store),
            sandbox=sandbox,
            settings=settings,
        )
        yield world
        world.hub_faults.clear()
        world.sigstore_faults.clear()


@contextmanager
def serving(
    model: str = MODEL, behaviour: Behaviour | None = None, port: int = 0
) -> Iterator[FakeEngine]:
    """A scripted engine on a real socket."""
    engine = FakeEngine(lambda _number: behaviour or Behaviour(), model=model)
    engine.port = port
    with running(engine) as started:
        yield started


def spec_for(base_url: str) -> BenchmarkSpec:
    """A benchmark of a second or so against an OpenAI-compatible server."""
    content = content_of_spec(
        base_url,
        model={"id": MODEL, "revision": "12fd25f77366fa6b3b4b768ec3050bf629380bac"},
        load={"kind": "closed", "concurrency": 2, "requests": 12, "warmup_requests": 2},
        deadlines={"request_s": 5, "run_s": 30, "engine_start_s": 2},
    )
    return parse_spec(content, where="test")


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with a complete capture; tests copy it under run ids of their own."""
    store = RunStore(tmp_path_factory.mktemp("measured"))
    run = store.run(new_run_id())
    with serving() as engine:
        run_benchmark(spec_for(engine.base_url), run, on_progress=lambda _step: None)
    return run.path


@pytest.fixture
def measured_run(world: World, measured: Path) -> RunDirectory:
    """A run of ``world`` whose benchmark is done and whose other stages are not."""
    run = world.store.run(new_run_id())
    shutil.copytree(measured, run.path)
    return run


@pytest.fixture
def own_run(world: World) -> RunDirectory:
    """A run of ``world`` that nobody copies: on the shared Hub its copies count as repetitions."""
    run = world.store.run(new_run_id())
    with serving() as engine:
        run_benchmark(spec_for(engine.base_url), run, on_progress=lambda _step: None)
    return run


@pytest.fixture
def requested_run(world: World) -> RunDirectory:
    """A run that was asked for and not begun; its engine is written by the test."""
    return world.store.run(new_run_id())


def ask_for(run: RunDirectory, spec: BenchmarkSpec) -> None:
    run.write(RunFile.SPEC, spec_json(spec))
