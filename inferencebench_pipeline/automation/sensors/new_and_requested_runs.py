"""Sensors: start the runs that were asked for or delivered."""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime

import dagster as dg

from inferencebench_pipeline.automation.instance.pools import hold_pools
from inferencebench_pipeline.automation.jobs.asset_jobs import publish_run
from inferencebench_pipeline.automation.sensors import interrupted_runs
from inferencebench_pipeline.automation.ticks import LOOK_BACK
from inferencebench_pipeline.inbox import Delivery, Inbox, delivered_since
from inferencebench_pipeline.lifecycle.partitions import PARTITION_TAG, runs
from inferencebench_pipeline.resources import DeploymentResource, RunStoreResource
from inferencebench_pipeline.runs import RunFile, RunStore, run_started_at

ASKED_ONE_BY_ONE = 20
"""Of more runs than this, all that Dagster knows are fetched at once to see which are launched."""


def unanswered(store: RunStore, *, since: datetime, until: datetime) -> list[str]:
    """Return the run ids, oldest first, whose directory holds a spec and no capture.

    A run whose id carries a time after ``until`` was asked for by a schedule with jitter, and is
    not due yet.
    """
    return [
        run_id
        for run_id in store.run_ids()
        if since <= run_started_at(run_id) <= until
        and store.run(run_id).has(RunFile.SPEC)
        and not store.run(run_id).has(RunFile.CAPTURE)
    ]


def unregistered(run_ids: Iterable[str], known: Collection[str]) -> list[str]:
    """Return the run ids that are not partitions yet."""
    return [run_id for run_id in run_ids if run_id not in known]


@dg.sensor(
    job=publish_run,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts publish_run for each run that was asked for and not begun, and again for "
    "each that was interrupted: its process, the database or the code server went away.",
)
def requested_runs(
    context: dg.SensorEvaluationContext, run_store: RunStoreResource
) -> dg.SensorResult | dg.SkipReason:
    """Look back over a window and diff against what exists, so that no request is skipped.

    The cursor is for the interrupted ones alone, and only saves reading: without it the failures of
    the window are read again.
    """
    for pool, limit in hold_pools(context.instance).items():
        context.log.info("the pool %s now has %d slot(s)", pool, limit)
    now = datetime.now(tz=UTC)
    since = now - LOOK_BACK
    watch = interrupted_runs.read_failures(
        context.instance, interrupted_runs.Watch.from_cursor(context.cursor), since=since, now=now
    )
    again, watch = interrupted_runs.due(context.instance, run_store, watch, now)
    for one in again:
        context.log.warning("run %s was interrupted and is asked for again", one.partition)
    started = _starting(context.instance, unanswered(run_store, since=since, until=now))
    cursor = watch.model_dump_json()
    if isinstance(started, dg.SensorResult):
        requests = list(started.run_requests or ())
    elif again:
        requests = []
    else:
        return dg.SensorResult(skip_reason=_why_none(started, watch), cursor=cursor)
    requests.extend(one.request() for one in again)
    return _asking(context.instance, requests, cursor)


def _why_none(started: dg.SkipReason, watch: interrupted_runs.Watch) -> dg.SkipReason:
    """Return why nothing is started, with those whose time has not come."""
    if not watch.waiting:
        return started
    return dg.SkipReason(
        f"{started.skip_message}; {len(watch.waiting)} that were interrupted are asked for again "
        f"from {min(item.not_before for item in watch.waiting.values()):%H:%M:%S} UTC on"
    )


@dg.sensor(
    job=publish_run,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Takes in the finished runs that other hosts left in the inbox, and starts the "
    "rest of their lives; a delivery that cannot be used is put aside with its reason.",
)
def new_runs(
    context: dg.SensorEvaluationContext, run_store: RunStoreResource, deployment: DeploymentResource
) -> dg.SensorResult | dg.SkipReason:
    """Move what is complete into the store, then start what has come in and was never started.

    The two are apart on purpose: a tick cut off in between has lost nothing, because the next one
    finds the run in the store.
    """
    inbox = deployment.settings.inbox
    if inbox is None:
        return dg.SkipReason("no inbox: INFERENCEBENCH_INBOX is not set")
    taken = Inbox(inbox).take_in(run_store)
    for delivery in taken.quarantined:
        context.log.error(_told(delivery))
    for delivery in taken.waiting:
        context.log.info(_told(delivery))
    since = datetime.now(tz=UTC) - LOOK_BACK
    started = _starting(context.instance, delivered_since(run_store, since=since))
    if isinstance(started, dg.SkipReason) and (taken.waiting or taken.quarantined):
        return dg.SkipReason(
            f"{len(taken.waiting)} deliveries are not complete yet, "
            f"{len(taken.quarantined)} were put aside"
        )
    return started


def _starting(
    instance: dg.DagsterInstance, run_ids: Iterable[str]
) -> dg.SensorResult | dg.SkipReason:
    """Ask for the whole life of each run that nobody has started."""
    wanted = list(run_ids)
    already = launched(instance, wanted)
    waiting = [run_id for run_id in wanted if run_id not in already]
    if not waiting:
        return dg.SkipReason("no run is waiting to be started")
    return _asking(
        instance,
        # Dagster remembers a key for ever: a tick cut off after launching launches once.
        [dg.RunRequest(run_key=f"{run_id}:1", partition_key=run_id) for run_id in waiting],
    )


def _asking(
    instance: dg.DagsterInstance, requests: Sequence[dg.RunRequest], cursor: str | None = None
) -> dg.SensorResult:
    """Return the tick that makes ``requests``, their runs registered as partitions."""
    known = set(instance.get_dynamic_partitions(str(runs.name)))
    asked = [str(request.partition_key) for request in requests]
    return dg.SensorResult(
        run_requests=list(requests),
        dynamic_partitions_requests=[runs.build_add_request(unregistered(asked, known))],
        cursor=cursor,
    )


def _told(delivery: Delivery) -> str:
    return f"delivery {delivery.name}: {delivery.reason}"


def launched(instance: dg.DagsterInstance, run_ids: Collection[str]) -> set[str]:
    """Return those runs that a schedule, a person or an earlier tick has started already.

    Of many, one question tells: one for each run of a busy week would outlast the tick.
    """
    if len(run_ids) > ASKED_ONE_BY_ONE:
        known = dict(instance.get_run_tags([PARTITION_TAG]))
        return known.get(PARTITION_TAG, set()).intersection(run_ids)
    return {
        run_id
        for run_id in run_ids
        if instance.get_runs_count(dg.RunsFilter(tags={PARTITION_TAG: run_id})) > 0
    }
