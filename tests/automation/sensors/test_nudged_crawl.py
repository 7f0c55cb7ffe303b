"""The sensor looks hourly, at once after a nudge, and asks once for each look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from inferencebench_pipeline.automation.sensors.nudged_crawl import (
    LONGEST_WAIT,
    crawl_reason,
    nudged_crawl,
)
from inferencebench_pipeline.hub.webhooks import nudge
from inferencebench_pipeline.runs.run_directory import RunStore

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("last", "nudged", "due"),
    [
        (None, False, True),
        (NOW - timedelta(minutes=5), False, False),
        (NOW - timedelta(minutes=5), True, True),
        (NOW - LONGEST_WAIT, False, True),
    ],
)
def test_a_crawl_is_due_hourly_or_when_nudged(
    last: datetime | None, nudged: bool, due: bool
) -> None:
    assert (crawl_reason(now=NOW, last_asked=last, nudged=nudged) is not None) is due


def evaluate(root: Path, cursor: str | None) -> dg.SensorResult | dg.SkipReason:
    with dg.DagsterInstance.ephemeral() as instance:
        store = RunStore(root)
        with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
            answer = nudged_crawl(context, run_store=store)
    assert isinstance(answer, dg.SensorResult | dg.SkipReason)
    return answer


def test_one_nudge_is_one_crawl(tmp_path: Path) -> None:
    first = evaluate(tmp_path, None)
    assert isinstance(first, dg.SensorResult)
    assert isinstance(evaluate(tmp_path, first.cursor), dg.SkipReason)
    nudge(tmp_path)
    second = evaluate(tmp_path, first.cursor)
    assert isinstance(second, dg.SensorResult)
    assert second.run_requests is not None
    again = evaluate(tmp_path, first.cursor)
    assert isinstance(again, dg.SensorResult)
    assert again.run_requests is not None
    assert again.run_requests[0].run_key == second.run_requests[0].run_key
    assert isinstance(evaluate(tmp_path, second.cursor), dg.SkipReason)
