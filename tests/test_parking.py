"""Parking: what an outage leaves in the run directory, and what takes it away again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from inferencebench_pipeline.errors import PermanentError, RetryableError
from inferencebench_pipeline.parking import Parked, parked_by_an_outage, parked_state
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile, RunStore, new_run_id


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunStore(tmp_path).run(new_run_id())


def park(run: RunDirectory, stage: str = "signature", **hint: float) -> Parked:
    error = RetryableError("down", **hint)
    with pytest.raises(RetryableError) as caught, parked_by_an_outage(run, stage):
        raise error
    assert caught.value is error
    state = parked_state(run)
    assert state is not None
    return state


def park_when_due(run: RunDirectory) -> Parked:
    """Park it again, as the next attempt does, when the time to try again has come."""
    state = parked_state(run)
    assert state is not None
    due = state.model_copy(update={"not_before": datetime.now(UTC)})
    run.write(RunFile.PARKED, due.model_dump_json().encode())
    return park(run)


def pause(state: Parked) -> float:
    return (state.not_before - datetime.now(UTC)).total_seconds()


def test_an_outage_parks_with_its_reason_and_success_takes_off(run: RunDirectory) -> None:
    state = park(run)
    assert (state.stage, state.reason, state.attempts) == ("signature", "down", 1)
    with parked_by_an_outage(run, "signature"):
        pass
    assert parked_state(run) is None


def test_the_pause_doubles_up_to_hours_and_the_beginning_is_kept(run: RunDirectory) -> None:
    first = park(run)
    states = [park_when_due(run) for _ in range(12)]
    assert [state.attempts for state in states[:3]] == [2, 3, 4]
    assert {state.since for state in states} == {first.since}
    pauses = [pause(state) for state in (first, *states)]
    assert pauses == sorted(pauses)
    assert 50 < pauses[0] <= 60
    assert timedelta(hours=5).total_seconds() < pauses[-1] <= timedelta(hours=6).total_seconds()


def test_a_step_that_tries_again_before_its_time_is_the_same_attempt(run: RunDirectory) -> None:
    states = [park(run) for _ in range(3)]
    assert [state.attempts for state in states] == [1, 1, 1]
    assert pause(states[-1]) <= 60
    assert park_when_due(run).attempts == 2


def test_what_the_server_asks_is_heeded_within_reason(run: RunDirectory) -> None:
    assert 1700 < pause(park(run, retry_after_s=1800.0)) <= 1800
    assert pause(park(run, retry_after_s=1e9)) <= timedelta(hours=6).total_seconds()


def test_another_stage_begins_to_count_anew(run: RunDirectory) -> None:
    park(run), park(run)
    assert park(run, "hub_dataset").attempts == 1


def test_a_refusal_is_not_parked_and_takes_off_what_was(run: RunDirectory) -> None:
    park(run)
    with pytest.raises(PermanentError), parked_by_an_outage(run, "signature"):
        raise PermanentError("no")
    assert parked_state(run) is None


def test_a_bug_leaves_it_as_it_was(run: RunDirectory) -> None:
    before = park(run)
    with pytest.raises(ZeroDivisionError), parked_by_an_outage(run, "signature"):
        raise ZeroDivisionError
    assert parked_state(run) == before


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"stage": 1}'])
def test_a_damaged_file_counts_as_none(run: RunDirectory, content: bytes) -> None:
    run.write(RunFile.PARKED, content)
    assert parked_state(run) is None
    assert park(run).attempts == 1
