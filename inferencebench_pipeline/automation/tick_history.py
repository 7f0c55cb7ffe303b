"""Dagster's own record of ticks: the ticks that schedules missed, and the ticks that failed.

A benchmark's schedule keeps a record of its own of the ticks that came too late (``ticks.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Final

import dagster as dg
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorType,
    ScheduleInstigatorData,
    TickStatus,
)
from dagster._utils.schedules import schedule_execution_time_iterator

from inferencebench_pipeline.automation.ticks import MOST_REMEMBERED
from inferencebench_pipeline.untrusted import printable

GRACE: Final = timedelta(minutes=10)
"""A tick counts as missed when Dagster has no record of it this long after its time."""
_MOST_READ: Final = 100
_REASON_CHARACTERS: Final = 200


@dataclass(frozen=True)
class Failing:
    """A sensor or schedule whose ticks failed."""

    kind: str
    name: str
    count: int
    last: datetime
    why: str

    def __str__(self) -> str:
        """Return a sentence about the failures, in one line."""
        times = "" if self.count == 1 else f" {self.count} times"
        return f"{self.kind} {self.name} failed{times}, last at {_utc(self.last)}: {self.why}"


def instigators(
    instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, location: str | None
) -> list[InstigatorState]:
    """Return the state of each sensor and schedule of this code location that was ever on.

    The storage of an instance keeps the states of all its code locations together.
    """
    names = {one.name for one in repository.sensor_defs}
    names.update(one.name for one in repository.schedule_defs)
    return [
        state
        for state in instance.all_instigator_state()
        if state.name in names and location in (None, _location_of(state))
    ]


def unheard_ticks(
    instance: dg.DagsterInstance,
    repository: dg.RepositoryDefinition,
    states: list[InstigatorState],
    *,
    since: datetime,
    until: datetime,
) -> dict[str, list[datetime]]:
    """Return the ticks that Dagster has no record of, for each schedule that is on.

    Args:
        instance: the instance that holds the record.
        repository: the definitions, which say when each schedule ticks.
        states: the result of :func:`instigators`.
        since: earlier ticks are left out, as are those before the schedule was switched on.
        until: later ticks are left out.
    """
    found: dict[str, list[datetime]] = {}
    for state in states:
        data = state.instigator_data
        if not state.is_running or not isinstance(data, ScheduleInstigatorData):
            continue
        switched_on = datetime.fromtimestamp(data.start_timestamp or 0.0, tz=UTC)
        begin = max(since, switched_on)
        schedule = repository.get_schedule_def(state.name)
        # After a long absence, only the newest ticks are worth a message.
        expected = list(_expected(schedule, begin, until))[-MOST_REMEMBERED:]
        if not expected:
            continue
        # Dagster leaves the instant of ``after`` itself out, hence a second earlier.
        ticks = instance.get_ticks(
            state.instigator_origin_id, state.selector_id, after=begin.timestamp() - 1
        )
        # Compared in whole seconds, because ticks are stored as floating-point numbers.
        heard = {int(tick.timestamp) for tick in ticks}
        if missed := [tick for tick in expected if int(tick.timestamp()) not in heard]:
            found[state.name] = missed
    return found


def failed_ticks(
    instance: dg.DagsterInstance, states: list[InstigatorState], after: Mapping[str, float]
) -> Iterator[Failing]:
    """Yield the sensors and schedules with failed ticks, of those that ``after`` names.

    Args:
        instance: the instance that holds the record.
        states: the result of :func:`instigators`.
        after: for the name of each, seconds since the epoch; earlier ticks are left out.
    """
    for state in states:
        if state.name not in after:
            continue
        ticks = instance.get_ticks(
            state.instigator_origin_id,
            state.selector_id,
            after=after[state.name],
            limit=_MOST_READ,
            statuses=[TickStatus.FAILURE],
        )
        if ticks:
            error = ticks[0].tick_data.error
            # The outermost error only says that user code failed; the cause says how.
            while error is not None and error.cause is not None:
                error = error.cause
            yield Failing(
                kind="sensor" if state.instigator_type is InstigatorType.SENSOR else "schedule",
                name=state.name,
                count=len(ticks),
                last=datetime.fromtimestamp(ticks[0].timestamp, tz=UTC),
                why=printable(error.message.strip() if error else "see the UI", _REASON_CHARACTERS),
            )


def missed_lines(schedule: str, ticks: list[datetime]) -> Iterator[str]:
    """Yield a sentence for each missed tick of a schedule, or one sentence for more than three."""
    # A daemon that was away for a night would otherwise fill the whole message with one schedule.
    if len(ticks) > 3:
        yield (
            f"schedule {schedule} missed {len(ticks)} ticks, "
            f"from {_utc(ticks[0])} to {_utc(ticks[-1])}"
        )
        return
    for tick in ticks:
        yield f"schedule {schedule} missed its tick of {_utc(tick)}"


def _expected(
    schedule: dg.ScheduleDefinition, after: datetime, until: datetime
) -> Iterator[datetime]:
    """Yield the ticks of a schedule after an instant, as Dagster's scheduler computes them."""
    # It yields its start as well, and the last look has already covered the tick at that instant.
    ticks = schedule_execution_time_iterator(
        after.timestamp() + 1, schedule.cron_schedule, schedule.execution_timezone or "UTC"
    )
    for tick in takewhile(lambda one: one <= until, ticks):
        yield tick.astimezone(UTC)


def _location_of(state: InstigatorState) -> str:
    return state.origin.repository_origin.code_location_origin.location_name


def _utc(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S} UTC"
