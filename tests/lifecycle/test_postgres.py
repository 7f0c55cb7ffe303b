"""The life of runs over the production configuration and a real PostgreSQL, and its restarts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from huggingface_hub import HfApi

from inferencebench_pipeline.automation.run_requests import interrupted_runs
from inferencebench_pipeline.hub.dataset.receipt import Receipt
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile, new_run_id
from tests.automation.ticks import sensor_tick
from tests.lifecycle.conftest import (
    MODEL,
    World,
    ask_for,
    failed_checks,
    failure_text,
    materialised,
    spec_for,
)
from tests.lifecycle.test_life import STAGES
from tests.measure.fake_engine import Behaviour, FakeEngine, running
from tests.paths import REPOSITORY as CLONE
from tests.postgres import Postgres, running_postgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CONFIGURATION = CLONE / "deploy/dagster.postgres.yaml"
MATERIALISE = """
import sys
import dagster as dg
from definitions import build_definitions
from inferencebench_pipeline.settings import Settings
from tests.paths import REPOSITORY as CLONE
job = build_definitions(Settings.from_environment()).resolve_job_def("publish_run")
with dg.DagsterInstance.get() as instance:
    job.execute_in_process(instance=instance, partition_key=sys.argv[1])
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def production(
    world: World, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """The deployment of the other tests, on the instance of ``deploy/dagster.postgres.yaml``."""
    for name, value in postgres.environ.items():
        monkeypatch.setenv(name, value)
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy(CONFIGURATION, home / "dagster.yaml")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield replace(world, instance=instance)


def _engine(at_request: int, event: threading.Event) -> FakeEngine:
    """An engine that sets ``event`` when it is asked for the n-th time."""

    def behaviour(number: int) -> Behaviour:
        if number == at_request:
            event.set()
        return Behaviour(itl_s=0.005)

    return FakeEngine(behaviour, model=MODEL)


def _materialising(run: RunDirectory, folder: Path) -> subprocess.Popen[str]:
    """The whole life of a run in a process of its own, as a run worker has it."""
    return subprocess.Popen(
        [sys.executable, "-c", MATERIALISE, run.run_id],
        env=os.environ | {"DAGSTER_HOME": str(folder / "dagster")},
        cwd=CLONE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _commits(world: World, run: RunDirectory) -> int:
    receipt = Receipt.model_validate_json(run.read(RunFile.PUBLICATION))
    hub = HfApi(endpoint=world.sandbox.hub_url, token=world.sandbox.token())
    return len(hub.list_repo_commits(receipt.repo_id, repo_type="dataset"))


def test_the_whole_life_of_a_run_and_what_follows(production, measured_run):
    result = production.materialise(measured_run)
    assert result.success, failure_text(result)
    assert materialised(result) == set(STAGES)
    assert failed_checks(result) == set()
    assert production.instance.get_materialized_partitions(dg.AssetKey("hub_dataset")) >= {
        measured_run.run_id
    }
    crawled = production.job("crawl_corpus")
    assert crawled.success, failure_text(crawled)


def test_two_runs_at_the_same_time_are_both_published_once(production, measured, tmp_path):
    runs = [production.store.run(new_run_id()) for _ in range(2)]
    production.instance.add_dynamic_partitions("runs", [run.run_id for run in runs])
    for run in runs:
        shutil.copytree(measured, run.path)
    processes = [_materialising(run, tmp_path) for run in runs]
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    alone = production.store.run(new_run_id())
    shutil.copytree(measured, alone.path)
    assert production.materialise(alone).success
    assert {_commits(production, run) for run in runs} == {_commits(production, alone)}
    stored = production.instance.get_materialized_partitions(dg.AssetKey("hub_dataset"))
    assert stored >= {run.run_id for run in runs}


def test_a_restart_while_a_benchmark_measures_does_not_disturb_it(
    production, postgres, requested_run
):
    reached = threading.Event()
    restarting = threading.Thread(target=lambda: reached.wait(60) and postgres.restart())
    restarting.start()
    with running(_engine(5, reached)) as engine:
        ask_for(requested_run, spec_for(engine.base_url))
        result = production.materialise(requested_run)
    restarting.join(60)
    assert reached.is_set()
    assert result.success, failure_text(result)
    assert materialised(result) == set(STAGES)


def test_after_a_crash_of_run_and_database_together_the_run_is_finished(
    production, postgres, requested_run, tmp_path
):
    production.instance.add_dynamic_partitions("runs", [requested_run.run_id])
    reached = threading.Event()
    with running(_engine(5, reached)) as engine:
        ask_for(requested_run, spec_for(engine.base_url))
        process = _materialising(requested_run, tmp_path)
        assert reached.wait(60)
        process.kill()
        postgres.restart()
        process.communicate(timeout=30)
        assert not requested_run.has(RunFile.PUBLICATION)
        again = production.materialise(requested_run)
    assert again.success, failure_text(again)
    assert materialised(again) == set(STAGES)
    assert failed_checks(again) == set()


def test_a_database_away_for_longer_than_writes_are_repeated_interrupts_a_run_and_refuses_none(
    production, postgres, requested_run, tmp_path, monkeypatch
):
    """It is asked for again by itself, where Dagster's daemon, here absent, does not retry it."""
    monkeypatch.setattr(interrupted_runs, "RETRIED_BY_DAGSTER_WITHIN", timedelta(0))
    production.instance.add_dynamic_partitions("runs", [requested_run.run_id])
    reached = threading.Event()

    def away() -> None:
        assert reached.wait(60)
        postgres.stop()
        time.sleep(30)
        postgres.start()

    thread = threading.Thread(target=away)
    thread.start()
    with running(_engine(2, reached)) as engine:
        ask_for(requested_run, spec_for(engine.base_url))
        process = _materialising(requested_run, tmp_path)
        process.communicate(timeout=200)
        thread.join(60)
    assert not requested_run.has(RunFile.PUBLICATION)
    of_this_run = dg.RunsFilter(tags={"dagster/partition": requested_run.run_id})
    (record,) = production.instance.get_run_records(of_this_run)
    if not record.dagster_run.is_finished:
        # It could not even say that it failed: the monitor, or dead_runs, does.
        production.instance.report_run_failed(record.dagster_run, "its process is gone")
    tick = sensor_tick(production.definitions, production.instance, "requested_runs")
    assert [one.run_key for one in tick.run_requests or ()] == [f"{requested_run.run_id}:2"]


def test_the_password_is_nowhere_but_in_the_environment(production, postgres, tmp_path):
    reference = json.dumps(production.instance.get_ref().to_dict())
    assert "DAGSTER_POSTGRES_PASSWORD" in reference
    assert postgres.password not in reference
    for file in (tmp_path / "dagster").rglob("*"):
        assert not file.is_file() or postgres.password.encode() not in file.read_bytes(), file
