"""The front door: every asset, check, job, schedule, sensor and resource of the code location."""

from __future__ import annotations

import dagster as dg

from inferencebench_pipeline.automation.jobs import (
    asset_jobs,
    corpus_upkeep,
    launch_benchmark,
    reverify_everything,
    search_highest_load,
    takedown,
    watch_community_results,
)
from inferencebench_pipeline.automation.schedules import benchmarks
from inferencebench_pipeline.automation.sensors import (
    alerts,
    dead_runs,
    heartbeat,
    keep_leaderboard_current,
    lost_requests,
    new_and_requested_runs,
    nudged_crawl,
    parked_runs,
    published_elsewhere,
    unverified_records,
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
            asset_jobs.publish_run,
            asset_jobs.crawl_corpus,
            asset_jobs.reverify,
            reverify_everything.reverify_everything,
            asset_jobs.rebuild_leaderboard,
            launch_benchmark.launch_benchmark(settings.specs),
            launch_benchmark.scheduled_benchmark,
            search_highest_load.search_highest_load,
            takedown.takedown,
            *corpus_upkeep.JOBS,
            watch_community_results.watch_community_results,
            published_elsewhere.take_in_community,
        ],
        schedules=[
            *benchmarks.benchmark_schedules(settings.specs),
            benchmarks.daily_reverification,
            *corpus_upkeep.SCHEDULES,
            watch_community_results.daily_watch,
        ],
        sensors=[
            new_and_requested_runs.requested_runs,
            new_and_requested_runs.new_runs,
            lost_requests.lost_requests,
            parked_runs.parked_runs,
            keep_leaderboard_current.keep_leaderboard_current,
            nudged_crawl.nudged_crawl,
            unverified_records.unverified_records,
            published_elsewhere.published_elsewhere,
            dead_runs.dead_runs,
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
