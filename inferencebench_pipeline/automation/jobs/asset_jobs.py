"""Jobs over assets: the whole life of one run, the corpus, the leaderboard."""

from typing import Final

import dagster as dg

from inferencebench_pipeline.lifecycle.benchmark_run import benchmark_run
from inferencebench_pipeline.lifecycle.corpus import corpus_verification, published_corpus
from inferencebench_pipeline.lifecycle.envelope import envelope
from inferencebench_pipeline.lifecycle.hub_dataset import hub_dataset
from inferencebench_pipeline.lifecycle.leaderboard_index import leaderboard_index
from inferencebench_pipeline.lifecycle.model_card_backlink import model_card_backlink
from inferencebench_pipeline.lifecycle.signature import signature
from inferencebench_pipeline.lifecycle.traces import traces
from inferencebench_pipeline.resources import IN_PROCESS

_STAGES = (benchmark_run, traces, envelope, signature, hub_dataset, model_card_backlink)
LIFE: Final = frozenset(stage.key for stage in _STAGES)
"""The stages of a run's life."""

publish_run = dg.define_asset_job(
    "publish_run",
    selection=dg.AssetSelection.assets(*_STAGES),
    description="The whole life of one run, in one process: measure, sign, publish, link back.",
    executor_def=IN_PROCESS,
)

crawl_corpus = dg.define_asset_job(
    "crawl_corpus",
    selection=dg.AssetSelection.assets(published_corpus),
    description="Take stock of what the Hub holds under our namespace.",
    executor_def=IN_PROCESS,
)

reverify = dg.define_asset_job(
    "reverify",
    selection=dg.AssetSelection.assets(corpus_verification),
    description="Verify again what was published on a day; backfill it to re-verify everything.",
    executor_def=IN_PROCESS,
)

rebuild_leaderboard = dg.define_asset_job(
    "rebuild_leaderboard",
    selection=dg.AssetSelection.assets(leaderboard_index),
    description="Build the index and its page from what is published and verified.",
    executor_def=IN_PROCESS,
)
