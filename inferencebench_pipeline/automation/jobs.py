"""Jobs: the whole life of one run, the corpus, and asking for a new benchmark."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from inferencebench_pipeline.lifecycle.benchmark_run import benchmark_run
from inferencebench_pipeline.lifecycle.corpus import corpus_verification, published_corpus
from inferencebench_pipeline.lifecycle.envelope import envelope
from inferencebench_pipeline.lifecycle.hub_dataset import hub_dataset
from inferencebench_pipeline.lifecycle.leaderboard_index import leaderboard_index
from inferencebench_pipeline.lifecycle.model_card_backlink import model_card_backlink
from inferencebench_pipeline.lifecycle.partitions import runs
from inferencebench_pipeline.lifecycle.signature import signature
from inferencebench_pipeline.lifecycle.traces import traces
from inferencebench_pipeline.measure.plan import load_label
from inferencebench_pipeline.measure.spec import spec_json
from inferencebench_pipeline.measure.spec_file import load_plan, named_spec
from inferencebench_pipeline.resources import OutageResource, StoreResource
from inferencebench_pipeline.runs import RunFile, new_run_id

publish_run = dg.define_asset_job(
    "publish_run",
    selection=dg.AssetSelection.assets(
        benchmark_run, traces, envelope, signature, hub_dataset, model_card_backlink
    ),
    description="The whole life of one run, in one process: measure, sign, publish, link back.",
    executor_def=dg.in_process_executor,
)

crawl_corpus = dg.define_asset_job(
    "crawl_corpus",
    selection=dg.AssetSelection.assets(published_corpus),
    description="Take stock of what the Hub holds under our namespace.",
    executor_def=dg.in_process_executor,
)

reverify = dg.define_asset_job(
    "reverify",
    selection=dg.AssetSelection.assets(corpus_verification),
    description="Verify again what was published on a day; backfill it to re-verify everything.",
    executor_def=dg.in_process_executor,
)

rebuild_leaderboard = dg.define_asset_job(
    "rebuild_leaderboard",
    selection=dg.AssetSelection.assets(leaderboard_index),
    description="Build the index and its page from what is published and verified.",
    executor_def=dg.in_process_executor,
)


class LaunchConfig(dg.Config):
    """Which benchmark to launch."""

    spec: str = "smollm2-chat-quick"
    """Name of a spec in the specs folder, without ``.yaml``."""
    overrides: list[str] = Field(default=[], description="Fields to replace: load.concurrency=8.")


@dg.op
def request_run(
    context: dg.OpExecutionContext,
    config: LaunchConfig,
    runs_store: StoreResource,
    outages: OutageResource,
) -> list[str]:
    """Write each run of the spec into a new run directory and register it.

    A run directory that holds a spec and nothing else is a request; the ``requested_runs`` sensor
    answers it with a ``publish_run``.
    """
    with outages.guard():
        plan = load_plan(named_spec(Path(runs_store.specs), config.spec), config.overrides)
        requested = [(runs_store.store().run(new_run_id()), spec) for spec in plan.runs]
        for run, spec in requested:
            run.write(RunFile.SPEC, spec_json(spec))
    run_ids = [run.run_id for run, _ in requested]
    context.instance.add_dynamic_partitions(str(runs.name), run_ids)
    for run, spec in requested:
        context.log.info(
            "run %s asked for (%s, %s); requested_runs starts it within seconds",
            run.run_id,
            spec.name,
            load_label(spec.load),
        )
    return run_ids


@dg.job(
    description="Ask for one benchmark: makes the run id, then the sensor runs its whole life.",
    executor_def=dg.in_process_executor,
)
def launch_benchmark() -> None:
    """One op, so that the form in the UI asks for nothing but the spec."""
    request_run()
