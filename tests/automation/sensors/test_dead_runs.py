"""Runs whose process is gone: declared failed once, and no other run is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher

from definitions import build_definitions
from inferencebench_pipeline.automation.sensors import dead_runs
from inferencebench_pipeline.settings import Settings


@pytest.fixture
def definitions(tmp_path, monkeypatch) -> dg.Definitions:
    monkeypatch.setattr(dead_runs, "JUST_STARTED", timedelta(seconds=-1))
    return build_definitions(Settings.from_environment({"INFERENCEBENCH_HOME": str(tmp_path)}))


def started(definitions: dg.Definitions, instance: dg.DagsterInstance, pid: int | None) -> str:
    run = instance.create_run_for_job(definitions.resolve_job_def("crawl_corpus"))
    if pid is not None:
        instance.report_engine_event("Started process", run, EngineEventData.in_process(pid))
    event = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name)
    instance.report_dagster_event(event, run.run_id)
    return run.run_id


def tick(instance: dg.DagsterInstance) -> str:
    with dg.build_sensor_context(instance=instance) as context:
        return str(dead_runs.dead_runs.evaluate_tick(context).skip_message)


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_run_whose_process_is_gone_is_declared_failed_once(definitions, instance):
    run_id = started(definitions, instance, ended_process())
    assert run_id in tick(instance)
    assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.FAILURE
    assert run_id not in tick(instance)


@pytest.mark.parametrize("pid", [os.getpid(), None], ids=["it lives", "it never said"])
def test_a_run_that_may_live_is_left_alone(definitions, instance, pid):
    run_id = started(definitions, instance, pid)
    assert tick(instance) == "no dead runs"
    assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.STARTED


def test_a_younger_process_with_the_same_number_is_not_the_runs(definitions, instance, monkeypatch):
    monkeypatch.setattr(dead_runs, "_CLOCK_TOLERANCE_S", -10_000_000.0)  # as if the run were so old
    run_id = started(definitions, instance, os.getpid())
    assert run_id in tick(instance)


def test_a_run_that_has_just_started_is_given_time(definitions, instance, monkeypatch):
    monkeypatch.setattr(dead_runs, "JUST_STARTED", timedelta(minutes=2))
    run_id = started(definitions, instance, ended_process())
    assert run_id not in tick(instance)


class CannotAsk(SyncInMemoryRunLauncher):
    """A launcher that does not know whether its runs live."""


class CanAsk(SyncInMemoryRunLauncher):
    """A launcher that asks an engine of its own, as those of Kubernetes and Celery do."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True


@pytest.mark.parametrize("launcher", [CannotAsk, CanAsk])
@pytest.mark.parametrize("limit_s", [0, 3600])
def test_for_another_launcher_it_says_who_notices(launcher, limit_s):
    settings = {
        "run_launcher": {"module": __name__, "class": launcher.__name__},
        "run_monitoring": {"enabled": True, "max_runtime_seconds": limit_s},
    }
    with dg.instance_for_test(overrides=settings) as instance:
        said = tick(instance)
    assert said.startswith(f"the {launcher.__name__} ")
    assert ("checks the health of its runs itself" in said) is (launcher is CanAsk)
    assert ("ends a dead run after 3600 s" if limit_s else "set run_monitoring.max_runtime") in said
