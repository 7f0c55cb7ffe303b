"""``published_elsewhere``: what others publish on the Hub enters the corpus, as the community's."""

import hashlib
import json

import dagster as dg

from inferencebench_pipeline.automation.instance.pools import GOING_ON
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

_ENDED_BADLY = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dg.sensor(
    job=take_in_community,
    minimum_interval_seconds=900,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Looks every quarter of an hour for records that others publish on the Hub, and "
    "has new and changed ones taken in and verified. Asks without a token, in one short request.",
)
def published_elsewhere(
    context: dg.SensorEvaluationContext, run_store: RunStoreResource, deployment: DeploymentResource
) -> dg.SensorResult | dg.SkipReason:
    """Compare the Hub's list with the inventory; no cursor, so nothing is skipped.

    The key is that of what is new, and of how often taking it in has failed: a tick cut off after
    asking asks for the same run, and an outage is not the end of it.
    """
    organisation = deployment.settings.organisation
    if organisation is None:
        return dg.SkipReason("INFERENCEBENCH_ORGANISATION is not set: whose would be elsewhere?")
    of_the_job = dg.RunsFilter(job_name=take_in_community.name, statuses=GOING_ON)
    if context.instance.get_runs_count(of_the_job):
        return dg.SkipReason("the last look is still going on")
    hub = Hub(deployment.settings.hub_endpoint, lambda: None, retry=GLANCE)
    try:
        news = news_elsewhere(hub, organisation, CorpusStore(run_store.root), BOUNDS)
    except RetryableError as error:
        return dg.SkipReason(f"the Hub could not be asked: {error}")
    except InventoryError as error:
        # The next crawl writes it anew, and it is asked for at once.
        return dg.SkipReason(str(error))
    if not news:
        return dg.SkipReason("nothing new is published elsewhere")
    failed = context.instance.get_runs_count(
        dg.RunsFilter(job_name=take_in_community.name, statuses=_ENDED_BADLY)
    )
    digest = hashlib.sha256(json.dumps(sorted(news.items())).encode()).hexdigest()[:16]
    context.log.info("%d new or changed records: %s", len(news), ", ".join(sorted(news)[:20]))
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=f"elsewhere:{digest}:{failed}")])
