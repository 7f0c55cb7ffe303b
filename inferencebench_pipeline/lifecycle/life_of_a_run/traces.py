"""The asset ``traces``: the raw measurements of all requests, and the metrics from them."""

import dagster as dg

from inferencebench_pipeline.lifecycle.life_of_a_run.benchmark_run import benchmark_run
from inferencebench_pipeline.lifecycle.metadata import (
    audit_table,
    energy_text,
    file_metadata,
    headline_numbers,
    headline_table,
    png,
    validity_table,
)
from inferencebench_pipeline.lifecycle.partitions import per_run_check, run_stage
from inferencebench_pipeline.measure import (
    Measurement,
    check_traces,
    errors_of,
    latency_plot_png,
    open_traces,
    write_measurement,
    write_traces,
)
from inferencebench_pipeline.resources import NO_FIELD, RetryPolicyResource, RunStoreResource
from inferencebench_pipeline.runs import RunFile


@run_stage(
    deps=[benchmark_run],
    kinds={"parquet"},
    code_version="1",
    config_schema=NO_FIELD,
)
def traces(
    context: dg.AssetExecutionContext,
    run_store: RunStoreResource,
    retry_policy: RetryPolicyResource,
) -> dg.MaterializeResult[None]:
    """Each request is a row of traces.parquet with the receive time of every chunk.

    The metrics are computed from this file alone.
    """
    with retry_policy.guard():
        run = run_store.run(context.partition_key)
        info = write_traces(run)
        measurement = write_measurement(run)
        # Read back from disk, so that the UI plots what a verifier will read.
        table = open_traces(run.file(RunFile.TRACES))
    return dg.MaterializeResult(
        metadata={
            "headline": headline_table(measurement.metrics),
            "latency": png(latency_plot_png(table), alt="latency distribution"),
            "validity": validity_table(measurement.validity),
            **_observations(measurement),
            **headline_numbers(measurement.metrics),
            "rows": dg.MetadataValue.int(info.rows),
            "schema_version": dg.MetadataValue.text(info.schema_version),
            "metric_definitions": dg.MetadataValue.text(measurement.metric_definitions),
            **file_metadata(run.file(RunFile.TRACES)),
        }
    )


def _observations(measurement: Measurement) -> dict[str, dg.MetadataValue]:
    """Return the numbers of the engine and of the machine about the run, where there are some."""
    found: dict[str, dg.MetadataValue] = {}
    if measurement.audit is not None:
        found["engine_audit"] = audit_table(measurement.audit)
    if measurement.telemetry is not None:
        found["energy"] = energy_text(measurement.telemetry)
    return found


@per_run_check(
    asset=traces,
    name="traces_valid",
    description="The schema, the counts and the order of instants in traces.parquet are valid. "
    "Warnings are shown and do not fail the check.",
)
def traces_valid(
    context: dg.AssetCheckExecutionContext,
    run_store: RunStoreResource,
    retry_policy: RetryPolicyResource,
) -> dg.AssetCheckResult:
    """Read the file from disk and judge it; only errors fail the check."""
    with retry_policy.guard():
        run = run_store.run(context.partition_key)
        # Against its digest, so that the flags are about the
        # file that the measurement was made from.
        flags = check_traces(open_traces(run.require_as_written(RunFile.TRACES)))
    return dg.AssetCheckResult(
        passed=not errors_of(flags), metadata={"flags": validity_table(flags)}
    )
