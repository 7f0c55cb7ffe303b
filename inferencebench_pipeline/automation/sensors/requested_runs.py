"""The sensor ``requested_runs``: it starts the runs that were requested."""

from datetime import UTC, datetime

import dagster as dg

from inferencebench_pipeline.automation.instance.pools import hold_pools
from inferencebench_pipeline.automation.jobs.publish_run import publish_run
from inferencebench_pipeline.automation.run_requests import interrupted_runs
from inferencebench_pipeline.automation.run_requests.start_requests import (
    start_requests,
    with_partitions,
)
from inferencebench_pipeline.automation.ticks import LOOK_BACK
from inferencebench_pipeline.resources import RunStoreResource
from inferencebench_pipeline.runs import RunFile, RunStore, run_started_at


def unanswered(store: RunStore, *, since: datetime, until: datetime) -> list[str]:
    """Return the run ids, oldest first, whose directory holds a spec and no capture.

    A run whose id carries a time after ``until`` was requested by a schedule with jitter, and is
    not due yet.
    """
    return [
        run_id
        for run_id in store.run_ids()
        if since <= run_started_at(run_id) <= until
        and store.run(run_id).has(RunFile.SPEC)
        and not store.run(run_id).has(RunFile.CAPTURE)
    ]


@dg.sensor(
    job=publish_run,
    # A person waits for the answer to launch_benchmark, so
    # this sensor looks more often than others.
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts publish_run for each run that was requested and has not begun. Starts it "
    "again for each run that was interrupted because its process, the database or the code server "
    "went away.",
)
def requested_runs(
    context: dg.SensorEvaluationContext, run_store: RunStoreResource
) -> dg.SensorResult | dg.SkipReason:
    """Compare the requests of the last days with what exists, so that none is skipped.

    The cursor is for the interrupted runs alone, and only saves reading: without it, the failures
    of the last days are read again.
    """
    # Set here, because a pool without a limit does not hold back the first batch of runs.
    for pool, limit in hold_pools(context.instance).items():
        context.log.info("the pool %s now has %d slot(s)", pool, limit)
    now = datetime.now(tz=UTC)
    since = now - LOOK_BACK
    watch = interrupted_runs.read_failures(
        context.instance, interrupted_runs.Watch.from_cursor(context.cursor), since=since, now=now
    )
    again, watch = interrupted_runs.due(context.instance, run_store, watch, now)
    for one in again:
        context.log.warning("run %s was interrupted and is requested again", one.partition)
    started = start_requests(context.instance, unanswered(run_store, since=since, until=now))
    cursor = watch.model_dump_json()
    if isinstance(started, dg.SensorResult):
        requests = list(started.run_requests or ())
    elif again:
        requests = []
    else:
        # A bare SkipReason would lose the new cursor.
        return dg.SensorResult(skip_reason=_why_none(started, watch), cursor=cursor)
    requests.extend(one.request() for one in again)
    return with_partitions(context.instance, requests, cursor)


def _why_none(started: dg.SkipReason, watch: interrupted_runs.Watch) -> dg.SkipReason:
    """Return why nothing is started, with the interrupted runs whose time has not come."""
    if not watch.waiting:
        return started
    return dg.SkipReason(
        f"{started.skip_message}; {len(watch.waiting)} interrupted run(s) are requested again "
        f"from {min(item.not_before for item in watch.waiting.values()):%H:%M:%S} UTC on"
    )
