"""The job ``launch_benchmark``: a person requests a benchmark by a form."""

from pathlib import Path
from typing import Any, Final, Literal, cast

import dagster as dg
from pydantic import Field

from inferencebench_pipeline.automation.benchmark_requests import leave_requests
from inferencebench_pipeline.lifecycle.form import Form
from inferencebench_pipeline.measure import load_plan, named_spec
from inferencebench_pipeline.resources import (
    IN_PROCESS,
    DeploymentResource,
    RetryPolicyResource,
    RunStoreResource,
)
from inferencebench_pipeline.runs import new_run_id

PREFERRED_SPEC: Final = "smollm2-chat-quick"
"""The spec that the form proposes, where it exists: it needs no GPU and half a minute."""


def launch_benchmark(specs: Path) -> dg.JobDefinition:
    """Return the job, whose form offers the files of the folder ``specs``.

    The names are those of the files that exist when the code location loads. A new spec file
    appears after a reload.
    """
    names = sorted(path.stem for path in specs.glob("*.yaml"))
    proposed = PREFERRED_SPEC if PREFERRED_SPEC in names else names[0] if names else PREFERRED_SPEC
    # A choice lets Dagster refuse an unknown name at the launch, before a run exists.
    choice = cast(Any, Literal)[tuple(names or [PREFERRED_SPEC])]

    class LaunchForm(Form):
        """The benchmark to launch."""

        spec: choice = Field(  # type: ignore[valid-type]
            default=proposed, description="The spec to run: a file in the specs folder."
        )
        overrides: list[str] = Field(
            default=[],
            max_length=100,
            description="Fields of the spec to replace, each written like load.concurrency=8. A "
            "list of values, like load.concurrency=[1, 2], makes one run for each value.",
        )

    @dg.op(out=dg.Out(list[str]), config_schema=LaunchForm.run_config())
    def request_run(
        context: dg.OpExecutionContext,
        run_store: RunStoreResource,
        deployment: DeploymentResource,
        retry_policy: RetryPolicyResource,
    ) -> list[str]:
        """Write each run of the spec into a new run directory, and register its run id."""
        with retry_policy.guard():
            form = LaunchForm.of(context)
            plan = load_plan(named_spec(deployment.settings.specs, form.spec), form.overrides)
            run_ids = [new_run_id() for _ in plan.runs]
            leave_requests(context, run_store, plan, run_ids, None)
        return run_ids

    @dg.job(
        name="launch_benchmark",
        description="Requests a benchmark: choose a spec, and replace fields of it if you like. "
        "The job makes the run ids; the sensor requested_runs then starts each run.",
        executor_def=IN_PROCESS,
    )
    def launch() -> None:
        request_run()

    return launch
