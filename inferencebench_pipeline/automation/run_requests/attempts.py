"""Attempts at one piece of work: their number, and the time at which the next one is due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg

from inferencebench_pipeline.automation.instance.pools import GOING_ON

FIRST_WAIT: Final = timedelta(minutes=1)
LONGEST_WAIT: Final = timedelta(hours=6)
# A hundred attempts that fail take three weeks, and the longest wait is reached after the tenth.
_MOST_READ: Final = 100


@dataclass(frozen=True)
class Attempts:
    """The Dagster runs that were requested for one piece of work, with Dagster's own retries."""

    made: int
    going_on: bool
    last_ended: datetime | None

    @classmethod
    def of(cls, instance: dg.DagsterInstance, filters: dg.RunsFilter) -> Attempts:
        """Return the attempts among the newest 100 runs that ``filters`` finds."""
        records = instance.get_run_records(filters, limit=_MOST_READ)
        ends = [_ended(record) for record in records if record.dagster_run.is_finished]
        return cls(
            made=len(records),
            going_on=any(record.dagster_run.status in GOING_ON for record in records),
            last_ended=max(ends, default=None),
        )

    def due(self, now: datetime) -> bool:
        """Return whether the next attempt is due: the first one at once, each other one later."""
        if self.going_on:
            return False
        return self.last_ended is None or self.last_ended + wait_after(self.made) <= now


def wait_after(attempts: int) -> timedelta:
    """Return the time to wait after so many attempts.

    It is zero before the first attempt and a minute after it, doubles with each further attempt,
    and never exceeds six hours.
    """
    if attempts < 1:
        return timedelta(0)
    # Bounded: beyond 20 doublings a timedelta overflows, and six hours are long exceeded.
    doubled: int = 1 << min(attempts - 1, 20)
    return min(FIRST_WAIT * doubled, LONGEST_WAIT)


def _ended(record: dg.RunRecord) -> datetime:
    """Return the time at which a run ended, or of its last change if it was never started."""
    if record.end_time is not None:
        return datetime.fromtimestamp(record.end_time, tz=UTC)
    return record.update_timestamp.replace(tzinfo=UTC)
