"""Asking for a run, and the sensor that answers: once, whatever is cut off in between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from definitions import build_definitions
from inferencebench_pipeline.automation.sensors.requested_runs import unanswered
from inferencebench_pipeline.measure.spec.spec_file import read_spec
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore, new_run_id
from inferencebench_pipeline.settings import Settings
from tests.automation.ticks import sensor_tick


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"INFERENCEBENCH_HOME": str(tmp_path)})


@pytest.fixture
def definitions(settings: Settings) -> dg.Definitions:
    return build_definitions(settings)


def _tick(definitions: dg.Definitions, instance: dg.DagsterInstance) -> SensorExecutionData:
    return sensor_tick(definitions, instance, "requested_runs")


def test_a_launch_writes_the_spec_and_the_sensor_starts_its_whole_life(
    definitions, instance, settings
):
    config = {"spec": "smollm2-chat-quick", "overrides": ["load.concurrency=[1, 2]"]}
    launched = definitions.resolve_job_def("launch_benchmark").execute_in_process(
        instance=instance, run_config={"ops": {"request_run": {"config": config}}}
    )
    run_ids = launched.output_for_node("request_run")
    specs = [
        read_spec(RunStore(settings.store).run(run_id).file(RunFile.SPEC)) for run_id in run_ids
    ]
    assert [spec.load.concurrency for spec in specs] == [1, 2]

    tick = _tick(definitions, instance)
    assert sorted(request.partition_key for request in tick.run_requests) == sorted(run_ids)
    assert {request.job_name for request in tick.run_requests} <= {None, "publish_run"}


def test_a_second_tick_asks_with_the_same_key_so_that_dagster_launches_once(definitions, instance):
    definitions.resolve_job_def("launch_benchmark").execute_in_process(instance=instance)
    first, second = _tick(definitions, instance), _tick(definitions, instance)
    assert [r.run_key for r in first.run_requests] == [r.run_key for r in second.run_requests]


def test_a_run_that_was_started_by_hand_or_schedule_is_not_started_again(
    definitions, instance, settings
):
    run = RunStore(settings.store).run(new_run_id())
    run.write(RunFile.SPEC, b"{}")
    instance.create_run_for_job(
        definitions.resolve_job_def("publish_run"), tags={"dagster/partition": run.run_id}
    )
    assert not _tick(definitions, instance).run_requests


def test_a_run_with_a_capture_or_without_a_spec_is_not_waiting(settings):
    store = RunStore(settings.store)
    begun, empty, old = (store.run(new_run_id()) for _ in range(3))
    begun.write(RunFile.SPEC, b"{}")
    begun.file(RunFile.CAPTURE).mkdir()
    empty.path.mkdir(parents=True)
    old.write(RunFile.SPEC, b"{}")
    now = datetime.now(tz=UTC)
    hour = timedelta(hours=1)
    assert unanswered(store, since=now - hour, until=now) == [old.run_id]
    assert unanswered(store, since=now + hour, until=now + 2 * hour) == []


def test_a_run_whose_time_has_not_come_waits_for_it(settings):
    store, now = RunStore(settings.store), datetime.now(tz=UTC)
    in_ten_minutes = int((now.timestamp() + 600) * 1000)
    later = store.run(new_run_id(unix_ms=in_ten_minutes))
    later.write(RunFile.SPEC, b"{}")
    since = now - timedelta(hours=1)
    assert unanswered(store, since=since, until=now) == []
    assert unanswered(store, since=since, until=now + timedelta(minutes=11)) == [later.run_id]


def test_the_form_offers_the_specs_that_are_there_and_refuses_others(definitions, settings):
    job = definitions.resolve_job_def("launch_benchmark")
    shipped = {path.stem for path in settings.specs.glob("*.yaml")}
    for name in shipped:
        dg.validate_run_config(job, {"ops": {"request_run": {"config": {"spec": name}}}})
    with pytest.raises(dg.DagsterInvalidConfigError, match="nothing-like-that"):
        config = {"spec": "nothing-like-that"}
        dg.validate_run_config(job, {"ops": {"request_run": {"config": config}}})


def test_a_folder_without_specs_does_not_stop_the_code_location(tmp_path):
    settings = Settings.from_environment(
        {"INFERENCEBENCH_HOME": str(tmp_path), "INFERENCEBENCH_SPECS": str(tmp_path)}
    )
    assert build_definitions(settings).resolve_job_def("launch_benchmark")


@pytest.mark.parametrize(
    "override",
    [
        "engine={kind: openai, base_url: 'http://attacker.test/v1', api_key_env: HF_TOKEN}",
        "engine={kind: openai, base_url: 'http://169.254.169.254/v1'}",
        "engine={kind: vllm, args: [--trust-remote-code]}",
        "workload.dataset={kind: jsonl, path: /etc/passwd}",
    ],
)
@pytest.mark.parametrize(
    ("job", "op"), [("launch_benchmark", "request_run"), ("search_highest_load", "probe_loads")]
)
def test_a_form_replaces_the_load_and_not_what_runs_or_whom_it_asks(
    job, op, override, definitions, instance, settings
):
    spec = "smollm2-sweep" if op == "probe_loads" else "smollm2-chat-quick"
    config = {"spec": spec, "overrides": [override]}
    done = definitions.resolve_job_def(job).execute_in_process(
        instance=instance, run_config={"ops": {op: {"config": config}}}, raise_on_error=False
    )
    assert not done.success
    (failure,) = [event for event in done.all_events if event.is_step_failure]
    said = failure.event_specific_data.error.to_string()
    assert "a launch may not replace" in said or "no engine is ever sent it" in said
    assert RunStore(settings.store).run_ids() == []
