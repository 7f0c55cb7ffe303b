"""The schedule ``daily_index``: the index is published every day."""

from inferencebench_pipeline.automation.conventions import utc_schedule
from inferencebench_pipeline.automation.jobs.publish_index import publish_index

daily_index = utc_schedule(
    name="daily_index",
    job=publish_index,
    # After the statement (05:00), which publishes the index that it covers: then there is nothing
    # left to publish here. Where nothing can be stated, the index is published without a statement.
    cron_schedule="30 5 * * *",
    description="Builds the index of the leaderboard every day, and publishes the files that "
    "changed.",
)
