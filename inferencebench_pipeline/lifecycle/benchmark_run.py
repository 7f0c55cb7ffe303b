"""``benchmark_run``: drive the engine with the spec's workload and spool what came back."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from inferencebench_pipeline.lifecycle.partitions import per_run_check, runs
from inferencebench_pipeline.measure.capture import Capture
from inferencebench_pipeline.measure.progress import ProgressLog
from inferencebench_pipeline.measure.run import run_benchmark
from inferencebench_pipeline.measure.spec import BenchmarkSpec
from inferencebench_pipeline.measure.spec_file import load_spec, named_spec, read_spec
from inferencebench_pipeline.resources import OutageResource, StoreResource
from inferencebench_pipeline.runs import RunDirectory, RunFile


class BenchmarkConfig(dg.Config):
    """Which benchmark to run; ignored where the run directory already holds its ``spec.json``."""

    spec: str = "smollm2-chat-quick"
    """Name of a spec in the specs folder, without ``.yaml``; it must come to a single run."""
    overrides: list[str] = Field(default=[], description="Fields to replace: load.concurrency=8.")


@dg.asset(
    partitions_def=runs,
    group_name="life_of_a_run",
    kinds={"python"},
    owners=["team:performance"],
    pool="gpu",
    code_version="1",
)
def benchmark_run(
    context: dg.AssetExecutionContext,
    config: BenchmarkConfig,
    runs_store: StoreResource,
    outages: OutageResource,
) -> dg.MaterializeResult[None]:
    """One benchmark against a real engine, spooled to disk as it happens.

    A complete capture is never measured again; an interrupted one is kept aside and redone.
    """
    with outages.guard():
        run = runs_store.run(context)
        spec = spec_of(run, runs_store, config)
        log = ProgressLog(context.log.info)
        summary = run_benchmark(spec, run, on_progress=log.hear)
    return dg.MaterializeResult(
        metadata={
            "spec": dg.MetadataValue.text(spec.name),
            "model": dg.MetadataValue.text(spec.model.id),
            "engine": dg.MetadataValue.text(summary.engine),
            "requests": dg.MetadataValue.int(summary.requests),
            "failed": dg.MetadataValue.int(summary.failed),
            "duration_s": dg.MetadataValue.float(
                (summary.finished_at - summary.started_at).total_seconds()
            ),
            "run_directory": dg.MetadataValue.path(run.path),
        }
    )


@per_run_check(
    asset=benchmark_run,
    name="engine_answered",
    description="The engine served the model and at least one measured request succeeded.",
)
def engine_answered(
    context: dg.AssetCheckExecutionContext, runs_store: StoreResource, outages: OutageResource
) -> dg.AssetCheckResult:
    """Read the capture's closing record."""
    with outages.guard():
        summary = Capture(runs_store.run(context)).require_completion()
    return dg.AssetCheckResult(
        passed=summary.succeeded > 0,
        metadata={"requests": summary.requests, "succeeded": summary.succeeded},
    )


@per_run_check(
    asset=benchmark_run,
    name="run_complete",
    description="The capture was closed after its last request; a killed run is not complete.",
)
def run_complete(
    context: dg.AssetCheckExecutionContext, runs_store: StoreResource
) -> dg.AssetCheckResult:
    """Look for the closing record, which is written last."""
    capture = Capture(runs_store.run(context))
    return dg.AssetCheckResult(
        passed=capture.completion() is not None, metadata={"capture": str(capture.path)}
    )


def spec_of(run: RunDirectory, store: StoreResource, config: BenchmarkConfig) -> BenchmarkSpec:
    """Return the run's own spec when it has one, else the one that ``config`` names."""
    if run.has(RunFile.SPEC):
        return read_spec(run.file(RunFile.SPEC))
    return load_spec(named_spec(Path(store.specs), config.spec), config.overrides)
