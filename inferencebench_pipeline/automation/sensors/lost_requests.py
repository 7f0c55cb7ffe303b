"""The sensor ``lost_requests``: it starts runs whose request is gone, so that they fail visibly.

A request is made by writing the spec first and registering the run id after it. A registered run id
without a spec that was never launched is therefore a lost request: its disk is gone, or it lies in
another store.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg

from inferencebench_pipeline.automation.jobs.publish_run import publish_run
from inferencebench_pipeline.automation.run_requests.start_requests import launched
from inferencebench_pipeline.automation.ticks import LOOK_BACK
from inferencebench_pipeline.lifecycle.partitions import runs
from inferencebench_pipeline.resources import RunStoreResource
from inferencebench_pipeline.runs import RunFile, RunIdError, RunStore, run_started_at

JUST_REGISTERED: Final = timedelta(minutes=10)
"""The time that a person has to launch a run id that was registered by hand."""


def without_request(
    store: RunStore, run_ids: Iterable[str], *, since: datetime, until: datetime
) -> Iterator[str]:
    """Yield the registered ``run_ids`` between two times for which the store holds no spec."""
    for run_id in run_ids:
        try:
            asked_at = run_started_at(run_id)
        except RunIdError:
            continue  # a partition that was registered by hand, and no run id
        run = store.run(run_id)
        if since <= asked_at <= until and not run.has(RunFile.SPEC):
            yield run_id


@dg.sensor(
    job=publish_run,
    minimum_interval_seconds=600,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts publish_run for each registered run whose request is missing from the "
    "store. Such a run measures nothing and fails with the reason, so that people are told.",
)
def lost_requests(
    context: dg.SensorEvaluationContext, run_store: RunStoreResource
) -> dg.SensorResult | dg.SkipReason:
    """Look at the registered runs of the last days, without any cursor."""
    now = datetime.now(tz=UTC)
    registered = context.instance.get_dynamic_partitions(str(runs.name))
    lost = list(
        without_request(run_store, registered, since=now - LOOK_BACK, until=now - JUST_REGISTERED)
    )
    known = launched(context.instance, lost)
    requests = [
        dg.RunRequest(run_key=f"{run_id}:1", partition_key=run_id)
        for run_id in lost
        if run_id not in known
    ]
    if not requests:
        return dg.SkipReason("every registered run has its request or was launched")
    return dg.SensorResult(run_requests=requests)
