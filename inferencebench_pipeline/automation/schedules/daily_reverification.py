"""The schedule ``daily_reverification``: yesterday's records are verified again every day."""

from datetime import timedelta

import dagster as dg

from inferencebench_pipeline.automation.jobs.reverify import reverify


@dg.schedule(
    job=reverify,
    cron_schedule="30 3 * * *",
    execution_timezone="UTC",
    description="Verifies again every day what was published on the day before.",
)
def daily_reverification(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Ask for the day before the tick; older days are the rolling schedule's, or a backfill's."""
    day = (context.scheduled_execution_time - timedelta(days=1)).strftime("%Y-%m-%d")
    return dg.RunRequest(run_key=f"{day}@{context.scheduled_execution_time:%s}", partition_key=day)
