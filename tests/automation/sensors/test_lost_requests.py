"""A run that was asked for is measured, or people are told that its request was lost."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from definitions import build_definitions
from inferencebench_pipeline.lifecycle.partitions import runs
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore, new_run_id, run_started_at
from inferencebench_pipeline.settings import Settings
from tests.automation.ticks import sensor_tick

MINUTE_MS = 60_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"INFERENCEBENCH_HOME": str(tmp_path)})


def asked(minutes_ago: float) -> str:
    now_ms = int(run_started_at(new_run_id()).timestamp() * 1000)
    return new_run_id(unix_ms=now_ms - int(minutes_ago * MINUTE_MS))


def tick(settings: Settings, instance: dg.DagsterInstance) -> SensorExecutionData:
    return sensor_tick(build_definitions(settings), instance, "lost_requests")


def test_a_run_whose_request_is_gone_is_launched_once_to_fail_with_the_reason(settings, instance):
    definitions = build_definitions(settings)
    launch = definitions.resolve_job_def("launch_benchmark").execute_in_process(instance=instance)
    (kept,) = launch.output_for_node("request_run")
    lost = asked(60)
    instance.add_dynamic_partitions(str(runs.name), [lost])

    (request,) = tick(settings, instance).run_requests
    assert (request.partition_key, request.run_key) == (lost, f"{lost}:1")
    result = definitions.resolve_job_def("publish_run").execute_in_process(
        instance=instance, partition_key=lost, raise_on_error=False
    )
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    data = failure.step_failure_data
    assert data.user_failure_data is not None
    assert f"run {lost} is registered" in (data.user_failure_data.description or "")
    assert not tick(settings, instance).run_requests
    assert RunStore(settings.store).run(kept).has(RunFile.SPEC)


@pytest.mark.parametrize(
    "key",
    [
        lambda: asked(1),
        lambda: asked(-60),
        lambda: asked(8 * 24 * 60),
        lambda: "by-hand",
        lambda: "../outside",
        lambda: "",
    ],
    ids=["just now", "ahead of the clock", "long ago", "a word", "a path", "nothing"],
)
def test_what_was_just_registered_or_long_ago_or_is_no_run_is_left_alone(settings, instance, key):
    instance.add_dynamic_partitions(str(runs.name), [key()])
    assert not tick(settings, instance).run_requests


def test_a_run_that_has_its_request_is_the_other_sensors(settings, instance):
    run = RunStore(settings.store).run(asked(60))
    run.write(RunFile.SPEC, b"{}")
    instance.add_dynamic_partitions(str(runs.name), [run.run_id])
    assert not tick(settings, instance).run_requests


def test_who_asks_writes_the_request_before_the_run_id_is_registered(
    settings, instance, monkeypatch
):
    """Cut off in between, the request is there, and the sensor that answers registers it."""
    job = build_definitions(settings).resolve_job_def("launch_benchmark")

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(instance), "add_dynamic_partitions", cut_off)
    job.execute_in_process(instance=instance, raise_on_error=False)
    monkeypatch.undo()
    (run_id,) = RunStore(settings.store).run_ids()
    answer = sensor_tick(build_definitions(settings), instance, "requested_runs")
    assert [request.partition_key for request in answer.run_requests] == [run_id]
    assert answer.dynamic_partitions_requests[0].partition_keys == [run_id]
