"""The schedule ``daily_trust_root``: the trust root is refreshed every day."""

from inferencebench_pipeline.automation.conventions import utc_schedule
from inferencebench_pipeline.automation.jobs.refresh_trust_root import refresh_trust_root

daily_trust_root = utc_schedule(
    name="daily_trust_root",
    job=refresh_trust_root,
    # The first of the night: what is verified after it is judged under the root that it fetches.
    cron_schedule="5 3 * * *",
    description="Fetches the current public-good trust root through TUF every day.",
)
