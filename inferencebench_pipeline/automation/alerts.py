"""The sensor ``alerts``: what failed or was missed reaches people who do not watch the UI."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

import dagster as dg
from dagster import AssetCheckKey, DagsterInstance, RunStatusChangeRecordsFilter
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from pydantic import AwareDatetime, BaseModel, ConfigDict

from inferencebench_pipeline.alerts import send_alert
from inferencebench_pipeline.automation.ticks import ledgers
from inferencebench_pipeline.resources import StoreResource
from inferencebench_pipeline.settings import alert_addresses

MOST_LINES: Final = 20
_PAGE: Final = 50
_FAILED: Final = {AssetCheckExecutionRecordStatus.FAILED}


class Seen(BaseModel):
    """The cursor: the newest event of each kind that people were told of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: int = 0
    checks: dict[str, int]
    missed: dict[str, AwareDatetime] = {}
    """The last missed tick of each schedule."""


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends failed runs, failed checks and missed ticks of benchmark schedules to the "
    "addresses of INFERENCEBENCH_ALERTS.",
)
def alerts(
    context: dg.SensorEvaluationContext, runs_store: StoreResource
) -> dg.SensorResult | dg.SkipReason:
    """Tell what failed since the last tick, all of it in one message.

    The cursor moves only after the message was taken: a tick that is cut off tells it again rather
    than never. The first tick tells nothing; what failed before nobody was asked to hear of.
    """
    addresses = alert_addresses()
    if not addresses:
        return dg.SkipReason("nobody to tell: INFERENCEBENCH_ALERTS is not set")
    repository = context.repository_def
    if repository is None:
        raise dg.DagsterInvariantViolationError("the alerts sensor needs its repository")
    graph = repository.asset_graph
    checks = {
        key
        for key in graph.asset_check_keys
        # A failed blocking check fails its run, which is told anyway.
        if not graph.get_check_spec(key).blocking
    }
    missed = {one.schedule: one.missed for one in ledgers(runs_store.store().root)}
    if context.cursor is None:
        now = _now(context.instance, checks).model_copy(update={"missed": _latest(missed)})
        return dg.SensorResult(cursor=now.model_dump_json())
    seen = Seen.model_validate_json(context.cursor)
    lines, newest = _failures(context.instance, checks, seen)
    lines.extend(_missed_since(missed, seen))
    newest = newest.model_copy(update={"missed": {**seen.missed, **_latest(missed)}})
    if not lines:
        return dg.SkipReason("nothing failed")
    send_alert(addresses, title=_title(lines), body=_body(lines))
    return dg.SensorResult(cursor=newest.model_dump_json())


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


def _missed_since(missed: Mapping[str, Sequence[datetime]], seen: Seen) -> Iterator[str]:
    for schedule, ticks in missed.items():
        told = seen.missed.get(schedule)
        for tick in ticks:
            if told is None or tick > told:
                yield f"schedule {schedule} missed its tick of {tick:%Y-%m-%d %H:%M:%S} UTC"


def _latest(missed: Mapping[str, Sequence[datetime]]) -> dict[str, datetime]:
    return {schedule: max(ticks) for schedule, ticks in missed.items() if ticks}


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
    return "inferencebench: " + (lines[0][:120] if len(lines) == 1 else f"{len(lines)} failures")


def _body(lines: list[str]) -> str:
    shown = [f"- {line}" for line in lines[:MOST_LINES]]
    if len(lines) > MOST_LINES:
        shown.append(f"- and {len(lines) - MOST_LINES} more, see the UI")
    return "\n".join(shown)
