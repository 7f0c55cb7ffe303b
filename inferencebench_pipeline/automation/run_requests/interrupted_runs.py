"""Interrupted runs: those that failed without an answer of ours, and are requested again.

A Dagster run fails when its process, the database or the code server goes away, and its request is
still valid. A refusal, a failed check and a cancellation by a person are answers, and stand. A run
that an outage has parked belongs to the sensor ``parked_runs``.
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
"""The tag of a failed ``publish_run`` with the way it ended, which is one of the three below.

It is set when the events of the run are read, so that they are not read again, and so that the UI
finds such runs.
"""
REFUSED: Final = "refused"
INTERRUPTED: Final = "interrupted"
GIVEN_UP: Final = "given up"

MOST_ASKS: Final = 6
"""A run that was interrupted more often is given up: something about it kills its process."""
MOST_AT_ONCE: Final = 20
"""The most runs that one tick requests again."""
RETRIED_BY_DAGSTER_WITHIN: Final = timedelta(minutes=1)
"""Dagster's daemon retries a crashed run within this time, or never."""
_MOST_READ: Final = 50
# An event holds the name of an error's class and no class, so the name is compared.
_CHECK_FAILED: Final = "DagsterAssetCheckFailedError"

_LOG = logging.getLogger(__name__)


class Waiting(BaseModel):
    """One failed Dagster run that may have to be requested again."""

    model_config = ConfigDict(frozen=True)

    partition: str
    """The run id."""
    not_before: AwareDatetime
    """The time from which it may be requested again."""


class Watch(BaseModel):
    """The cursor: the failures that were read, and those of them that wait for their time."""

    model_config = ConfigDict(frozen=True)

    failures_read: int | None = None
    """The storage id of the last failure that was read, or None before the first look."""
    waiting: dict[str, Waiting] = {}
    """The waiting failures, by the id of the failed Dagster run."""

    @classmethod
    def from_cursor(cls, cursor: str | None) -> Watch:
        """Return the content of a cursor; an unreadable one counts as none.

        Then all failures are read again, but no run is requested twice, because a run that was
        requested has a newer Dagster run.
        """
        if not cursor:
            return cls()
        try:
            return cls.model_validate_json(cursor)
        except ValidationError:
            _LOG.warning(
                "the cursor cannot be read, so the failures of the last days are read again"
            )
            return cls()


@dataclass(frozen=True)
class Again:
    """A run to request again, with the stages that were requested before."""

    partition: str
    attempt: int
    stages: Set[dg.AssetKey] | None
    """The stages that were requested, or None for all of them."""

    def request(self) -> dg.RunRequest:
        """Return the request. A tick that is cut off makes the same one, and it launches once."""
        return dg.RunRequest(
            run_key=f"{self.partition}:{self.attempt}",
            partition_key=self.partition,
            asset_selection=sorted(self.stages) if self.stages is not None else None,
        )


def read_failures(
    instance: dg.DagsterInstance, watch: Watch, *, since: datetime, now: datetime
) -> Watch:
    """Return ``watch`` with the failures since then: at most 50, and the next tick reads on."""
    waiting, read = dict(watch.waiting), watch.failures_read
    for storage_id, run_id, job_name in _failures(instance, read, since):
        # Moved on for failures of other jobs as well, so that no failure is read at every tick.
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
    """Return the runs to request now, and the watch without them.

    A run is dropped when it has a newer Dagster run, was parked, has no request in the store, or
    was launched for a stage that does not exist any more.
    """
    again: list[Again] = []
    waiting = dict(watch.waiting)
    for run_id, item in sorted(waiting.items(), key=lambda one: one[1].not_before):
        if item.not_before > now or len(again) == MOST_AT_ONCE:
            break  # they are sorted, so none of the others is due
        # The cursor is kept together with the request, so a tick
        # that is cut off finds the run here again.
        del waiting[run_id]
        run = instance.get_run_by_id(run_id)
        # A person or Dagster's own retry has launched it since, and that newer run answers for it.
        if run is None or _is_followed(instance, item.partition, run_id):
            continue
        if not _is_asked_for(store, item.partition) or not LIFE.issuperset(
            run.asset_selection or ()
        ):
            continue
        # Counted by tags in Dagster's storage and not in the cursor, which may be lost or damaged.
        asks = _interruptions(instance, item.partition)
        if asks > MOST_ASKS:
            instance.add_run_tags(run_id, {ENDED_TAG: GIVEN_UP})
            _LOG.error("%s", given_up(item.partition))
            continue
        # The key is new for each attempt, and the same when a tick is repeated.
        launches = instance.get_runs_count(dg.RunsFilter(tags={PARTITION_TAG: item.partition}))
        again.append(Again(item.partition, launches + 1, run.asset_selection))
    return again, Watch(failures_read=watch.failures_read, waiting=waiting)


def given_up(partition: str) -> str:
    """Return the sentence about a run that is not requested any more."""
    return (
        f"run {partition} was started {MOST_ASKS + 1} times and was interrupted each time, so it "
        "is not started again; look into its Dagster runs, then materialise its partition"
    )


def runs_given_up(instance: dg.DagsterInstance, limit: int) -> Iterator[tuple[str, str]]:
    """Yield the newest runs that were given up, each as its last Dagster run id and its run id."""
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
            # Without it, the first look of a new cursor would read
            # all failures that Dagster remembers.
            after_timestamp=since.timestamp(),
        ),
        limit=_MOST_READ,
        ascending=True,
    )
    for record in found.records:
        event = record.event_log_entry
        yield record.storage_id, event.run_id, event.job_name


def _how_it_ended(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Tag a failed run as refused or interrupted, and return the tag."""
    if known := run.tags.get(ENDED_TAG):
        return known
    ended = REFUSED if _refused(instance, run.run_id) else INTERRUPTED
    # A run that Dagster retries is not counted: if its retry fails too, that one is.
    if ended == REFUSED or not _dagster_retries(run):
        instance.add_run_tags(run.run_id, {ENDED_TAG: ended})
    return ended


def _refused(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Return whether a step ended with an answer, which is a refusal of ours or a failed check."""
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
        # Our own failures are answers, unless they are marked as the end of an outage.
        if data.user_failure_data is not None and OUTAGE not in data.user_failure_data.metadata:
            return True
    return False


def _dagster_retries(run: dg.DagsterRun) -> bool:
    return run.tags.get(WILL_RETRY_TAG) == "true"


def _not_before(instance: dg.DagsterInstance, run: dg.DagsterRun, now: datetime) -> datetime:
    """Return the time of the next request, which is later after each further interruption."""
    if _dagster_retries(run):
        return now + RETRIED_BY_DAGSTER_WITHIN
    # The first interruption is followed at once, and the growing waits begin with the second.
    return now + wait_after(_interruptions(instance, run.tags[PARTITION_TAG]) - 1)


def _interruptions(instance: dg.DagsterInstance, partition: str) -> int:
    tags = {PARTITION_TAG: partition, ENDED_TAG: INTERRUPTED}
    return instance.get_runs_count(dg.RunsFilter(job_name=publish_run.name, tags=tags))


def _is_followed(instance: dg.DagsterInstance, partition: str, run_id: str) -> bool:
    """Return whether another Dagster run of this partition was launched after ``run_id``."""
    # Dagster lists runs with the newest first.
    newest = instance.get_runs(dg.RunsFilter(tags={PARTITION_TAG: partition}), limit=1)
    return bool(newest) and newest[0].run_id != run_id


def _is_asked_for(store: RunStore, partition: str) -> bool:
    """Return whether the store holds the request of a run that is not parked."""
    try:
        run = store.run(partition)
    except RunIdError:
        return False
    return run.has(RunFile.SPEC) and parked_state(run) is None
