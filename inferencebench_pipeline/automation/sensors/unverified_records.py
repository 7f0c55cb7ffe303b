"""The sensor ``unverified_records``: it has new records verified as soon as a crawl finds them."""

import hashlib

import dagster as dg

from inferencebench_pipeline.automation.instance.pools import ENDED_BADLY, GOING_ON
from inferencebench_pipeline.automation.jobs.reverify import reverify
from inferencebench_pipeline.corpus import CorpusStore, InventoryError, unverified_days
from inferencebench_pipeline.lifecycle.partitions import FIRST_DAY, PARTITION_TAG
from inferencebench_pipeline.resources import RunStoreResource

MOST_DAYS = 5
"""The most days that one tick requests; the next ticks request the others."""


@dg.sensor(
    job=reverify,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Verifies the days of records that have no verdict yet, so that a new run is on "
    "the leaderboard within minutes and not on the next day.",
)
def unverified_records(
    context: dg.SensorEvaluationContext, run_store: RunStoreResource
) -> dg.SensorResult | dg.SkipReason:
    """Compare the inventory with the verdicts, without any cursor.

    The run key holds the digest of the unverified records and the number of failed runs of their
    day: a tick that is cut off requests the same run, and a record that stays without a verdict is
    not tried for ever.
    """
    try:
        found = unverified_days(CorpusStore(run_store.root))
    except InventoryError as error:
        # The next crawl repairs the inventory, and nudged_crawl requests it.
        return dg.SkipReason(str(error))
    requests = []
    # The newest days come first, since somebody waits for what was just published. Days before the
    # first are no partitions, so nothing can be requested for them.
    for day, records in [item for item in found.items() if item[0] >= FIRST_DAY][-MOST_DAYS:]:
        of_the_day = {PARTITION_TAG: day}
        going_on = dg.RunsFilter(job_name=reverify.name, tags=of_the_day, statuses=GOING_ON)
        if context.instance.get_runs_count(going_on):
            continue
        failed = context.instance.get_runs_count(
            dg.RunsFilter(job_name=reverify.name, tags=of_the_day, statuses=ENDED_BADLY)
        )
        digest = hashlib.sha256("\n".join(records).encode()).hexdigest()[:16]
        requests.append(
            dg.RunRequest(run_key=f"unverified:{day}:{digest}:{failed}", partition_key=day)
        )
    if not requests:
        return dg.SkipReason("every published record has a verdict or is being verified")
    return dg.SensorResult(run_requests=requests)
