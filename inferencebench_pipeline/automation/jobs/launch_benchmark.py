"""Asking for benchmarks: by a person's form, and by a schedule's tick. Both leave a request.

A run directory that holds a spec and nothing else is a request; the sensor ``requested_runs``
answers it with a ``publish_run`` once the time that its run id carries has come.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Self, cast

import dagster as dg
from pydantic import AwareDatetime, Field, model_validator

from inferencebench_pipeline.automation.ticks import LOOK_BACK, run_id_of_tick
from inferencebench_pipeline.lifecycle.form import Form
from inferencebench_pipeline.lifecycle.partitions import runs
from inferencebench_pipeline.measure import Plan, load_label, load_plan, named_spec, spec_json
from inferencebench_pipeline.resources import (
    IN_PROCESS,
    DeploymentResource,
    RetryPolicyResource,
    RunStoreResource,
)
from inferencebench_pipeline.runs import RunFile, RunStore, new_run_id

PREFERRED_SPEC = "smollm2-chat-quick"
"""What the form proposes where it is there: it needs no GPU and half a minute."""
LONGEST_JITTER = timedelta(days=1)
"""A spec's ``schedule.jitter_s`` is at most that."""


class TickForm(Form):
    """Which tick of which spec's schedule; filled in by the schedule."""

    spec: str = Field(description="A spec in the specs folder, without .yaml.")
    tick: AwareDatetime = Field(description="The instant the schedule names, RFC 3339.")
    due: AwareDatetime = Field(description="When the runs start: the tick and its jitter.")

    @model_validator(mode="after")
    def _will_be_started(self) -> Self:
        """Refuse what no sensor would ever answer: a request that is asked for is not lost."""
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
    """Write the requests of a tick; a tick that is tried again names the same runs."""
    with retry_policy.guard():
        form = TickForm.of(context)
        plan = load_plan(named_spec(deployment.settings.specs, form.spec))
        run_ids = [
            run_id_of_tick(form.spec, form.tick, form.due, point)
            for point in range(1, len(plan.runs) + 1)
        ]
        _request(context, run_store, plan, run_ids, form.due)
    return run_ids


@dg.job(
    description="What a benchmark's schedule launches: it asks for the tick's runs.",
    executor_def=IN_PROCESS,
)
def scheduled_benchmark() -> None:
    """One op; what it asks for is started by the sensor ``requested_runs``."""
    request_scheduled_run()


def launch_benchmark(specs: Path) -> dg.JobDefinition:
    """Return the job with which a person asks for a benchmark, by a form that lists ``specs``.

    The names are those that are there when the code location loads; a new spec file appears when
    it is reloaded.
    """
    names = sorted(path.stem for path in specs.glob("*.yaml"))
    proposed = PREFERRED_SPEC if PREFERRED_SPEC in names else names[0] if names else PREFERRED_SPEC
    choice = cast(Any, Literal)[tuple(names or [PREFERRED_SPEC])]

    class LaunchForm(Form):
        """Which benchmark to launch."""

        spec: choice = Field(  # type: ignore[valid-type]
            default=proposed, description="The spec, a file in the specs folder."
        )
        overrides: list[str] = Field(
            default=[],
            max_length=100,
            description="Fields of the spec to replace, each as load.concurrency=8; a list of "
            "values, as load.concurrency=[1, 2], gives a run for each.",
        )

    @dg.op(out=dg.Out(list[str]), config_schema=LaunchForm.run_config())
    def request_run(
        context: dg.OpExecutionContext,
        run_store: RunStoreResource,
        deployment: DeploymentResource,
        retry_policy: RetryPolicyResource,
    ) -> list[str]:
        """Write each run of the spec into a new run directory and register it."""
        with retry_policy.guard():
            form = LaunchForm.of(context)
            plan = load_plan(named_spec(deployment.settings.specs, form.spec), form.overrides)
            run_ids = [new_run_id() for _ in plan.runs]
            _request(context, run_store, plan, run_ids, None)
        return run_ids

    @dg.job(
        name="launch_benchmark",
        description="Ask for a benchmark: choose its spec, replace fields of it if you like. It "
        "makes the run id; the sensor requested_runs then starts the run's whole life.",
        executor_def=IN_PROCESS,
    )
    def launch() -> None:
        request_run()

    return launch


def _request(
    context: dg.OpExecutionContext,
    store: RunStore,
    plan: Plan,
    run_ids: Sequence[str],
    due: datetime | None,
) -> None:
    """Leave a request for each run of ``plan`` that has none yet, and register it as a run."""
    for run_id, spec in zip(run_ids, plan.runs, strict=True):
        run = store.run(run_id)
        if not run.has(RunFile.SPEC):
            run.write(RunFile.SPEC, spec_json(spec))
        context.log.info(
            "run %s asked for (%s, %s); requested_runs starts it %s",
            run_id,
            spec.name,
            load_label(spec.load),
            "within seconds" if due is None else f"at {due:%Y-%m-%d %H:%M:%S} UTC",
        )
    context.instance.add_dynamic_partitions(str(runs.name), list(run_ids))
    context.add_output_metadata(
        {
            "spec": dg.MetadataValue.text(plan.name),
            "runs": dg.MetadataValue.md("\n".join(f"- `{run_id}`" for run_id in run_ids)),
            "starts": dg.MetadataValue.text(due.isoformat() if due else "now"),
        }
    )
