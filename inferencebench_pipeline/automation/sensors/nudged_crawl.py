"""The sensor ``nudged_crawl``: it crawls the Hub every hour, and soon after each webhook.

The hourly crawl keeps the corpus current. Webhooks get lost, so they only bring the next crawl
forward.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from inferencebench_pipeline.automation.jobs.crawl_corpus import crawl_corpus
from inferencebench_pipeline.corpus import CorpusStore, inventory_is_damaged
from inferencebench_pipeline.hub import nudged_since
from inferencebench_pipeline.resources import RunStoreResource

LONGEST_WAIT = timedelta(hours=1)
"""The longest time between two crawls, when no webhook arrives."""

DAMAGE_WAIT = timedelta(minutes=10)
"""The time between two crawls while the inventory is damaged, which a crawl repairs."""


def crawl_reason(
    *, now: datetime, last_asked: datetime | None, nudged: bool, damaged: bool = False
) -> str | None:
    """Return the reason to crawl now, or None when there is none."""
    if last_asked is None:
        return "this is the first crawl"
    if last_asked > now:
        return "the last crawl was requested while the clock was ahead"
    # It waits all the same, so that damage that no crawl repairs does not cause one a minute.
    if damaged and now - last_asked >= DAMAGE_WAIT:
        return "the inventory is not what the last crawl wrote"
    if nudged:
        return "a webhook of the Hub reported a push"
    if now - last_asked >= LONGEST_WAIT:
        return "an hour has passed since the last crawl"
    return None


@dg.sensor(
    job=crawl_corpus,
    minimum_interval_seconds=60,
    description="Crawls the Hub every hour, and within a minute after a webhook of the Hub.",
)
def nudged_crawl(
    context: dg.SensorEvaluationContext, run_store: RunStoreResource
) -> dg.SensorResult | dg.SkipReason:
    """Request a crawl when there is a reason; the cursor is the time of the last request."""
    now = datetime.now(tz=UTC)
    root, last_asked = run_store.root, _instant(context.cursor)
    nudged = last_asked is not None and nudged_since(root, last_asked)
    damaged = inventory_is_damaged(CorpusStore(run_store.root))
    reason = crawl_reason(now=now, last_asked=last_asked, nudged=nudged, damaged=damaged)
    if reason is None:
        return dg.SkipReason(
            "the last crawl was less than an hour ago, and no webhook has arrived since"
        )
    return dg.SensorResult(
        # The key names the interval and not the present: a tick that is cut off before its cursor
        # is kept requests the crawl with the same key again, and Dagster starts one run.
        run_requests=[
            dg.RunRequest(run_key=f"crawl-after:{context.cursor or 'start'}", tags={"why": reason})
        ],
        cursor=now.isoformat(),
    )


def _instant(cursor: str | None) -> datetime | None:
    """Return the time in a cursor, or None as before the first crawl when it holds no time."""
    try:
        found = datetime.fromisoformat(cursor or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
