"""The schedule ``daily_watch``: community results are looked at every day."""

from inferencebench_pipeline.automation.conventions import utc_schedule
from inferencebench_pipeline.automation.jobs.watch_community_results import watch_community_results

daily_watch = utc_schedule(
    name="daily_watch",
    job=watch_community_results,
    cron_schedule="0 4 * * *",
    description="Looks at community evaluation results every day. A pull request that is opened "
    "and closed between two looks is not noticed.",
)
