"""The schedule ``rolling_reverification``: a share of the corpus is verified again each day."""

from collections.abc import Iterable
from datetime import date

import dagster as dg

from inferencebench_pipeline.automation.jobs.reverify import reverify
from inferencebench_pipeline.corpus import CorpusStore, InventoryError, created_days
from inferencebench_pipeline.lifecycle.partitions import FIRST_DAY
from inferencebench_pipeline.resources import RunStoreResource

BLOCK_DAYS = 7
"""Days of publication that are verified together, in one run."""
ROUND_DAYS = 28
"""Within so many days everything has been verified again."""


def rolling_share(days: Iterable[str], tick: date) -> list[tuple[str, str]]:
    """Return the first and last day of each span of ``days`` that is verified again on ``tick``.

    Time is cut into weeks, and each week is due on one day in 28: everything is verified again
    within four weeks, a day's share is a few weeks, and each of them is one run.

    Args:
        days: on which something was published, ISO 8601.
        tick: the day on which the schedule ticks.
    """
    due: dict[int, list[str]] = {}
    for day in sorted(days):
        block = date.fromisoformat(day).toordinal() // BLOCK_DAYS
        # Decided by the calendar and not by a counter, so that a missed tick shifts no other week.
        if block % ROUND_DAYS == tick.toordinal() % ROUND_DAYS:
            due.setdefault(block, []).append(day)
    return [(span[0], span[-1]) for span in due.values()]


@dg.schedule(
    job=reverify,
    cron_schedule="45 3 * * *",
    execution_timezone="UTC",
    description="Verifies again one day's share of the corpus, and all of it within four weeks.",
)
def rolling_reverification(
    context: dg.ScheduleEvaluationContext, run_store: RunStoreResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """Ask for one run for each span that is due today."""
    tick = context.scheduled_execution_time.date()
    try:
        days = [day for day in created_days(CorpusStore(run_store.root)) if day >= FIRST_DAY]
    except InventoryError as error:
        # The next crawl writes the inventory again; today's share is due again in four weeks.
        context.log.warning("nothing is verified again today: %s", error)
        return dg.SkipReason(str(error))
    spans = rolling_share(days, tick)
    if not spans:
        return dg.SkipReason("nothing was published in the weeks that are due today")
    return [
        dg.RunRequest(
            # Dagster never launches a key twice, and the same days come again in four weeks.
            run_key=f"{first}..{last}@{tick}",
            # A range in tags makes the span one run; partition keys would make a run of each day.
            tags={
                "dagster/asset_partition_range_start": first,
                "dagster/asset_partition_range_end": last,
            },
        )
        for first, last in spans
    ]
