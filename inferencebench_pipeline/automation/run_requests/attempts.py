"""Counting how often something was asked for, and saying when it may be asked for again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg

from inferencebench_pipeline.automation.instance.pools import GOING_ON

FIRST_WAIT: Final = timedelta(minutes=1)
LONGEST_WAIT: Final = timedelta(hours=6)
_MOST_READ: Final = 100


@dataclass(frozen=True)
class Attempts:
    """The Dagster runs that one thing was asked for with, Dagster's own retries among them."""

    made: int
    going_on: bool
    last_ended: datetime | None

    @classmethod
    def of(cls, instance: dg.DagsterInstance, filters: dg.RunsFilter) -> Attempts:
        """Return the attempts among the runs that ``filters`` finds; the newest hundred count."""
        records = instance.get_run_records(filters, limit=_MOST_READ)
        ends = [_ended(record) for record in records if record.dagster_run.is_finished]
        return cls(
            made=len(records),
            going_on=any(record.dagster_run.status in GOING_ON for record in records),
            last_ended=max(ends, default=None),
        )

    def due(self, now: datetime) -> bool:
        """Return whether to ask again: at once the first time, and later after each attempt."""
        if self.going_on:
            return False
        return self.last_ended is None or self.last_ended + wait_after(self.made) <= now


def wait_after(attempts: int) -> timedelta:
    """Return how long to wait after so many attempts: not at all, a minute, then up to six hours.

    It doubles with each attempt.
    """
    if attempts < 1:
        return timedelta(0)
    doubled: int = 1 << min(attempts - 1, 20)
    return min(FIRST_WAIT * doubled, LONGEST_WAIT)


def _ended(record: dg.RunRecord) -> datetime:
    """Return when a run ended; one that was never started ended with its last change."""
    if record.end_time is not None:
        return datetime.fromtimestamp(record.end_time, tz=UTC)
    return record.update_timestamp.replace(tzinfo=UTC)
