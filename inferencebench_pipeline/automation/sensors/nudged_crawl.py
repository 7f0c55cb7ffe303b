"""The sensor that looks at the Hub every hour, and sooner when a webhook says that it is worth it.

It is what keeps the corpus current: webhooks get lost, so they only move its next look forward.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from inferencebench_pipeline.automation.jobs.crawl_corpus import crawl_corpus
from inferencebench_pipeline.corpus import CorpusStore, inventory_is_damaged
from inferencebench_pipeline.hub import nudged_since
from inferencebench_pipeline.resources import RunStoreResource

LONGEST_WAIT = timedelta(hours=1)
"""Webhooks get lost; this is how old our picture of the Hub may become without one."""


DAMAGE_WAIT = timedelta(minutes=10)
"""A crawl writes a damaged inventory anew; where even that fails, a person has to look."""


def crawl_reason(
    *, now: datetime, last_asked: datetime | None, nudged: bool, damaged: bool = False
) -> str | None:
    """Return why it is time to crawl, or ``None`` when it is not."""
    if last_asked is None:
        return "the first look"
    if last_asked > now:
        return "the last crawl was asked for while the clock was ahead"
    if damaged and now - last_asked >= DAMAGE_WAIT:
        return "the inventory is not what the last crawl wrote"
    if nudged:
        return "the Hub said that something was pushed"
    if now - last_asked >= LONGEST_WAIT:
        return "an hour has passed"
    return None


@dg.sensor(
    job=crawl_corpus,
    minimum_interval_seconds=60,
    description="Crawls the Hub hourly, and within a minute of a webhook's nudge.",
)
def nudged_crawl(
    context: dg.SensorEvaluationContext, run_store: RunStoreResource
) -> dg.SensorResult | dg.SkipReason:
    """Ask for one crawl; the cursor is the time of the last one asked for."""
    now = datetime.now(tz=UTC)
    root, last_asked = run_store.root, _instant(context.cursor)
    nudged = last_asked is not None and nudged_since(root, last_asked)
    damaged = inventory_is_damaged(CorpusStore(run_store.root))
    reason = crawl_reason(now=now, last_asked=last_asked, nudged=nudged, damaged=damaged)
    if reason is None:
        return dg.SkipReason("no nudge since the last crawl, and that is less than an hour ago")
    return dg.SensorResult(
        # The key is that of the interval, not of now: a tick cut off before its cursor was kept
        # asks again with the same key, and Dagster starts one run.
        run_requests=[
            dg.RunRequest(run_key=f"crawl-after:{context.cursor or 'start'}", tags={"why": reason})
        ],
        cursor=now.isoformat(),
    )


def _instant(cursor: str | None) -> datetime | None:
    """Return the time in a cursor; None where it holds none, which is as before the first look."""
    try:
        found = datetime.fromisoformat(cursor or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
