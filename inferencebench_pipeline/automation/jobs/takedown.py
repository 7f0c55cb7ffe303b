"""The job ``takedown``: it removes our links from model cards whose owners do not want them."""

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
    """The target, the reason, and the person who asks; all three are shown publicly.

    The fields begin empty so that the form in the UI shows them. An empty field is refused.
    """

    target: str = Field(
        default="",
        description="A model such as org/name, or an organisation, which means all of its models.",
    )
    reason: str = Field(default="", description="The reason, for the public register.")
    requested_by: str = Field(
        default="", description="The name of the person who asked, as it may be shown publicly."
    )


@dg.op(pool="hub-write", config_schema=TakedownForm.run_config())
def remove_links(
    context: dg.OpExecutionContext,
    run_store: RunStoreResource,
    deployment: DeploymentResource,
    retry_policy: RetryPolicyResource,
) -> str:
    """Record the request, remove our entries from the cards, and close our open pull requests."""
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
    description="Removes our links from the model cards of a model or an organisation, and never "
    "links from there again (docs/takedown.md).",
    executor_def=IN_PROCESS,
)
def takedown() -> None:
    """The job has one op, so that the form in the UI shows the request and nothing else."""
    remove_links()
