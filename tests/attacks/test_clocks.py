"""A clock that was ahead for a moment: nothing that it left behind is parked or nudged for ever."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from inferencebench_pipeline.automation.sensors.nudged_crawl import crawl_reason
from inferencebench_pipeline.automation.sensors.parked_runs import LEFT_BEHIND_AFTER, unfinished
from inferencebench_pipeline.hub.webhooks import NUDGE_FILE, nudge, nudged_since
from inferencebench_pipeline.parking import LONGEST_WAIT, Parked
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore, new_run_id, run_started_at

NOW = datetime.now(UTC)
AHEAD = [timedelta(hours=7), timedelta(days=2), timedelta(days=365 * 73)]


@pytest.mark.parametrize("ahead", AHEAD)
def test_a_nudge_of_a_time_to_come_is_no_news(tmp_path: Path, ahead: timedelta) -> None:
    document = {"schema_version": "1", "nudged_at_ns": int((NOW + ahead).timestamp() * 1e9)}
    (tmp_path / NUDGE_FILE).write_text(json.dumps(document))
    assert not nudged_since(tmp_path, NOW - timedelta(hours=1))
    nudge(tmp_path)
    assert nudged_since(tmp_path, NOW - timedelta(hours=1))


@pytest.mark.parametrize("ahead", AHEAD)
def test_a_crawl_asked_for_in_a_time_to_come_does_not_put_off_the_next(ahead: timedelta) -> None:
    assert crawl_reason(now=NOW, last_asked=NOW + ahead, nudged=False)
    assert not crawl_reason(now=NOW, last_asked=NOW, nudged=False)


@pytest.mark.parametrize("ahead", AHEAD)
def test_a_run_parked_until_a_time_to_come_is_taken_up(tmp_path: Path, ahead: timedelta) -> None:
    run = RunStore(tmp_path).run(new_run_id())
    parked = Parked(
        stage="hub_dataset", reason="down", since=NOW + ahead, attempts=1, not_before=NOW + ahead
    )
    run.write(RunFile.PARKED, parked.model_dump_json().encode())
    assert [item.run_id for item in unfinished(RunStore(tmp_path), now=NOW)] == [run.run_id]


def test_a_run_parked_for_the_longest_wait_waits(tmp_path: Path) -> None:
    run = RunStore(tmp_path).run(new_run_id())
    parked = Parked(
        stage="hub_dataset", reason="down", since=NOW, attempts=1, not_before=NOW + LONGEST_WAIT
    )
    run.write(RunFile.PARKED, parked.model_dump_json().encode())
    assert not list(unfinished(RunStore(tmp_path), now=NOW))


@pytest.mark.parametrize(
    ("made", "left_behind"),
    [
        (timedelta(0), False),
        (timedelta(minutes=1), False),
        (-LEFT_BEHIND_AFTER, True),
        *((ahead, True) for ahead in AHEAD),
    ],
)
def test_a_signature_of_a_time_to_come_is_left_behind(
    tmp_path: Path, made: timedelta, left_behind: bool
) -> None:
    run = RunStore(tmp_path).run(new_run_id())
    run.write(RunFile.UNSIGNED_ENVELOPE, b"{}")
    run.write(RunFile.SIGNATURE, b"{}")
    at = (NOW + made).timestamp()
    os.utime(run.file(RunFile.SIGNATURE), (at, at))
    assert [item.left_behind for item in unfinished(RunStore(tmp_path), now=NOW)] == (
        [True] if left_behind else []
    )


def test_a_run_id_of_a_year_that_has_no_date_is_as_late_as_can_be(tmp_path: Path) -> None:
    last = new_run_id(unix_ms=(1 << 48) - 1)
    assert run_started_at(last).year == 9999
    RunStore(tmp_path).run(last).write(RunFile.SPEC, b"{}")
    assert not list(unfinished(RunStore(tmp_path), now=NOW))
