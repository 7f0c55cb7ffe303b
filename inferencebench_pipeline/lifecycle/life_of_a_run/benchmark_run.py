"""The asset ``benchmark_run``: the engine is driven with the workload of a spec."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from inferencebench_pipeline.lifecycle.form import Form
from inferencebench_pipeline.lifecycle.partitions import per_run_check, run_stage
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
    """The benchmark to run under a run id without a request."""

    spec: str | None = Field(
        default=None,
        description="The name of a file in the specs folder, without .yaml, whose spec makes a "
        "single run. Leave it empty for a run that was requested, since it has its own spec.",
    )
    overrides: list[str] = Field(
        default=[],
        max_length=100,
        description="Fields of the spec to replace, each written like load.concurrency=8.",
    )


@run_stage(
    kinds={"python"},
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
    """A benchmark runs against a real engine, and the answers are spooled to disk as they arrive.

    A complete capture is never measured again. An interrupted one is set aside and measured anew.
    """
    # Not parked as the later stages are: what was cut off is
    # measured anew, and requested_runs asks for it.
    with retry_policy.guard():
        run = run_store.run(context.partition_key)
        spec = spec_of(run, deployment.settings.specs, BenchmarkForm.of(context))
        # Dagster stores each line as an event, so progress is
        # told every few seconds and not every step.
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
    description="The engine served the model, and at least one measured request succeeded.",
)
def engine_answered(
    context: dg.AssetCheckExecutionContext,
    run_store: RunStoreResource,
    retry_policy: RetryPolicyResource,
) -> dg.AssetCheckResult:
    """Read the closing record of the capture."""
    with retry_policy.guard():
        summary = Capture(run_store.run(context.partition_key)).require_completion()
    return dg.AssetCheckResult(
        passed=summary.succeeded > 0,
        metadata={"requests": summary.requests, "succeeded": summary.succeeded},
    )


@per_run_check(
    asset=benchmark_run,
    name="run_complete",
    description="The capture was closed after its last request, which a killed run never does.",
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
    """Return the spec that ``run`` measures: the one of its request, or the one of ``form``.

    Raises:
        SpecError: there is neither, or they differ. A run directory without a request is never
            read as a request for some default benchmark.
    """
    named = None
    if form.spec is not None:
        named = load_spec(named_spec(specs, form.spec), form.overrides)
    elif form.overrides:
        raise SpecError("overrides are given without the spec that they belong to; name it in spec")
    own = spec_of_run(run) if run.has(RunFile.SPEC) else None
    if named is None and own is None:
        raise SpecError(
            f"run {run.run_id} is registered, but its request {run.file(RunFile.SPEC)} does not "
            "exist, so it measures nothing. Check that INFERENCEBENCH_HOME names the store in "
            "which it was requested. If it does, request a new run with the job launch_benchmark, "
            "or name the spec in this launch: ops.benchmark_run.config.spec"
        )
    if named is not None and own is not None and not _same(named, own):
        raise SpecError(
            f"run {run.run_id} was requested with another spec ({own.name}) than the one that "
            f"this launch names ({printable(form.spec)}); leave spec empty to measure the "
            "requested one, or measure the other one under a new run id"
        )
    # The request of the run comes first: its defaults are filled in from the host that made it.
    chosen = own or named
    assert chosen is not None
    return chosen


def _same(asked: BenchmarkSpec, own: BenchmarkSpec) -> bool:
    """Return whether two specs are the same benchmark after all defaults are filled in."""
    resolved, recorded = resolve(asked), resolve(own)
    if isinstance(asked.engine, EmbeddedEngine) and asked.engine.threads is None:
        # The default is taken from the host, which may have been another one at the request.
        resolved = resolved.model_copy(update={"engine": recorded.engine})
    return resolved == recorded
