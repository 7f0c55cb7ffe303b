"""Upkeep of the corpus: a rolling share verified daily, logs examined, the statement, the root."""

from collections.abc import Iterable
from datetime import date

import dagster as dg

from inferencebench_pipeline.automation.jobs.asset_jobs import reverify
from inferencebench_pipeline.corpus import CorpusStore, InventoryError, created_days
from inferencebench_pipeline.lifecycle.corpus_statement import corpus_statement
from inferencebench_pipeline.lifecycle.index_dataset import index_dataset
from inferencebench_pipeline.lifecycle.leaderboard_index import leaderboard_index
from inferencebench_pipeline.lifecycle.partitions import FIRST_DAY
from inferencebench_pipeline.lifecycle.transparency_logs import transparency_logs
from inferencebench_pipeline.lifecycle.trust_root import trust_root
from inferencebench_pipeline.resources import IN_PROCESS, RunStoreResource

BLOCK_DAYS = 7
ROUND_DAYS = 28
"""Within so many days everything has been verified again."""

examine_logs = dg.define_asset_job(
    "examine_logs",
    selection=dg.AssetSelection.assets(transparency_logs),
    description="Prove that the transparency logs only grew; look for entries we do not know.",
    executor_def=IN_PROCESS,
)

state_corpus = dg.define_asset_job(
    "state_corpus",
    selection=dg.AssetSelection.assets(corpus_statement),
    description="Sign and publish one statement over every verified envelope.",
    executor_def=IN_PROCESS,
)

publish_index = dg.define_asset_job(
    "publish_index",
    selection=dg.AssetSelection.assets(leaderboard_index, index_dataset),
    description="Build the index and publish it as a dataset that anybody can query.",
    executor_def=IN_PROCESS,
)

refresh_trust_root = dg.define_asset_job(
    "refresh_trust_root",
    selection=dg.AssetSelection.assets(trust_root),
    description="Ask TUF for the current public-good trust root; show what changed.",
    executor_def=IN_PROCESS,
)


def rolling_share(days: Iterable[str], tick: date) -> list[tuple[str, str]]:
    """Return the first and last day of each span of ``days`` that is verified again on ``tick``.

    Time is cut into weeks, and each week is due on one day in 28: everything is verified again
    within four weeks, a day's share is a few weeks, and each is one run.

    Args:
        days: on which something was published, ISO 8601.
        tick: the day the schedule ticks on.
    """
    due: dict[int, list[str]] = {}
    for day in sorted(days):
        block = date.fromisoformat(day).toordinal() // BLOCK_DAYS
        if block % ROUND_DAYS == tick.toordinal() % ROUND_DAYS:
            due.setdefault(block, []).append(day)
    return [(span[0], span[-1]) for span in due.values()]


@dg.schedule(
    job=reverify,
    cron_schedule="45 3 * * *",
    execution_timezone="UTC",
    description="Verifies again the day's share of the corpus; all of it within four weeks.",
)
def rolling_reverification(
    context: dg.ScheduleEvaluationContext, run_store: RunStoreResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """Ask for one run per span; unchanged bytes are recognised, what is stored is hashed anew."""
    tick = context.scheduled_execution_time.date()
    try:
        days = [day for day in created_days(CorpusStore(run_store.root)) if day >= FIRST_DAY]
    except InventoryError as error:
        # The next crawl writes it anew; what is due today is due again in four weeks.
        context.log.warning("nothing is verified again today: %s", error)
        return dg.SkipReason(str(error))
    spans = rolling_share(days, tick)
    if not spans:
        return dg.SkipReason("nothing was published in the weeks that are due today")
    return [
        dg.RunRequest(
            run_key=f"{first}..{last}@{tick}",
            tags={
                "dagster/asset_partition_range_start": first,
                "dagster/asset_partition_range_end": last,
            },
        )
        for first, last in spans
    ]


daily_trust_root = dg.ScheduleDefinition(
    name="daily_trust_root",
    job=refresh_trust_root,
    cron_schedule="5 3 * * *",
    execution_timezone="UTC",
    description="Asks TUF for the current public-good trust root.",
)
daily_log_examination = dg.ScheduleDefinition(
    name="daily_log_examination",
    job=examine_logs,
    cron_schedule="30 4 * * *",
    execution_timezone="UTC",
    description="Proves that the transparency logs only grew, and reads what is new in them.",
)
daily_corpus_statement = dg.ScheduleDefinition(
    name="daily_corpus_statement",
    job=state_corpus,
    cron_schedule="0 5 * * *",
    execution_timezone="UTC",
    description="Signs and publishes the corpus statement, when what it says has changed.",
)

daily_index = dg.ScheduleDefinition(
    name="daily_index",
    job=publish_index,
    cron_schedule="30 5 * * *",
    execution_timezone="UTC",
    description="Publishes what changed in the index.",
)

JOBS = [examine_logs, state_corpus, publish_index, refresh_trust_root]
SCHEDULES: list[dg.ScheduleDefinition] = [
    rolling_reverification,
    daily_trust_root,
    daily_log_examination,
    daily_corpus_statement,
    daily_index,
]
