"""The job ``search_highest_load``: it finds the highest load at which a spec meets its SLO."""

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
    """The spec to search, which has a ``search``."""

    spec: str = Field(
        default="smollm2-sweep",
        description="The name of a file in the specs folder, without .yaml.",
    )
    overrides: list[str] = Field(
        default=[],
        max_length=100,
        description="Fields of the spec to replace, each written like search.high=8.",
    )


@dg.op(pool="gpu", config_schema=SearchForm.run_config())
def probe_loads(
    context: dg.OpExecutionContext,
    run_store: RunStoreResource,
    deployment: DeploymentResource,
    retry_policy: RetryPolicyResource,
) -> list[str]:
    """Probe one load after the other, and return the run ids of the probes.

    Each probe is registered as a run. ``publish_run`` over its partition publishes it without
    measuring it again.
    """

    def probe(spec: BenchmarkSpec, run_id: str) -> Measurement:
        # Registered first, so that a probe that fails can be found in the UI.
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
    description="Finds the highest request rate, or number of requests in flight, at which a spec "
    "meets its SLO. Each probe is a run of its own.",
    executor_def=IN_PROCESS,
)
def search_highest_load() -> None:
    """The job has one op, since each probe decides which load is probed next."""
    probe_loads()
