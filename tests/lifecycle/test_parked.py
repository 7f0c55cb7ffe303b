"""An outage parks a run; the sensor finishes it from where it stopped, and only that."""

from __future__ import annotations

import contextlib
import dataclasses
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from inferencebench_pipeline.automation.sensors.parked_runs import unfinished
from inferencebench_pipeline.lifecycle.partitions import runs
from inferencebench_pipeline.parking import parked_by_an_outage, parked_state
from inferencebench_pipeline.runs.run_directory import RunFile
from inferencebench_pipeline.trust.errors import SigningUnavailableError
from tests.automation.ticks import sensor_tick
from tests.instances import fresh_instance
from tests.lifecycle.conftest import failed_steps, failure_text, materialised

LATER = datetime.now(UTC) + timedelta(hours=7)


@pytest.fixture
def world(world):
    """The same with an instance on disk: the daemon hands a reference to it to the sensor."""
    with fresh_instance() as instance:
        yield dataclasses.replace(world, instance=instance)


def tick(world):
    return sensor_tick(world.definitions, world.instance, "parked_runs").run_requests


def make_due(run):
    state = parked_state(run)
    past = state.model_copy(update={"not_before": datetime.now(UTC) - timedelta(seconds=1)})
    run.write(RunFile.PARKED, past.model_dump_json().encode())


def launched(world, run, request=None):
    """Run the job as the daemon would, with the record in the instance that sensors look at."""
    return world.definitions.resolve_job_def("publish_run").execute_in_process(
        instance=world.instance,
        partition_key=run.run_id,
        asset_selection=None if request is None else request.asset_selection,
        raise_on_error=False,
    )


OUTAGES = [
    pytest.param("sigstore_faults", r"/log/entries", "signature", id="Rekor"),
    pytest.param("hub_faults", r"/commit/", "hub_dataset", id="Hub"),
]


@pytest.mark.parametrize(("service", "path", "stage"), OUTAGES)
def test_an_outage_parks_and_the_sensor_finishes(world, measured_run, service, path, stage):
    world.instance.add_dynamic_partitions(str(runs.name), [measured_run.run_id])
    getattr(world, service).add("drop", path=path, times=None)
    first = launched(world, measured_run)
    assert failed_steps(first) == [stage]
    state = parked_state(measured_run)
    assert state is not None
    assert (state.stage, state.attempts) == (stage, 1)
    assert tick(world) == []

    make_due(measured_run)
    (request,) = tick(world)
    assert request.partition_key == measured_run.run_id
    assert tick(world)[0].run_key == request.run_key
    getattr(world, service).clear()
    result = launched(world, measured_run, request)
    assert result.success, failure_text(result)
    assert "benchmark_run" not in materialised(result)
    assert measured_run.has(RunFile.PUBLICATION)
    assert parked_state(measured_run) is None
    assert tick(world) == []


def parked_by_hand(run):
    with contextlib.suppress(SigningUnavailableError), parked_by_an_outage(run, "signature"):
        raise SigningUnavailableError("the log is down")
    make_due(run)


def test_a_run_that_is_being_worked_on_is_left_alone(world, measured_run):
    parked_by_hand(measured_run)
    assert [request.partition_key for request in tick(world)] == [measured_run.run_id]
    world.instance.create_run_for_job(
        world.definitions.resolve_job_def("publish_run"),
        tags={"dagster/partition": measured_run.run_id},
        status=dg.DagsterRunStatus.STARTED,
    )
    assert tick(world) == []


def test_a_signature_left_behind_by_a_killed_process_is_finished(world, measured_run):
    measured_run.write(RunFile.SIGNATURE, b"{}")
    assert list(unfinished(world.store, now=datetime.now(UTC))) == []
    (found,) = unfinished(world.store, now=LATER)
    assert (found.run_id, found.stage, found.left_behind) == (
        measured_run.run_id,
        "signature",
        True,
    )
    measured_run.write(RunFile.ENVELOPE, b"{}")
    assert list(unfinished(world.store, now=LATER)) == []


def test_a_run_parked_longer_than_a_month_is_given_up(world, measured_run):
    parked_by_hand(measured_run)
    assert len(list(unfinished(world.store, now=LATER))) == 1
    assert list(unfinished(world.store, now=LATER + timedelta(days=31))) == []
