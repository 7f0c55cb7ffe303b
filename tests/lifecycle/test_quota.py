"""A quota that is refilled by the hour ends the run; the sensor goes on when it is time."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

from definitions import build_definitions
from inferencebench_pipeline.automation.sensors.parked_runs import unfinished
from inferencebench_pipeline.parking import parked_state
from tests.lifecycle.conftest import failed_steps, failure_text

QUOTA = (
    "You have exceeded the rate limit for repository commits (128 per hour). "
    "You can retry this action in about 1 hour."
)


def test_an_exhausted_action_quota_requeues_the_run_and_does_not_sleep(world, measured_run):
    settings = world.settings.model_copy(update={"outage_retries": 5, "outage_wait_s": 3600.0})
    world = dataclasses.replace(world, definitions=build_definitions(settings))
    fault = world.hub_faults.add("status", path="/commit/", status=429, body=QUOTA, times=None)
    result = world.materialise(measured_run)
    assert failed_steps(result) == ["hub_dataset"]
    assert "not waited for here" in failure_text(result)
    assert not any(event.is_step_up_for_retry for event in result.all_events)
    assert world.hub_faults.fired(fault) == 1

    parked = parked_state(measured_run)
    assert parked is not None
    now = datetime.now(UTC)
    assert parked.not_before > now + timedelta(minutes=50)
    assert list(unfinished(world.store, now=now)) == []
    (waiting,) = unfinished(world.store, now=now + timedelta(minutes=70))
    assert (waiting.run_id, waiting.stage) == (measured_run.run_id, "hub_dataset")

    world.hub_faults.clear()
    assert world.materialise(measured_run).success
    assert parked_state(measured_run) is None
