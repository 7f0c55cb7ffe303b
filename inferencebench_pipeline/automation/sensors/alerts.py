"""The sensor ``alerts``: what failed or was missed reaches people who do not watch the UI."""

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
AWAY: Final = timedelta(minutes=5)
"""So long without a tick of this sensor, the daemon or the code server was away."""
SETTLING: Final = timedelta(minutes=5)
"""After that, schedules get so long to catch up before their ticks count as missed."""
LOOK_BACK: Final = timedelta(days=14)
"""Ticks older than this may be purged from Dagster's record, or were long before anybody asked."""
TOLD_AGAIN_AFTER: Final = timedelta(hours=1)
"""A sensor that keeps failing is told so often."""
_PAGE: Final = 50
_LINE_CHARACTERS: Final = 1000
_FAILED: Final = {AssetCheckExecutionRecordStatus.FAILED}


class Told(BaseModel):
    """Failing ticks of one sensor or schedule that people were told of."""

    model_config = ConfigDict(frozen=True)

    at: AwareDatetime
    last: float
    """When the newest of them began, in seconds since the epoch."""


class Seen(BaseModel):
    """The cursor: the newest event of each kind that people were told of.

    Fields of a later version are ignored, and those of a later version than the cursor's have a
    default: neither way round does it stop the sensor.
    """

    model_config = ConfigDict(frozen=True)

    run: int = 0
    checks: dict[str, int] = {}
    missed: dict[str, AwareDatetime] = {}
    """The last missed tick of each schedule."""
    looked_at: AwareDatetime | None = None
    """When this sensor was here last."""
    settled_at: AwareDatetime | None = None
    """The daemon was away; until then its schedules may catch up with what nobody was there for."""
    examined: AwareDatetime | None = None
    """Up to when the ticks of schedules were looked for."""
    failing: dict[str, Told] = {}
    """Sensors and schedules whose failing ticks were told within the last hour."""
    given_up: tuple[str, ...] = ()
    """The last Dagster runs of runs that are not asked for again."""


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends failed runs, failed checks, missed ticks of schedules, failing ticks of "
    "sensors and runs that were given up to the addresses of INFERENCEBENCH_ALERTS.",
)
def alerts(
    context: dg.SensorEvaluationContext, run_store: RunStoreResource
) -> dg.SensorResult | dg.SkipReason:
    """Tell what failed since the last tick, all of it in one message.

    The cursor moves only after the message was taken: a tick that is cut off tells it again rather
    than never. The first tick tells nothing; what failed before nobody was asked to hear of.
    """
    addresses = alert_addresses()
    if not addresses:
        return dg.SkipReason("nobody to tell: INFERENCEBENCH_ALERTS is not set")
    watch = _Watch.of(context, run_store)
    seen, lines = _read(context.cursor)
    if seen is None:
        seen = watch.now_seen()
    else:
        seen, news = watch.look(seen)
        lines.extend(news)
    if lines:
        send_alert(addresses, title=_title(lines), body=_body(lines))
    reason = None if lines else "nothing failed"
    return dg.SensorResult(skip_reason=reason, cursor=seen.model_dump_json())


def _read(cursor: str | None) -> tuple[Seen | None, list[str]]:
    """Return what people were told of, and what to tell when nobody knows any more."""
    if cursor is None:
        return None, []
    try:
        return Seen.model_validate_json(cursor), []
    except ValidationError:
        return None, [
            "the cursor of the sensor alerts was damaged: what failed since its last message may "
            "not have been told; look at the runs and checks of the last hours"
        ]


@dataclass(frozen=True)
class _Watch:
    """The place to look at for what failed."""

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
        """Return the checks to tell of: a failed blocking one fails its run, which is told."""
        graph = self.repository.asset_graph
        return {key for key in graph.asset_check_keys if not graph.get_check_spec(key).blocking}

    def now_seen(self) -> Seen:
        """Return the cursor of somebody who was told everything there is."""
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
        """Return the cursor after all that is new, and a line for each of it."""
        lines, newest = _failures(self.instance, self.checks(), seen)
        states = instigators(self.instance, self.repository, self.location)
        since = min(seen.looked_at or self.now, self.now)
        missed = self._ledgers()
        settled_at = seen.settled_at
        if self.now - since > AWAY:
            settled_at = self.now + SETTLING
        examined = max(min(seen.examined or self.now, self.now), self.now - LOOK_BACK)
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
        """Tell of failing ticks into ``lines``, of each sensor once an hour; return what is told.

        A tick is known by when it began, so those that were going on at the last look are read
        again; what was told of them is known.
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
        """Return the ticks that each benchmark's schedule heard too late, or not at all."""
        return {one.schedule: list(one.missed) for one in ledgers(self.store_root) if one.missed}


def _failures(
    instance: DagsterInstance, checks: Iterable[AssetCheckKey], seen: Seen
) -> tuple[list[str], Seen]:
    """Return a line per new failure, oldest first, and the cursor after them."""
    lines: list[str] = []
    newest_run = seen.run
    for run_id, job_name, storage_id in _failed_runs(instance, seen.run):
        lines.append(f"run {run_id} of {job_name} failed")
        newest_run = max(newest_run, storage_id)
    newest = dict(seen.checks)
    for key in sorted(checks, key=_name):
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
            if record.id <= (after or 0):
                return
            yield record
        if len(page) < _PAGE:
            return
        cursor = page[-1].id


def _now(instance: DagsterInstance, checks: Iterable[AssetCheckKey]) -> Seen:
    """Return the cursor of somebody who was told everything there is."""
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
    # Reasons quote records and specs that strangers wrote.
    shown = [f"- {printable(line, _LINE_CHARACTERS)}" for line in lines[:MOST_LINES]]
    if len(lines) > MOST_LINES:
        shown.append(f"- and {len(lines) - MOST_LINES} more, see the UI")
    return "\n".join(shown)
