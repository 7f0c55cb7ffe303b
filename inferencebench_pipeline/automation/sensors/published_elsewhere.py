"""The sensor ``published_elsewhere``: it has records of others taken into the corpus."""

import hashlib
import json

import dagster as dg

from inferencebench_pipeline.automation.instance.pools import ENDED_BADLY, GOING_ON
from inferencebench_pipeline.automation.jobs.take_in_community import take_in_community
from inferencebench_pipeline.corpus import (
    BOUNDS,
    GLANCE,
    CorpusStore,
    InventoryError,
    news_elsewhere,
)
from inferencebench_pipeline.errors import RetryableError
from inferencebench_pipeline.hub import Hub
from inferencebench_pipeline.resources import DeploymentResource, RunStoreResource


@dg.sensor(
    job=take_in_community,
    minimum_interval_seconds=900,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Looks every 15 minutes for records that others publish on the Hub, and has new "
    "and changed ones taken in and verified. It asks without a token, in one short request.",
)
def published_elsewhere(
    context: dg.SensorEvaluationContext, run_store: RunStoreResource, deployment: DeploymentResource
) -> dg.SensorResult | dg.SkipReason:
    """Compare the Hub's list with the inventory, without any cursor.

    The run key holds the digest of the new records and the number of failed runs: a tick that is
    cut off requests the same run, and after an outage the records are requested again.
    """
    organisation = deployment.settings.organisation
    if organisation is None:
        return dg.SkipReason("INFERENCEBENCH_ORGANISATION is not set")
    of_the_job = dg.RunsFilter(job_name=take_in_community.name, statuses=GOING_ON)
    if context.instance.get_runs_count(of_the_job):
        return dg.SkipReason("the previous community crawl is still running")
    # Without a token, since what is read is the work of strangers and public anyway.
    hub = Hub(deployment.settings.hub_endpoint, lambda: None, retry=GLANCE)
    try:
        news = news_elsewhere(hub, organisation, CorpusStore(run_store.root), BOUNDS)
    except RetryableError as error:
        return dg.SkipReason(f"the Hub cannot be reached: {error}")
    except InventoryError as error:
        # The next crawl repairs the inventory, and nudged_crawl requests it.
        return dg.SkipReason(str(error))
    if not news:
        return dg.SkipReason("others have published nothing new")
    failed = context.instance.get_runs_count(
        dg.RunsFilter(job_name=take_in_community.name, statuses=ENDED_BADLY)
    )
    digest = hashlib.sha256(json.dumps(sorted(news.items())).encode()).hexdigest()[:16]
    context.log.info("%d new or changed records: %s", len(news), ", ".join(sorted(news)[:20]))
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=f"elsewhere:{digest}:{failed}")])
