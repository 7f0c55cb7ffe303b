"""Runs that other hosts delivered: the sensor takes them in and starts each of them once."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from definitions import build_definitions
from inferencebench_pipeline.inbox.deliveries import Inbox, deliver
from inferencebench_pipeline.lifecycle.partitions import runs
from inferencebench_pipeline.measure.errors import AllRequestsFailedError
from inferencebench_pipeline.measure.run.run import run_benchmark
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile, RunStore, new_run_id
from inferencebench_pipeline.settings import Settings
from tests.automation.ticks import sensor_tick
from tests.measure.fake_engine import Behaviour, FakeEngine, running
from tests.measure.support import ignore_progress, spec_for


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    run = RunStore(tmp_path_factory.mktemp("gpu-host")).run(new_run_id())
    with running(FakeEngine(lambda _number: Behaviour())) as engine:
        run_benchmark(spec_for(engine.base_url), run, on_progress=ignore_progress)
    return run


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment(
        {
            "INFERENCEBENCH_HOME": str(tmp_path / "home"),
            "INFERENCEBENCH_INBOX": str(tmp_path / "inbox"),
        }
    )


@pytest.fixture
def definitions(settings: Settings) -> dg.Definitions:
    return build_definitions(settings)


def _tick(definitions: dg.Definitions, instance: dg.DagsterInstance) -> SensorExecutionData:
    return sensor_tick(definitions, instance, "new_runs")


def _started(tick: SensorExecutionData) -> list[str]:
    return [str(request.partition_key) for request in tick.run_requests]


def test_a_delivered_run_becomes_a_partition_and_is_started(
    definitions, instance, settings, finished
):
    deliver(finished, settings.inbox)
    tick = _tick(definitions, instance)
    assert _started(tick) == [finished.run_id]
    (register,) = tick.dynamic_partitions_requests
    assert (register.partitions_def_name, register.partition_keys) == (runs.name, [finished.run_id])


def test_a_tick_that_died_after_taking_the_run_in_is_made_good_by_the_next(
    definitions, instance, settings, finished
):
    deliver(finished, settings.inbox)
    Inbox(settings.inbox).take_in(RunStore(settings.store))  # what the dead tick had done
    first, second = _tick(definitions, instance), _tick(definitions, instance)
    assert _started(first) == [finished.run_id]
    assert [r.run_key for r in first.run_requests] == [r.run_key for r in second.run_requests]


def test_a_run_that_was_started_is_not_started_again_even_when_delivered_again(
    definitions, instance, settings, finished
):
    deliver(finished, settings.inbox)
    _tick(definitions, instance)
    instance.create_run_for_job(
        definitions.resolve_job_def("publish_run"), tags={"dagster/partition": finished.run_id}
    )
    deliver(finished, settings.inbox)
    assert not _started(_tick(definitions, instance))


def test_a_delivery_that_is_put_aside_is_told_and_starts_nothing(
    definitions, instance, settings, finished
):
    deliver(finished, settings.inbox)
    spool = Path(settings.inbox) / finished.run_id / "capture" / "requests.jsonl"
    spool.write_bytes(spool.read_bytes()[:-1] + b"!")
    tick = _tick(definitions, instance)
    assert not _started(tick)
    assert "1 were put aside" in str(tick.skip_message)


@pytest.mark.parametrize("damage", ["nothing succeeded", "incomplete", "damaged", "gone"])
def test_what_was_delivered_is_never_measured_here_whatever_became_of_it(
    definitions, instance, settings, tmp_path, damage
):
    """Its spec, of another host, would decide what is started here and who gets the key."""
    run = RunStore(tmp_path / "gpu-host").run(new_run_id())
    status = 500 if damage == "nothing succeeded" else 200
    with running(FakeEngine(lambda _number: Behaviour(status=status))) as engine:
        with contextlib.suppress(AllRequestsFailedError):
            run_benchmark(spec_for(engine.base_url), run, on_progress=ignore_progress)
        deliver(run, settings.inbox)
        assert _started(_tick(definitions, instance)) == [run.run_id]
        capture = RunStore(settings.store).run(run.run_id).file(RunFile.CAPTURE)
        if damage == "incomplete":
            (capture / "complete.json").unlink()
        elif damage == "damaged":
            (capture / "complete.json").write_bytes(b"{")
        elif damage == "gone":
            shutil.rmtree(capture)
        asked = len(engine.truths)
        instance.add_dynamic_partitions(str(runs.name), [run.run_id])
        result = definitions.resolve_job_def("publish_run").execute_in_process(
            instance=instance, partition_key=run.run_id, raise_on_error=False
        )
        assert not result.success
        assert len(engine.truths) == asked


def test_without_an_inbox_the_sensor_says_so(tmp_path, instance):
    settings = Settings.from_environment({"INFERENCEBENCH_HOME": str(tmp_path)})
    tick = _tick(build_definitions(settings), instance)
    assert "INFERENCEBENCH_INBOX is not set" in str(tick.skip_message)
