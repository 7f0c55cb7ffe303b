"""The front door: every asset, check, job, schedule, sensor and resource of the code location."""

from __future__ import annotations

import dagster as dg

from inferencebench_pipeline.automation.jobs import (
    crawl_corpus,
    examine_logs,
    launch_benchmark,
    publish_index,
    publish_run,
    rebuild_leaderboard,
    refresh_trust_root,
    reverify,
    reverify_everything,
    scheduled_benchmark,
    search_highest_load,
    state_corpus,
    take_in_community,
    takedown,
    watch_community_results,
)
from inferencebench_pipeline.automation.schedules import (
    benchmarks,
    daily_corpus_statement,
    daily_index,
    daily_log_examination,
    daily_reverification,
    daily_trust_root,
    daily_watch,
    rolling_reverification,
)
from inferencebench_pipeline.automation.sensors import (
    alerts,
    dead_runs,
    heartbeat,
    keep_leaderboard_current,
    lost_requests,
    new_runs,
    nudged_crawl,
    parked_runs,
    published_elsewhere,
    requested_runs,
    unverified_records,
)
from inferencebench_pipeline.lifecycle.corpus import (
    community_corpus,
    corpus_verification,
    published_corpus,
    transparency_logs,
    trust_root,
)
from inferencebench_pipeline.lifecycle.leaderboard import (
    corpus_statement,
    index_dataset,
    leaderboard_index,
)
from inferencebench_pipeline.lifecycle.life_of_a_run import (
    benchmark_run,
    envelope,
    hub_dataset,
    model_card_backlink,
    signature,
    traces,
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
    published_corpus,
    corpus_verification,
    community_corpus,
    transparency_logs,
    corpus_statement,
    leaderboard_index,
    index_dataset,
]


def build_definitions(settings: Settings) -> dg.Definitions:
    """Return the code location of a deployment; each test builds one for its own settings."""
    return dg.Definitions(
        assets=dg.load_assets_from_modules(STAGES),
        asset_checks=dg.load_asset_checks_from_modules(STAGES),
        jobs=[
            publish_run.publish_run,
            launch_benchmark.launch_benchmark(settings.specs),
            scheduled_benchmark.scheduled_benchmark,
            search_highest_load.search_highest_load,
            crawl_corpus.crawl_corpus,
            reverify.reverify,
            reverify_everything.reverify_everything,
            take_in_community.take_in_community,
            examine_logs.examine_logs,
            state_corpus.state_corpus,
            refresh_trust_root.refresh_trust_root,
            rebuild_leaderboard.rebuild_leaderboard,
            publish_index.publish_index,
            takedown.takedown,
            watch_community_results.watch_community_results,
        ],
        schedules=[
            *benchmarks.benchmark_schedules(settings.specs),
            daily_reverification.daily_reverification,
            rolling_reverification.rolling_reverification,
            daily_trust_root.daily_trust_root,
            daily_log_examination.daily_log_examination,
            daily_corpus_statement.daily_corpus_statement,
            daily_index.daily_index,
            daily_watch.daily_watch,
        ],
        sensors=[
            requested_runs.requested_runs,
            new_runs.new_runs,
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
        # The executor of the runs that no job of ours defines, such as a materialisation by hand.
        executor=IN_PROCESS,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Return the code location that the environment describes."""
    return build_definitions(Settings.from_environment())
