"""``envelope``: the document that says what was measured, on what, and how; not yet signed."""

import dagster as dg

from inferencebench_pipeline.envelope import (
    check_no_placeholders,
    content_hash,
    measurement_of,
    parse_envelope,
    serialise,
    write_envelope,
)
from inferencebench_pipeline.lifecycle.life_of_a_run.traces import traces
from inferencebench_pipeline.lifecycle.metadata import file_metadata, headline_table
from inferencebench_pipeline.lifecycle.partitions import per_run_check, runs
from inferencebench_pipeline.resources import NO_FIELD, RetryPolicyResource, RunStoreResource
from inferencebench_pipeline.runs import RunFile
from inferencebench_pipeline.trust import metric_disagreements


@dg.asset(
    deps=[traces],
    partitions_def=runs,
    group_name="life_of_a_run",
    kinds={"json"},
    owners=["team:performance"],
    code_version="1",
    config_schema=NO_FIELD,
)
def envelope(
    context: dg.AssetExecutionContext,
    run_store: RunStoreResource,
    retry_policy: RetryPolicyResource,
) -> dg.MaterializeResult[None]:
    """Envelope v1: provenance, metrics and the hash of the traces, in canonical form."""
    with retry_policy.guard():
        run = run_store.run(context.partition_key)
        document = write_envelope(run)
        measurement = measurement_of(run)
    return dg.MaterializeResult(
        metadata={
            "content_hash": dg.MetadataValue.text(content_hash(document)),
            "headline": headline_table(measurement.metrics),
            "hardware_class": dg.MetadataValue.text(measurement.provenance.hardware_class),
            "unknown_and_why": dg.MetadataValue.md(
                "\n".join(f"- {warning}" for warning in document.warnings) or "nothing unknown"
            ),
            **file_metadata(run.file(RunFile.UNSIGNED_ENVELOPE)),
        }
    )


@per_run_check(
    asset=envelope,
    name="metrics_rederive",
    description="Every metric in the envelope equals, to the last digit, what the traces give.",
)
def metrics_rederive(
    context: dg.AssetCheckExecutionContext,
    run_store: RunStoreResource,
    retry_policy: RetryPolicyResource,
) -> dg.AssetCheckResult:
    """Compute the metrics again from traces.parquet alone and compare."""
    with retry_policy.guard():
        run = run_store.run(context.partition_key)
        document = parse_envelope(run.read_as_written(RunFile.UNSIGNED_ENVELOPE))
        differing = metric_disagreements(document, run.require_as_written(RunFile.TRACES))
    return dg.AssetCheckResult(
        passed=not differing,
        metadata={"metrics": len(document.metrics), "differing": "; ".join(differing) or "none"},
    )


@per_run_check(
    asset=envelope,
    name="no_placeholders",
    description="No hash, revision or version is a placeholder; unknowns carry their reason.",
)
def no_placeholders(
    context: dg.AssetCheckExecutionContext,
    run_store: RunStoreResource,
    retry_policy: RetryPolicyResource,
) -> dg.AssetCheckResult:
    """Look for zero hashes and empty-input hashes in the written file."""
    with retry_policy.guard():
        document = parse_envelope(
            run_store.run(context.partition_key).read_as_written(RunFile.UNSIGNED_ENVELOPE)
        )
    found = check_no_placeholders(document)
    return dg.AssetCheckResult(passed=not found, metadata={"found": "; ".join(found) or "none"})


@per_run_check(
    asset=envelope,
    name="canonical",
    description="Reading the stored bytes back and writing them again gives the same bytes.",
)
def canonical(
    context: dg.AssetCheckExecutionContext,
    run_store: RunStoreResource,
    retry_policy: RetryPolicyResource,
) -> dg.AssetCheckResult:
    """Round-trip the stored file through the reader that upstream's rules define."""
    with retry_policy.guard():
        stored = run_store.run(context.partition_key).read_as_written(RunFile.UNSIGNED_ENVELOPE)
        document = parse_envelope(stored)
    return dg.AssetCheckResult(
        passed=serialise(document) == stored, metadata={"content_hash": content_hash(document)}
    )
