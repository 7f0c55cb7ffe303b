"""The front door: every asset, check, job, schedule, sensor and resource of the code location."""

from __future__ import annotations

import dagster as dg

from inferencebench_pipeline.automation import (
    alerts,
    asking,
    community,
    corpus_upkeep,
    dead,
    elsewhere,
    heartbeat,
    jobs,
    leaderboard,
    lost,
    nudges,
    parked,
    reverification,
    schedules,
    search,
    sensors,
    takedown,
    unverified,
)
from inferencebench_pipeline.lifecycle import (
    benchmark_run,
    community_corpus,
    corpus,
    corpus_statement,
    envelope,
    hub_dataset,
    index_dataset,
    leaderboard_index,
    model_card_backlink,
    signature,
    traces,
    transparency_logs,
    trust_root,
)
from inferencebench_pipeline.resources import IN_PROCESS, build_resources
from inferencebench_pipeline.settings import Settings

STAGES = [
    benchmark_run,
    traces,
    envelope,
    signature,
    hub_dataset,
    model_card_backlink,
    trust_root,
    corpus,
    community_corpus,
    transparency_logs,
    corpus_statement,
    leaderboard_index,
    index_dataset,
]


def build_definitions(settings: Settings) -> dg.Definitions:
    """Return the code location of a deployment; tests build one for theirs."""
    return dg.Definitions(
        assets=dg.load_assets_from_modules(STAGES),
        asset_checks=dg.load_asset_checks_from_modules(STAGES),
        jobs=[
            jobs.publish_run,
            jobs.crawl_corpus,
            jobs.reverify,
            reverification.reverify_everything,
            jobs.rebuild_leaderboard,
            asking.launch_benchmark(settings.specs),
            asking.scheduled_benchmark,
            search.search_highest_load,
            takedown.takedown,
            *corpus_upkeep.JOBS,
            community.watch_community_results,
            elsewhere.take_in_community,
        ],
        schedules=[
            *schedules.benchmark_schedules(settings.specs),
            schedules.daily_reverification,
            *corpus_upkeep.SCHEDULES,
            community.daily_watch,
        ],
        sensors=[
            sensors.requested_runs,
            sensors.new_runs,
            lost.lost_requests,
            parked.parked_runs,
            leaderboard.keep_leaderboard_current,
            nudges.nudged_crawl,
            unverified.unverified_records,
            elsewhere.published_elsewhere,
            dead.dead_runs,
            alerts.alerts,
            heartbeat.heartbeat,
        ],
        resources=build_resources(settings),
        # Also for what automation asks for.
        executor=IN_PROCESS,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The deployment that the environment describes."""
    return build_definitions(Settings.from_environment())
