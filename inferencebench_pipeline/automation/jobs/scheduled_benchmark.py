"""The job ``scheduled_benchmark``: a tick of a benchmark's schedule requests its runs."""

from datetime import UTC, datetime, timedelta
from typing import Final, Self

import dagster as dg
from pydantic import AwareDatetime, Field, model_validator

from inferencebench_pipeline.automation.benchmark_requests import leave_requests
from inferencebench_pipeline.automation.ticks import LOOK_BACK, run_id_of_tick
from inferencebench_pipeline.lifecycle.form import Form
from inferencebench_pipeline.measure import load_plan, named_spec
from inferencebench_pipeline.resources import (
    IN_PROCESS,
    DeploymentResource,
    RetryPolicyResource,
    RunStoreResource,
)

LONGEST_JITTER: Final = timedelta(days=1)
"""The largest ``schedule.jitter_s`` that a spec may have."""


class TickForm(Form):
    """One tick of a spec's schedule; the schedule fills this form in."""

    spec: str = Field(description="The name of a file in the specs folder, without .yaml.")
    tick: AwareDatetime = Field(description="The instant of the tick (RFC 3339).")
    due: AwareDatetime = Field(
        description="The instant at which the runs start: that of the tick, plus the jitter."
    )

    @model_validator(mode="after")
    def _will_be_started(self) -> Self:
        """Refuse a tick that no sensor would start: a request must not be lost silently."""
        if not timedelta(0) <= self.due - self.tick <= LONGEST_JITTER:
            raise ValueError(f"due must be between tick and {LONGEST_JITTER} after it")
        if not -LOOK_BACK < self.tick - datetime.now(tz=UTC) < LONGEST_JITTER:
            raise ValueError(f"tick must be neither {LOOK_BACK} ago nor {LONGEST_JITTER} ahead")
        return self


@dg.op(out=dg.Out(list[str]), config_schema=TickForm.run_config())
def request_scheduled_run(
    context: dg.OpExecutionContext,
    run_store: RunStoreResource,
    deployment: DeploymentResource,
    retry_policy: RetryPolicyResource,
) -> list[str]:
    """Write the requests of a tick. A tick that is tried again names the same runs."""
    with retry_policy.guard():
        form = TickForm.of(context)
        plan = load_plan(named_spec(deployment.settings.specs, form.spec))
        run_ids = [
            run_id_of_tick(form.spec, form.tick, form.due, point)
            for point in range(1, len(plan.runs) + 1)
        ]
        leave_requests(context, run_store, plan, run_ids, form.due)
    return run_ids


@dg.job(
    description="Requests the runs of one tick. The schedule of a benchmark launches this job; "
    "the sensor requested_runs then starts each run.",
    executor_def=IN_PROCESS,
)
def scheduled_benchmark() -> None:
    """One op, which the schedule configures with the tick."""
    request_scheduled_run()
