"""``unverified_records``: what a crawl found and nobody has judged yet is verified at once."""

import hashlib

import dagster as dg

from inferencebench_pipeline.automation.instance.pools import GOING_ON
from inferencebench_pipeline.automation.jobs.reverify import reverify
from inferencebench_pipeline.corpus import CorpusStore, InventoryError, unverified_days
from inferencebench_pipeline.lifecycle.partitions import FIRST_DAY, PARTITION_TAG
from inferencebench_pipeline.resources import RunStoreResource

MOST_DAYS = 5
"""Days that one tick asks for; after a first crawl the rest follows, or is backfilled by hand."""
_ENDED_BADLY = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dg.sensor(
    job=reverify,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Verifies the days on which a crawl found records that no verdict was reached on, "
    "so that a new run is on the leaderboard within minutes and not the next day.",
)
def unverified_records(
    context: dg.SensorEvaluationContext, run_store: RunStoreResource
) -> dg.SensorResult | dg.SkipReason:
    """Compare the inventory with the records; no cursor, so nothing is skipped.

    The key is that of what is unverified, and of how often verifying that day has failed: a tick
    cut off after asking asks for the same run, and a record that stays without a verdict is not
    tried for ever.
    """
    try:
        found = unverified_days(CorpusStore(run_store.root))
    except InventoryError as error:
        # The next crawl writes it anew, and it is asked for at once.
        return dg.SkipReason(str(error))
    requests = []
    for day, records in [item for item in found.items() if item[0] >= FIRST_DAY][-MOST_DAYS:]:
        of_the_day = {PARTITION_TAG: day}
        going_on = dg.RunsFilter(job_name=reverify.name, tags=of_the_day, statuses=GOING_ON)
        if context.instance.get_runs_count(going_on):
            continue
        failed = context.instance.get_runs_count(
            dg.RunsFilter(job_name=reverify.name, tags=of_the_day, statuses=_ENDED_BADLY)
        )
        digest = hashlib.sha256("\n".join(records).encode()).hexdigest()[:16]
        requests.append(
            dg.RunRequest(run_key=f"unverified:{day}:{digest}:{failed}", partition_key=day)
        )
    if not requests:
        return dg.SkipReason("every published record has a verdict, or is being verified")
    return dg.SensorResult(run_requests=requests)
