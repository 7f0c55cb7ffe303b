"""``benchmark_run``: drive the engine with the spec's workload and spool what came back."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from inferencebench_pipeline.lifecycle.form import Form
from inferencebench_pipeline.lifecycle.partitions import per_run_check, runs
from inferencebench_pipeline.measure import (
    BenchmarkSpec,
    Capture,
    EmbeddedEngine,
    ProgressLog,
    SpecError,
    load_spec,
    named_spec,
    resolve,
    run_benchmark,
    spec_of_run,
)
from inferencebench_pipeline.resources import (
    DeploymentResource,
    RetryPolicyResource,
    RunStoreResource,
)
from inferencebench_pipeline.runs import RunDirectory, RunFile
from inferencebench_pipeline.untrusted import printable


class BenchmarkForm(Form):
    """The benchmark to run, for a run id that nothing was asked for under."""

    spec: str | None = Field(
        default=None,
        description="A spec in the specs folder, without .yaml, that comes to a single run. Leave "
        "it empty for a run that was asked for: it has its own.",
    )
    overrides: list[str] = Field(
        default=[], max_length=100, description="Fields to replace: load.concurrency=8."
    )


@dg.asset(
    partitions_def=runs,
    group_name="life_of_a_run",
    kinds={"python"},
    owners=["team:performance"],
    pool="gpu",
    code_version="1",
    config_schema=BenchmarkForm.run_config(),
)
def benchmark_run(
    context: dg.AssetExecutionContext,
    run_store: RunStoreResource,
    deployment: DeploymentResource,
    retry_policy: RetryPolicyResource,
) -> dg.MaterializeResult[None]:
    """One benchmark against a real engine, spooled to disk as it happens.

    A complete capture is never measured again; an interrupted one is kept aside and redone.
    """
    with retry_policy.guard():
        run = run_store.run(context.partition_key)
        spec = spec_of(run, deployment.settings.specs, BenchmarkForm.of(context))
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
    context: dg.AssetCheckExecutionContext,
    run_store: RunStoreResource,
    retry_policy: RetryPolicyResource,
) -> dg.AssetCheckResult:
    """Read the capture's closing record."""
    with retry_policy.guard():
        summary = Capture(run_store.run(context.partition_key)).require_completion()
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
    context: dg.AssetCheckExecutionContext,
    run_store: RunStoreResource,
    retry_policy: RetryPolicyResource,
) -> dg.AssetCheckResult:
    """Look for the closing record, which is written last."""
    with retry_policy.guard():
        capture = Capture(run_store.run(context.partition_key))
        closed = capture.completion() is not None
    return dg.AssetCheckResult(passed=closed, metadata={"capture": str(capture.path)})


def spec_of(run: RunDirectory, specs: Path, form: BenchmarkForm) -> BenchmarkSpec:
    """Return what ``run`` is to measure: what was asked for under its id, or what ``form`` names.

    Raises:
        SpecError: neither says anything, or both do and not the same. That a run directory holds
            no request is no request for some other benchmark.
    """
    named = None
    if form.spec is not None:
        named = load_spec(named_spec(specs, form.spec), form.overrides)
    elif form.overrides:
        raise SpecError("overrides are given, and no spec that they belong to; name it in spec")
    own = spec_of_run(run) if run.has(RunFile.SPEC) else None
    if named is None and own is None:
        raise SpecError(
            f"run {run.run_id} is registered, and {run.file(RunFile.SPEC)} is not there: what it "
            "is to measure is not known here. Is this the store of the deployment that was asked "
            "(INFERENCEBENCH_HOME)? Then ask again with the job launch_benchmark, or name the spec "
            "in this launch: ops.benchmark_run.config.spec"
        )
    if named is not None and own is not None and not _same(named, own):
        raise SpecError(
            f"run {run.run_id} was asked to measure another spec ({own.name}) than the one that "
            f"this launch names ({printable(form.spec)}); leave spec empty to measure what was "
            "asked, or measure the other one under a new run id"
        )
    chosen = own or named
    assert chosen is not None
    return chosen


def _same(asked: BenchmarkSpec, own: BenchmarkSpec) -> bool:
    """Return whether two specs are the same benchmark, once every default is filled in."""
    resolved, recorded = resolve(asked), resolve(own)
    if isinstance(asked.engine, EmbeddedEngine) and asked.engine.threads is None:
        # Taken from the host, which may have been another one.
        resolved = resolved.model_copy(update={"engine": recorded.engine})
    return resolved == recorded
