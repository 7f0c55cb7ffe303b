"""Schedules: repeat a benchmark, and verify again what was published the day before."""

import hashlib
from datetime import datetime, timedelta

import dagster as dg

from inferencebench_pipeline.automation.jobs import publish_run, reverify
from inferencebench_pipeline.lifecycle.partitions import runs
from inferencebench_pipeline.runs import new_run_id

NIGHTLY_SPEC = "smollm2-chat-quick"


def run_id_of_tick(spec_name: str, tick: datetime) -> str:
    """Return the run id of a schedule's tick: the same for a retried tick, so it runs once."""
    seconds = int(tick.timestamp())
    entropy = hashlib.sha256(f"{spec_name}@{seconds}".encode()).digest()[:10]
    return new_run_id(unix_ms=seconds * 1000, entropy=entropy)


@dg.schedule(
    job=publish_run,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    description=f"Repeats {NIGHTLY_SPEC} every night; switch it on when the host is ready.",
)
def nightly_benchmark(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Register the tick's run and ask for its whole life."""
    run_id = run_id_of_tick(NIGHTLY_SPEC, context.scheduled_execution_time)
    context.instance.add_dynamic_partitions(str(runs.name), [run_id])
    return dg.RunRequest(
        run_key=f"{run_id}:1",
        partition_key=run_id,
        run_config={"ops": {"benchmark_run": {"config": {"spec": NIGHTLY_SPEC}}}},
    )


@dg.schedule(
    job=reverify,
    cron_schedule="30 3 * * *",
    execution_timezone="UTC",
    description="Verifies again what was published yesterday.",
)
def daily_reverification(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Name the day before the tick; older days are a backfill in the UI."""
    day = (context.scheduled_execution_time - timedelta(days=1)).strftime("%Y-%m-%d")
    return dg.RunRequest(run_key=f"{day}@{context.scheduled_execution_time:%s}", partition_key=day)
