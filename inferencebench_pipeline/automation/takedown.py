"""The job ``takedown``: somebody asked us not to link from their model cards."""

import dagster as dg

from inferencebench_pipeline.hub.takedown import take_down
from inferencebench_pipeline.resources import DeploymentResource, OutageResource, StoreResource


class TakedownConfig(dg.Config):
    """Who asked, for what, and why; all three are shown publicly."""

    target: str
    """A model id such as ``org/name``, or an organisation: then all its models."""
    reason: str
    requested_by: str
    """As the person wants to be named."""


@dg.op(pool="hub-write")
def remove_links(
    context: dg.OpExecutionContext,
    config: TakedownConfig,
    runs_store: StoreResource,
    world: DeploymentResource,
    outages: OutageResource,
) -> str:
    """Record the request, remove our items from the cards, close our open pull requests."""
    with outages.guard():
        deployment = world.deployment()
        done = take_down(
            deployment.hub(),
            runs_store.store().root,
            target=config.target,
            reason=config.reason,
            requested_by=config.requested_by,
            organisation=deployment.require_organisation(),
            on_stage=context.log.info,
        )
    context.add_output_metadata(
        {
            "target": dg.MetadataValue.text(done.target),
            "outcome": dg.MetadataValue.md("\n".join(f"- {line}" for line in done.outcome)),
        }
    )
    return done.target


@dg.job(
    description="Take our links down from a model's or an organisation's cards, for good "
    "(docs/takedown.md). Nothing links there again.",
    executor_def=dg.in_process_executor,
)
def takedown() -> None:
    """One op, so that the form in the UI asks for the request and nothing else."""
    remove_links()
