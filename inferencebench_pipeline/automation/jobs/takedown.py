"""The job ``takedown``: somebody asked us not to link from their model cards."""

import dagster as dg
from pydantic import Field

from inferencebench_pipeline.lifecycle.form import Form
from inferencebench_pipeline.resources import (
    IN_PROCESS,
    DeploymentResource,
    RetryPolicyResource,
    RunStoreResource,
)
from inferencebench_pipeline.takedown import take_down


class TakedownForm(Form):
    """The person who asks, the target and the reason; all three are shown publicly.

    They begin empty, so that the form in the UI shows them; empty ones are refused.
    """

    target: str = Field(
        default="", description="A model such as org/name, or an organisation: all its models."
    )
    reason: str = Field(default="", description="Why, for the public record.")
    requested_by: str = Field(
        default="", description="Who asked, as the person wants to be named publicly."
    )


@dg.op(pool="hub-write", config_schema=TakedownForm.run_config())
def remove_links(
    context: dg.OpExecutionContext,
    run_store: RunStoreResource,
    deployment: DeploymentResource,
    retry_policy: RetryPolicyResource,
) -> str:
    """Record the request, remove our items from the cards, close our open pull requests."""
    with retry_policy.guard():
        form = TakedownForm.of(context)
        done = take_down(
            deployment.hub(),
            run_store.root,
            target=form.target,
            reason=form.reason,
            requested_by=form.requested_by,
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
    executor_def=IN_PROCESS,
)
def takedown() -> None:
    """One op, so that the form in the UI asks for the request and nothing else."""
    remove_links()
