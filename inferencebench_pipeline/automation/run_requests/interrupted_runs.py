"""Runs whose life ended in the middle, without the domain having refused: asked for again.

A process, database or code server that goes away fails a Dagster run, and the run that it worked
on has been asked for as much as before. A refusal, a failed check and a person's cancelling are
answers and stand; an outage that parked a run is ``parked_runs``'s.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import dagster as dg
from dagster._core.storage.tags import WILL_RETRY_TAG
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from inferencebench_pipeline.automation.jobs.publish_run import LIFE, publish_run
from inferencebench_pipeline.automation.run_requests.attempts import wait_after
from inferencebench_pipeline.lifecycle.partitions import PARTITION_TAG
from inferencebench_pipeline.parking import parked_state
from inferencebench_pipeline.resources import OUTAGE
from inferencebench_pipeline.runs import RunFile, RunIdError, RunStore

ENDED_TAG: Final = "inferencebench/ended"
"""On a failed ``publish_run``: how it ended, one of the three below. Set once its events are read,
so that nobody reads them again, and so that the UI finds such runs."""
REFUSED: Final = "refused"
INTERRUPTED: Final = "interrupted"
GIVEN_UP: Final = "given up"

MOST_ASKS: Final = 6
"""A run that was interrupted so often is given up and told: something about it kills processes."""
MOST_AT_ONCE: Final = 20
RETRIED_BY_DAGSTER_WITHIN: Final = timedelta(minutes=1)
"""A crashed run is retried by Dagster's daemon, which does not come back to one it failed to."""
_MOST_READ: Final = 50
_CHECK_FAILED: Final = "DagsterAssetCheckFailedError"

_LOG = logging.getLogger(__name__)


class Waiting(BaseModel):
    """One failed Dagster run that may have to be asked for again."""

    model_config = ConfigDict(frozen=True)

    partition: str
    not_before: AwareDatetime


class Watch(BaseModel):
    """The cursor: up to where failures were read, and which of them wait for their time."""

    model_config = ConfigDict(frozen=True)

    failures_read: int | None = None
    """Storage id of the last failure that was looked at; None before the first look."""
    waiting: dict[str, Waiting] = {}
    """By the id of the failed Dagster run."""

    @classmethod
    def from_cursor(cls, cursor: str | None) -> Watch:
        """Return what the cursor holds. One that cannot be used is as none: all is read again.

        Reading again asks for nothing twice: what was asked for has a newer Dagster run.
        """
        if not cursor:
            return cls()
        try:
            return cls.model_validate_json(cursor)
        except ValidationError:
            _LOG.warning("the cursor cannot be read; the failures of the last days are read again")
            return cls()


@dataclass(frozen=True)
class Again:
    """A run to ask for again, as it was asked for before."""

    partition: str
    attempt: int
    stages: Set[dg.AssetKey] | None
    """The stages that were asked for; None for all of them."""

    def request(self) -> dg.RunRequest:
        """Return the request; a tick that is cut off makes the same one, which launches once."""
        return dg.RunRequest(
            run_key=f"{self.partition}:{self.attempt}",
            partition_key=self.partition,
            asset_selection=sorted(self.stages) if self.stages is not None else None,
        )


def read_failures(
    instance: dg.DagsterInstance, watch: Watch, *, since: datetime, now: datetime
) -> Watch:
    """Return ``watch`` with the failures that came since; at most fifty, the next tick reads on."""
    waiting, read = dict(watch.waiting), watch.failures_read
    for storage_id, run_id, job_name in _failures(instance, read, since):
        read = storage_id
        if job_name != publish_run.name or (run := instance.get_run_by_id(run_id)) is None:
            continue
        partition = run.tags.get(PARTITION_TAG)
        if partition is None or _how_it_ended(instance, run) == REFUSED:
            continue
        waiting[run_id] = Waiting(partition=partition, not_before=_not_before(instance, run, now))
    return Watch(failures_read=read, waiting=waiting)


def due(
    instance: dg.DagsterInstance, store: RunStore, watch: Watch, now: datetime
) -> tuple[list[Again], Watch]:
    """Return what is to be asked for now, and the watch without it.

    What has a newer Dagster run, was parked, has no request in the store or was launched for a
    stage that is no more is dropped.
    """
    again: list[Again] = []
    waiting = dict(watch.waiting)
    for run_id, item in sorted(waiting.items(), key=lambda one: one[1].not_before):
        if item.not_before > now or len(again) == MOST_AT_ONCE:
            break
        del waiting[run_id]
        run = instance.get_run_by_id(run_id)
        if run is None or _is_followed(instance, item.partition, run_id):
            continue
        if not _is_asked_for(store, item.partition) or not LIFE.issuperset(
            run.asset_selection or ()
        ):
            continue
        asks = _interruptions(instance, item.partition)
        if asks > MOST_ASKS:
            instance.add_run_tags(run_id, {ENDED_TAG: GIVEN_UP})
            _LOG.error("%s", given_up(item.partition))
            continue
        launches = instance.get_runs_count(dg.RunsFilter(tags={PARTITION_TAG: item.partition}))
        again.append(Again(item.partition, launches + 1, run.asset_selection))
    return again, Watch(failures_read=watch.failures_read, waiting=waiting)


def given_up(partition: str) -> str:
    """Return the sentence about a run that is not asked for any more."""
    return (
        f"run {partition} was started {MOST_ASKS + 1} times and each time interrupted, without a "
        "refusal; it is not started again by itself: look into its Dagster runs, then materialise "
        "its partition"
    )


def runs_given_up(instance: dg.DagsterInstance, limit: int) -> Iterator[tuple[str, str]]:
    """Yield the newest runs that were given up: the id of the last Dagster run, and the run id."""
    filters = dg.RunsFilter(job_name=publish_run.name, tags={ENDED_TAG: GIVEN_UP})
    for run in instance.get_runs(filters, limit=limit):
        yield run.run_id, run.tags.get(PARTITION_TAG, "")


def _failures(
    instance: dg.DagsterInstance, after: int | None, since: datetime
) -> Iterator[tuple[int, str, str | None]]:
    found = instance.fetch_run_status_changes(
        dg.RunStatusChangeRecordsFilter(
            event_type=dg.DagsterEventType.RUN_FAILURE,
            after_storage_id=after,
            after_timestamp=since.timestamp(),
        ),
        limit=_MOST_READ,
        ascending=True,
    )
    for record in found.records:
        event = record.event_log_entry
        yield record.storage_id, event.run_id, event.job_name


def _how_it_ended(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Return whether a failed run was refused or interrupted, and tag it with that."""
    if known := run.tags.get(ENDED_TAG):
        return known
    ended = REFUSED if _refused(instance, run.run_id) else INTERRUPTED
    if ended == REFUSED or not _dagster_retries(run):
        instance.add_run_tags(run.run_id, {ENDED_TAG: ended})
    return ended


def _refused(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Return whether a step ended with an answer: a refusal of ours, or a check that failed."""
    records = instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=_MOST_READ
    ).records
    for record in records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        data = event.step_failure_data
        if data.error is not None and data.error.cls_name == _CHECK_FAILED:
            return True
        if data.user_failure_data is not None and OUTAGE not in data.user_failure_data.metadata:
            return True
    return False


def _dagster_retries(run: dg.DagsterRun) -> bool:
    return run.tags.get(WILL_RETRY_TAG) == "true"


def _not_before(instance: dg.DagsterInstance, run: dg.DagsterRun, now: datetime) -> datetime:
    """Return when to ask again: at once the first time, later after each further interruption."""
    if _dagster_retries(run):
        return now + RETRIED_BY_DAGSTER_WITHIN
    return now + wait_after(_interruptions(instance, run.tags[PARTITION_TAG]) - 1)


def _interruptions(instance: dg.DagsterInstance, partition: str) -> int:
    tags = {PARTITION_TAG: partition, ENDED_TAG: INTERRUPTED}
    return instance.get_runs_count(dg.RunsFilter(job_name=publish_run.name, tags=tags))


def _is_followed(instance: dg.DagsterInstance, partition: str, run_id: str) -> bool:
    """Return whether another Dagster run of this partition was launched after ``run_id``."""
    newest = instance.get_runs(dg.RunsFilter(tags={PARTITION_TAG: partition}), limit=1)
    return bool(newest) and newest[0].run_id != run_id


def _is_asked_for(store: RunStore, partition: str) -> bool:
    """Return whether the store holds what was asked for, and no outage keeps it."""
    try:
        run = store.run(partition)
    except RunIdError:
        return False
    return run.has(RunFile.SPEC) and parked_state(run) is None
