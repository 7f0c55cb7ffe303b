"""The sensor ``keep_leaderboard_current``: it has the index built again when its sources change."""

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
"""The tag of each requested run with the digest of the sources that it builds from."""


@dg.sensor(
    job=rebuild_leaderboard,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Builds the leaderboard again when verdicts, takedowns, community results or "
    "prices have changed. It compares digests, so that a change during a build is not missed.",
)
def keep_leaderboard_current(
    context: dg.SensorEvaluationContext, run_store: RunStoreResource, deployment: DeploymentResource
) -> dg.SensorResult | dg.SkipReason:
    """Compare the sources with those that the index was built from, without any cursor.

    A crawl alone is no reason to build, since the records that it found changed are verified at
    once, and that is. The run key holds the digest of the corpus and the number of attempts: a tick
    that is cut off requests the same run, and a failed build is tried again, each time later.
    """
    board = LeaderboardStore(run_store.root)
    if not anything_verified(board):
        return dg.SkipReason("no record is verified yet")
    now = Sources.now(board, deployment.settings.prices)
    built = Sources.of_the_index(board)
    if now == built:
        return dg.SkipReason("the leaderboard is up to date")
    # The job publish_index builds the index as well.
    if any(_going_on(context.instance, job.name) for job in (rebuild_leaderboard, publish_index)):
        return dg.SkipReason("a build of the leaderboard is in progress")
    if (
        # A verification writes the verdicts of its days first and the table of records last. While
        # that table is the old one, a build would be repeated as soon as the verification ends.
        built is not None
        and now.records == built.records
        and any(_going_on(context.instance, job.name) for job in (reverify, take_in_community))
    ):
        return dg.SkipReason("a verification is in progress, and the leaderboard is built after it")
    tags = {SOURCES_TAG: now.corpus}
    attempts = Attempts.of(context.instance, dg.RunsFilter(tags=tags))
    if not attempts.due(datetime.now(tz=UTC)):
        return dg.SkipReason(
            f"the build failed {attempts.made} time(s); it is tried again, each time later"
        )
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=f"leaderboard:{now.corpus}:{attempts.made + 1}", tags=tags)
        ]
    )


def _going_on(instance: dg.DagsterInstance, job_name: str) -> bool:
    filters = dg.RunsFilter(job_name=job_name, statuses=GOING_ON)
    return instance.get_runs_count(filters) > 0
