"""``lost_requests``: a run that was asked for, and whose request is gone, is not forgotten.

Who asks writes the spec first and registers the run id after it. A registered run id without a spec
that nobody has launched is therefore a request that was lost, with its disk or in another store.
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
"""So long a person who registered a run id by hand may look for the spec to launch it with."""


def without_request(
    store: RunStore, run_ids: Iterable[str], *, since: datetime, until: datetime
) -> Iterator[str]:
    """Yield those of the registered ``run_ids`` of a time that the store holds no spec of."""
    for run_id in run_ids:
        try:
            asked_at = run_started_at(run_id)
        except RunIdError:
            continue  # registered by hand, as something else
        run = store.run(run_id)
        if since <= asked_at <= until and not run.has(RunFile.SPEC):
            yield run_id


@dg.sensor(
    job=publish_run,
    minimum_interval_seconds=600,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts publish_run for each run that was registered and whose request is not in "
    "the store: it measures nothing, it fails with the reason, and so people are told.",
)
def lost_requests(
    context: dg.SensorEvaluationContext, run_store: RunStoreResource
) -> dg.SensorResult | dg.SkipReason:
    """Look back over a window; no cursor, so nothing is skipped."""
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
        return dg.SkipReason("every run that was registered has its request, or was launched")
    return dg.SensorResult(run_requests=requests)
