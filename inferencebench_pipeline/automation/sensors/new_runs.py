"""The sensor ``new_runs``: it takes in the finished runs that other hosts deliver."""

from datetime import UTC, datetime

import dagster as dg

from inferencebench_pipeline.automation.jobs.publish_run import publish_run
from inferencebench_pipeline.automation.run_requests.start_requests import start_requests
from inferencebench_pipeline.automation.ticks import LOOK_BACK
from inferencebench_pipeline.inbox import Delivery, Inbox, delivered_since
from inferencebench_pipeline.resources import DeploymentResource, RunStoreResource


@dg.sensor(
    job=publish_run,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Takes in the finished runs that other hosts left in the inbox, and starts "
    "publish_run for each of them. A delivery that cannot be used is put aside with its reason.",
)
def new_runs(
    context: dg.SensorEvaluationContext, run_store: RunStoreResource, deployment: DeploymentResource
) -> dg.SensorResult | dg.SkipReason:
    """Move each complete delivery into the store, then start the runs that were never started.

    The two steps are apart on purpose: a tick that is cut off between them has lost nothing,
    because the next one finds the run in the store.
    """
    inbox = deployment.settings.inbox
    if inbox is None:
        return dg.SkipReason("INFERENCEBENCH_INBOX is not set, so there is no inbox to look into")
    taken = Inbox(inbox).take_in(run_store)
    for delivery in taken.quarantined:
        context.log.error(_sentence(delivery))
    for delivery in taken.waiting:
        context.log.info(_sentence(delivery))
    since = datetime.now(tz=UTC) - LOOK_BACK
    started = start_requests(context.instance, delivered_since(run_store, since=since))
    if isinstance(started, dg.SkipReason) and (taken.waiting or taken.quarantined):
        return dg.SkipReason(
            f"{len(taken.waiting)} deliveries are not complete yet, "
            f"{len(taken.quarantined)} were put aside"
        )
    return started


def _sentence(delivery: Delivery) -> str:
    return f"delivery {delivery.name}: {delivery.reason}"
