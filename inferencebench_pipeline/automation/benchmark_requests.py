"""Requests for benchmarks: run directories that hold a spec and nothing else.

The jobs ``launch_benchmark`` and ``scheduled_benchmark`` leave them, and the sensor
``requested_runs`` starts ``publish_run`` for each, once the time in its run id has come.
"""

from collections.abc import Sequence
from datetime import datetime

import dagster as dg

from inferencebench_pipeline.lifecycle.partitions import runs
from inferencebench_pipeline.measure import Plan, load_label, spec_json
from inferencebench_pipeline.runs import RunFile, RunStore


def leave_requests(
    context: dg.OpExecutionContext,
    store: RunStore,
    plan: Plan,
    run_ids: Sequence[str],
    due: datetime | None,
) -> None:
    """Write a request for each run of ``plan`` that has none yet, and register it as a run.

    Args:
        context: of the op, which shows the requests in its metadata.
        store: the run store that receives the requests.
        plan: the runs to ask for.
        run_ids: one id for each run of the plan, in its order.
        due: when the runs start; None for at once.
    """
    for run_id, spec in zip(run_ids, plan.runs, strict=True):
        run = store.run(run_id)
        # A tick that is tried again names the same runs, and a
        # request that was written once stands.
        if not run.has(RunFile.SPEC):
            run.write(RunFile.SPEC, spec_json(spec))
        context.log.info(
            "run %s is requested (%s, %s); the sensor requested_runs starts it %s",
            run_id,
            spec.name,
            load_label(spec.load),
            "within seconds" if due is None else f"at {due:%Y-%m-%d %H:%M:%S} UTC",
        )
    # The spec is written first: a registered run id without a spec is a lost request.
    context.instance.add_dynamic_partitions(str(runs.name), list(run_ids))
    context.add_output_metadata(
        {
            "spec": dg.MetadataValue.text(plan.name),
            "runs": dg.MetadataValue.md("\n".join(f"- `{run_id}`" for run_id in run_ids)),
            "starts": dg.MetadataValue.text(due.isoformat() if due else "now"),
        }
    )
