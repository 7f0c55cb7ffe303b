"""The job ``watch_community_results``: it records community results and their withholding."""

from typing import Annotated

import dagster as dg
from pydantic import Field

from inferencebench_pipeline.community_results import (
    CommunityResult,
    load_evaluations,
    publish_register,
    watch,
)
from inferencebench_pipeline.lifecycle.form import Form
from inferencebench_pipeline.lifecycle.metadata import table
from inferencebench_pipeline.resources import (
    IN_PROCESS,
    DeploymentResource,
    RetryPolicyResource,
    RunStoreResource,
)

_HUB_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$"


class WatchForm(Form):
    """The benchmarks to look at, besides those of which results are already known."""

    benchmarks: list[Annotated[str, Field(pattern=_HUB_ID)]] = Field(
        default=[], max_length=100, description="Benchmark datasets, each as org/name."
    )


@dg.op(pool="hub-write", config_schema=WatchForm.run_config())
def look_at_results(
    context: dg.OpExecutionContext,
    run_store: RunStoreResource,
    deployment: DeploymentResource,
    retry_policy: RetryPolicyResource,
) -> int:
    """Bring the register up to date, publish it, and return the number of withheld results."""
    with retry_policy.guard():
        root = run_store.root
        hub = deployment.evaluation_hub()
        known = {result.entry.dataset.id for result in load_evaluations(root).results}
        seen = watch(hub, root, benchmarks=sorted({*WatchForm.of(context).benchmarks, *known}))
        if seen.register.results:
            publish_register(hub, root, deployment.require_organisation())
    for failure in seen.failed:
        context.log.warning("cannot be looked at: %s", failure)
    withheld = seen.register.withheld()
    for result in seen.withheld:
        context.log.warning("withheld: %s", " ".join(_row(result).values()))
    context.add_output_metadata(
        {
            "results": dg.MetadataValue.int(len(seen.register.results)),
            "withheld": table(_row(result) for result in withheld),
            "hub_rate_budget": dg.MetadataValue.text(str(hub.budget.report())),
        }
    )
    return len(withheld)


def _row(result: CommunityResult) -> dict[str, str]:
    last = result.withheld[-1]
    return {
        "model": result.model_id,
        "benchmark": f"{result.entry.dataset.id} {result.entry.dataset.task_id}",
        "value": str(result.entry.value),
        "date": f"{last.at:%Y-%m-%d}",
        "link": last.url,
    }


@dg.job(
    description="Looks at community evaluation results, records those that were withheld, and "
    "publishes the register (docs/evaluations.md).",
    executor_def=IN_PROCESS,
)
def watch_community_results() -> None:
    """The job has one op, so that the form in the UI shows the benchmarks and nothing else."""
    look_at_results()
