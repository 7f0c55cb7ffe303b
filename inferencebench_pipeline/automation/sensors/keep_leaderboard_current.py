"""``keep_leaderboard_current``: the index is built again when it was made from something else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import dagster as dg

from inferencebench_pipeline.automation.instance.pools import GOING_ON
from inferencebench_pipeline.automation.jobs.publish_index import publish_index
from inferencebench_pipeline.automation.jobs.rebuild_leaderboard import rebuild_leaderboard
from inferencebench_pipeline.automation.jobs.reverify import reverify
from inferencebench_pipeline.automation.jobs.take_in_community import take_in_community
from inferencebench_pipeline.automation.run_requests.attempts import Attempts
from inferencebench_pipeline.leaderboard import LeaderboardStore, Sources, anything_verified
from inferencebench_pipeline.resources import DeploymentResource, RunStoreResource

SOURCES_TAG: Final = "inferencebench/built_from"
"""On each run that this sensor asks for: the digest of what it is to build from."""


@dg.sensor(
    job=rebuild_leaderboard,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Builds the leaderboard again when verdicts, takedowns, community results or "
    "prices are others than it was built from. It compares digests, so that nothing which comes "
    "while a build is going on is missed.",
)
def keep_leaderboard_current(
    context: dg.SensorEvaluationContext, run_store: RunStoreResource, deployment: DeploymentResource
) -> dg.SensorResult | dg.SkipReason:
    """Compare what is with what the index was made from; no cursor, so nothing is skipped.

    Not after a crawl alone: what it found changed is verified at once, and then it is time. The
    key is that of the corpus and of how often it was asked for: a tick cut off after asking asks
    for the same run, and a build that failed is tried again, each time later.
    """
    board = LeaderboardStore(run_store.root)
    if not anything_verified(board):
        return dg.SkipReason("nothing is verified yet")
    now = Sources.now(board, deployment.settings.prices)
    built = Sources.of_the_index(board)
    if now == built:
        return dg.SkipReason("the leaderboard was built from what is there now")
    if any(_going_on(context.instance, job.name) for job in (rebuild_leaderboard, publish_index)):
        return dg.SkipReason("the leaderboard is being built")
    if (
        built is not None
        and now.records == built.records
        and any(_going_on(context.instance, job.name) for job in (reverify, take_in_community))
    ):
        return dg.SkipReason("a verification is going on; its end is waited for")
    tags = {SOURCES_TAG: now.corpus}
    attempts = Attempts.of(context.instance, dg.RunsFilter(tags=tags))
    if not attempts.due(datetime.now(tz=UTC)):
        return dg.SkipReason(
            f"building it failed {attempts.made} time(s); it is tried again, each time later"
        )
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=f"leaderboard:{now.corpus}:{attempts.made + 1}", tags=tags)
        ]
    )


def _going_on(instance: dg.DagsterInstance, job_name: str) -> bool:
    filters = dg.RunsFilter(job_name=job_name, statuses=GOING_ON)
    return instance.get_runs_count(filters) > 0
