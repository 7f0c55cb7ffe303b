"""The sensor ``parked_runs``: it finishes runs that an outage or a killed process left behind."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from inferencebench_pipeline.automation.instance.pools import GOING_ON
from inferencebench_pipeline.automation.jobs.publish_run import publish_run
from inferencebench_pipeline.lifecycle.life_of_a_run.hub_dataset import hub_dataset
from inferencebench_pipeline.lifecycle.life_of_a_run.model_card_backlink import model_card_backlink
from inferencebench_pipeline.lifecycle.life_of_a_run.signature import signature
from inferencebench_pipeline.lifecycle.partitions import PARTITION_TAG, runs
from inferencebench_pipeline.parking import LONGEST_WAIT, parked_state
from inferencebench_pipeline.resources import RunStoreResource
from inferencebench_pipeline.runs import RunDirectory, RunFile, RunStore, run_started_at
from inferencebench_pipeline.trust import RunState, state_of

LOOK_BACK = timedelta(days=30)
"""Runs that began earlier are left alone: their machine was away for a month, or on purpose."""
LEFT_BEHIND_AFTER = timedelta(minutes=10)
"""After this long, no process is working on a signature that is not in the log yet."""
MOST_LAUNCHES = 5
"""A run that was left behind more often kills its process, so a person has to look."""

# The stages that park a run at an outage (``guarded_run``), in the order in which they run.
_STAGES = (signature, hub_dataset, model_card_backlink)


@dataclass(frozen=True)
class Unfinished:
    """A run to finish, and the stage to go on from."""

    run_id: str
    stage: str
    why: str
    left_behind: bool


def unfinished(store: RunStore, *, now: datetime) -> Iterator[Unfinished]:
    """Yield the runs whose next attempt is due, the oldest first."""
    for run_id in store.run_ids():
        if run_started_at(run_id) < now - LOOK_BACK:
            continue
        run = store.run(run_id)
        parked = parked_state(run)
        if parked is not None:
            # No run is parked for longer: a later time was written while the clock was ahead.
            if not now < parked.not_before <= now + LONGEST_WAIT:
                yield Unfinished(run_id, parked.stage, parked.reason, left_behind=False)
        elif _left_behind(run, now):
            why = "a signature was made, and it is not known whether the log holds it"
            yield Unfinished(run_id, signature.key.path[-1], why, left_behind=True)


@dg.sensor(
    job=publish_run,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Finishes runs that an outage has parked, from the stage where they stopped.",
)
def parked_runs(
    context: dg.SensorEvaluationContext, run_store: RunStoreResource
) -> dg.SensorResult | dg.SkipReason:
    """Request the remaining stages of each run; finished stages change nothing."""
    requests = []
    for item in unfinished(run_store, now=datetime.now(tz=UTC)):
        of_this_run = {PARTITION_TAG: item.run_id}
        launches = context.instance.get_runs_count(dg.RunsFilter(tags=of_this_run))
        busy = dg.RunsFilter(tags=of_this_run, statuses=GOING_ON)
        # An outage is waited out, however many launches it
        # takes. A run that kills its process is not.
        if context.instance.get_runs_count(busy) or (item.left_behind and launches > MOST_LAUNCHES):
            continue
        context.log.info("run %s goes on with %s: %s", item.run_id, item.stage, item.why)
        requests.append(
            dg.RunRequest(
                # The key holds the number of launches, so a tick that is cut off launches once.
                run_key=f"{item.run_id}:parked:{launches}",
                partition_key=item.run_id,
                asset_selection=_from(item.stage),
            )
        )
    if not requests:
        return dg.SkipReason("no parked run is due for another attempt")
    known = set(context.instance.get_dynamic_partitions(str(runs.name)))
    unknown = [key for request in requests if (key := str(request.partition_key)) not in known]
    return dg.SensorResult(
        run_requests=requests, dynamic_partitions_requests=[runs.build_add_request(unknown)]
    )


def _from(stage: str) -> list[dg.AssetKey]:
    """Return ``stage`` and the stages after it, or all that can be parked if it is unknown."""
    names = [asset.key.path[-1] for asset in _STAGES]
    start = names.index(stage) if stage in names else 0
    return [asset.key for asset in _STAGES[start:]]


def _left_behind(run: RunDirectory, now: datetime) -> bool:
    if state_of(run) is not RunState.SIGNED:
        return False
    try:
        made = run.file(RunFile.SIGNATURE).stat().st_mtime
    except OSError:
        return False
    # A time far in the future counts as long ago, since it was written while a clock was ahead.
    return abs(now.timestamp() - made) >= LEFT_BEHIND_AFTER.total_seconds()
