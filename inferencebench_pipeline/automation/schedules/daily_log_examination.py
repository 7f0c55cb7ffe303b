"""The schedule ``daily_log_examination``: the transparency logs are examined every day."""

from inferencebench_pipeline.automation.conventions import utc_schedule
from inferencebench_pipeline.automation.jobs.examine_logs import examine_logs

daily_log_examination = utc_schedule(
    name="daily_log_examination",
    job=examine_logs,
    cron_schedule="30 4 * * *",
    description="Proves every day that the transparency logs have only grown, and reads their new "
    "entries.",
)
