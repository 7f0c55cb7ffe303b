"""The schedule ``daily_corpus_statement``: the corpus is stated every day."""

from inferencebench_pipeline.automation.conventions import utc_schedule
from inferencebench_pipeline.automation.jobs.state_corpus import state_corpus

daily_corpus_statement = utc_schedule(
    name="daily_corpus_statement",
    job=state_corpus,
    # After the verifications (03:30, 03:45) and the examination
    # of the logs (04:30), on which it rests.
    cron_schedule="0 5 * * *",
    description="Signs the corpus statement every day on which the verified corpus or the "
    "leaderboard has changed, and publishes both.",
)
