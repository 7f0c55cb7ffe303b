"""Looking for the highest load that meets an SLO, as a job: every probe is a run of its own."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from inferencebench_pipeline.lifecycle.form import Form
from inferencebench_pipeline.lifecycle.partitions import runs
from inferencebench_pipeline.measure import (
    BenchmarkSpec,
    Measurement,
    ProgressLog,
    Search,
    SpecError,
    find_highest,
    load_label,
    load_plan,
    named_spec,
    run_benchmark,
    search_bases,
    write_measurement,
    write_search,
    write_traces,
)
from inferencebench_pipeline.resources import (
    IN_PROCESS,
    DeploymentResource,
    RetryPolicyResource,
    RunStoreResource,
)


class SearchForm(Form):
    """Which spec to search; it has a ``search``."""

    spec: str = Field(
        default="smollm2-sweep", description="A spec in the specs folder, without .yaml."
    )
    overrides: list[str] = Field(
        default=[], max_length=100, description="Fields to replace: search.high=8."
    )


@dg.op(pool="gpu", config_schema=SearchForm.run_config())
def probe_loads(
    context: dg.OpExecutionContext,
    run_store: RunStoreResource,
    deployment: DeploymentResource,
    retry_policy: RetryPolicyResource,
) -> list[str]:
    """Probe load after load; returns the run ids of the probes, which are registered as runs.

    A probe that is worth publishing is published like any run: ``publish_run`` over its partition
    finds it measured.
    """

    def probe(spec: BenchmarkSpec, run_id: str) -> Measurement:
        context.instance.add_dynamic_partitions(str(runs.name), [run_id])
        context.log.info("probe %s: %s", run_id, load_label(spec.load))
        run = run_store.run(run_id)
        run_benchmark(spec, run, on_progress=ProgressLog(context.log.info).hear)
        write_traces(run)
        return write_measurement(run)

    with retry_policy.guard():
        bases, search = _search(deployment.settings.specs, SearchForm.of(context))
        found = [find_highest(base, search, probe) for base in bases]
        paths = [write_search(run_store.root, result) for result in found]
    for result, path in zip(found, paths, strict=True):
        context.log.info("%s: %s; written to %s", result.name, result.reason, path)
    return [probed.run_id for result in found for probed in result.probes]


def _search(specs: Path, form: SearchForm) -> tuple[list[BenchmarkSpec], Search]:
    plan = load_plan(named_spec(specs, form.spec), form.overrides)
    if plan.search is None:
        raise SpecError(f"the spec {plan.name} has no search; add one (docs/specs.md)")
    return search_bases(plan), plan.search


@dg.job(
    description="Find the highest rate, or number in flight, at which a spec's SLO is met.",
    executor_def=IN_PROCESS,
)
def search_highest_load() -> None:
    """One op: which load is probed next depends on the probe before."""
    probe_loads()
