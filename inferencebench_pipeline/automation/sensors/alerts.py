"""The sensor ``alerts``: it sends failures and missed ticks to people who do not watch the UI."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import dagster as dg
from dagster import AssetCheckKey, DagsterInstance, RunStatusChangeRecordsFilter
from dagster._core.scheduler.instigation import InstigatorState
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from inferencebench_pipeline.alerts import send_alert
from inferencebench_pipeline.automation.run_requests.interrupted_runs import given_up, runs_given_up
from inferencebench_pipeline.automation.tick_history import (
    GRACE,
    failed_ticks,
    instigators,
    missed_lines,
    unheard_ticks,
)
from inferencebench_pipeline.automation.ticks import ledgers
from inferencebench_pipeline.resources import RunStoreResource
from inferencebench_pipeline.settings import alert_addresses
from inferencebench_pipeline.untrusted import printable

MOST_LINES: Final = 20
"""The most failures that one message names; it gives the number of the others."""
AWAY: Final = timedelta(minutes=5)
"""After this long without a tick of this sensor, the daemon or the code server was away."""
SETTLING: Final = timedelta(minutes=5)
"""The time that schedules then get to catch up before their ticks count as missed."""
LOOK_BACK: Final = timedelta(days=14)
"""Ticks older than this are not looked for: Dagster's record of them may be purged."""
TOLD_AGAIN_AFTER: Final = timedelta(hours=1)
"""A sensor that keeps failing is reported this often."""
_PAGE: Final = 50
_LINE_CHARACTERS: Final = 1000
_FAILED: Final = {AssetCheckExecutionRecordStatus.FAILED}


class Told(BaseModel):
    """The last report about the failing ticks of one sensor or schedule."""

    model_config = ConfigDict(frozen=True)

    at: AwareDatetime
    """The time of the report."""
    last: float
    """The start of the newest failing tick that it covers, in seconds since the epoch."""


class Seen(BaseModel):
    """The cursor: the newest event of each kind that was reported.

    Unknown fields are ignored and missing ones have a default, so that the sensor goes on with the
    cursor of an older or a newer version.
    """

    model_config = ConfigDict(frozen=True)

    run: int = 0
    """The storage id of the newest failed run."""
    checks: dict[str, int] = {}
    """The id of the newest failed evaluation of each check."""
    missed: dict[str, AwareDatetime] = {}
    """The last missed tick of each schedule."""
    looked_at: AwareDatetime | None = None
    """The time of this sensor's last tick."""
    settled_at: AwareDatetime | None = None
    """The time until which schedules may catch up, after the daemon was away."""
    examined: AwareDatetime | None = None
    """The time up to which missed ticks of schedules were looked for."""
    failing: dict[str, Told] = {}
    """The sensors and schedules whose failing ticks were reported within the last hour."""
    given_up: tuple[str, ...] = ()
    """The last Dagster runs of those runs that were given up."""


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends a message to the addresses in INFERENCEBENCH_ALERTS about failed runs, "
    "failed checks, missed ticks of schedules, failing ticks of sensors, and runs that were given "
    "up.",
)
def alerts(
    context: dg.SensorEvaluationContext, run_store: RunStoreResource
) -> dg.SensorResult | dg.SkipReason:
    """Report everything that failed since the last tick, in one message.

    The cursor moves only after the message was accepted: a tick that is cut off reports it twice
    rather than never. The first tick reports nothing, since it cannot tell which failures are new.
    """
    addresses = alert_addresses()
    if not addresses:
        return dg.SkipReason("INFERENCEBENCH_ALERTS is not set, so there is nobody to tell")
    watch = _Watch.of(context, run_store)
    seen, lines = _read(context.cursor)
    if seen is None:
        seen = watch.now_seen()
    else:
        seen, news = watch.look(seen)
        lines.extend(news)
    if lines:
        send_alert(addresses, title=_title(lines), body=_body(lines))
    reason = None if lines else "nothing has failed since the last tick"
    return dg.SensorResult(skip_reason=reason, cursor=seen.model_dump_json())


def _read(cursor: str | None) -> tuple[Seen | None, list[str]]:
    """Return the content of a cursor, and a sentence to report when it cannot be read."""
    if cursor is None:
        return None, []
    try:
        return Seen.model_validate_json(cursor), []
    except ValidationError:
        return None, [
            "the cursor of the sensor alerts was damaged, so failures since its last message may "
            "not have been reported; look at the runs and checks of the last hours"
        ]


@dataclass(frozen=True)
class _Watch:
    """The storage and the definitions in which failures are looked for."""

    instance: DagsterInstance
    repository: dg.RepositoryDefinition
    location: str | None
    store_root: Path
    now: datetime

    @classmethod
    def of(cls, context: dg.SensorEvaluationContext, run_store: RunStoreResource) -> _Watch:
        if context.repository_def is None:
            raise dg.DagsterInvariantViolationError("the alerts sensor needs its repository")
        origin = context.code_location_origin
        return cls(
            context.instance,
            context.repository_def,
            origin.location_name if origin else None,
            run_store.root,
            datetime.now(tz=UTC),
        )

    def checks(self) -> set[AssetCheckKey]:
        """Return the checks to report: not the blocking ones, whose failure fails a run as well."""
        graph = self.repository.asset_graph
        return {key for key in graph.asset_check_keys if not graph.get_check_spec(key).blocking}

    def now_seen(self) -> Seen:
        """Return the cursor after everything that has happened so far."""
        missed = self._ledgers()
        return _now(self.instance, self.checks()).model_copy(
            update={
                "missed": {name: max(ticks) for name, ticks in missed.items()},
                "looked_at": self.now,
                "examined": self.now,
                "given_up": tuple(run for run, _ in runs_given_up(self.instance, _PAGE)),
            }
        )

    def look(self, seen: Seen) -> tuple[Seen, list[str]]:
        """Return the cursor after all new failures, and a line for each of them."""
        lines, newest = _failures(self.instance, self.checks(), seen)
        states = instigators(self.instance, self.repository, self.location)
        # A time in the future was written while a clock was ahead, and counts as now.
        since = min(seen.looked_at or self.now, self.now)
        missed = self._ledgers()
        settled_at = seen.settled_at
        # After an absence of the daemon, a late tick is not yet a missed one.
        if self.now - since > AWAY:
            settled_at = self.now + SETTLING
        examined = max(min(seen.examined or self.now, self.now), self.now - LOOK_BACK)
        # Until then ``examined`` stays, so that no tick of the absence is passed over.
        if settled_at is None or settled_at <= self.now:
            until = self.now - GRACE
            for name, ticks in unheard_ticks(
                self.instance, self.repository, states, since=examined, until=until
            ).items():
                missed[name] = sorted({*missed.get(name, ()), *ticks})
            examined = max(examined, until)
        told_until = {name: min(tick, self.now) for name, tick in seen.missed.items()}
        for name, ticks in missed.items():
            told = told_until.get(name)
            lines.extend(missed_lines(name, [one for one in ticks if told is None or one > told]))
        failing = self._failing(states, seen, since, lines)
        given_up_now = list(runs_given_up(self.instance, _PAGE))
        lines.extend(given_up(run_id) for run, run_id in given_up_now if run not in seen.given_up)
        latest = {name: max(ticks) for name, ticks in missed.items()}
        newest = newest.model_copy(
            update={
                "missed": {**told_until, **latest},
                "looked_at": self.now,
                "settled_at": settled_at,
                "examined": examined,
                "failing": failing,
                "given_up": tuple(run for run, _ in given_up_now),
            }
        )
        return newest, lines

    def _failing(
        self, states: list[InstigatorState], seen: Seen, since: datetime, lines: list[str]
    ) -> dict[str, Told]:
        """Add a line about the failing ticks of each sensor, at most once an hour.

        Returns the reports of the last hour. A tick is stored under the time at which it began, so
        the ticks that were going on at the last look have to be read again.
        """
        told = {
            name: item
            for name, item in seen.failing.items()
            if self.now - TOLD_AGAIN_AFTER < item.at <= self.now
        }
        after = {state.name: (since - GRACE).timestamp() for state in states}
        after |= {name: item.last for name, item in seen.failing.items() if name in after}
        for failing in failed_ticks(self.instance, states, after):
            if failing.name not in told:
                lines.append(str(failing))
                told[failing.name] = Told(at=self.now, last=failing.last.timestamp())
        return told

    def _ledgers(self) -> dict[str, list[datetime]]:
        """Return the ticks that the schedule of each benchmark has recorded as missed."""
        return {one.schedule: list(one.missed) for one in ledgers(self.store_root) if one.missed}


def _failures(
    instance: DagsterInstance, checks: Iterable[AssetCheckKey], seen: Seen
) -> tuple[list[str], Seen]:
    """Return a line for each new failure, the oldest first, and the cursor after them."""
    lines: list[str] = []
    newest_run = seen.run
    for run_id, job_name, storage_id in _failed_runs(instance, seen.run):
        lines.append(f"run {run_id} of {job_name} failed")
        newest_run = max(newest_run, storage_id)
    newest = dict(seen.checks)
    for key in sorted(checks, key=_name):
        # The storage has the newest first, and people read the oldest first.
        for record in reversed(
            list(_failed_evaluations(instance, key, seen.checks.get(_name(key))))
        ):
            lines.append(_told(key, record))
            newest[_name(key)] = record.id
    return lines, Seen(run=newest_run, checks=newest)


def _failed_runs(instance: DagsterInstance, after: int) -> Iterator[tuple[str, str, int]]:
    found = instance.fetch_run_status_changes(
        RunStatusChangeRecordsFilter(
            event_type=dg.DagsterEventType.RUN_FAILURE, after_storage_id=after
        ),
        limit=_PAGE,
        ascending=True,
    )
    for record in found.records:
        event = record.event_log_entry
        yield event.run_id, event.job_name or "a job", record.storage_id


def _failed_evaluations(
    instance: DagsterInstance, key: AssetCheckKey, after: int | None
) -> Iterator[AssetCheckExecutionRecord]:
    """Yield the failed evaluations of a check that are newer than ``after``, newest first."""
    cursor: int | None = None
    while True:
        page = instance.event_log_storage.get_asset_check_execution_history(
            key, limit=_PAGE, cursor=cursor, status=_FAILED
        )
        for record in page:
            # The newest comes first, so the first known one ends the search.
            if record.id <= (after or 0):
                return
            yield record
        if len(page) < _PAGE:
            return
        cursor = page[-1].id


def _now(instance: DagsterInstance, checks: Iterable[AssetCheckKey]) -> Seen:
    """Return the cursor after all failed runs and failed checks so far."""
    runs = instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1).records
    latest = {
        _name(key): page[0].id
        for key in checks
        if (
            page := instance.event_log_storage.get_asset_check_execution_history(
                key, limit=1, status=_FAILED
            )
        )
    }
    return Seen(run=runs[0].storage_id if runs else 0, checks=latest)


def _told(key: AssetCheckKey, record: AssetCheckExecutionRecord) -> str:
    evaluation = record.evaluation
    where = f" of {record.partition}" if record.partition else ""
    why = evaluation.description if evaluation and evaluation.description else "see the UI"
    return f"check {key.name} on {key.asset_key.to_user_string()}{where} failed: {why}"


def _name(key: AssetCheckKey) -> str:
    return f"{key.asset_key.to_user_string()}:{key.name}"


def _title(lines: list[str]) -> str:
    return "inferencebench: " + (
        printable(lines[0], 120) if len(lines) == 1 else f"{len(lines)} failures"
    )


def _body(lines: list[str]) -> str:
    # The reasons quote records and specs that strangers wrote.
    shown = [f"- {printable(line, _LINE_CHARACTERS)}" for line in lines[:MOST_LINES]]
    if len(lines) > MOST_LINES:
        shown.append(f"- and {len(lines) - MOST_LINES} more; see the UI")
    return "\n".join(shown)
