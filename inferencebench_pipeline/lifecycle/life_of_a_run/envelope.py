"""The asset ``envelope``: the document of a measurement and its provenance, not yet signed."""

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
from inferencebench_pipeline.lifecycle.partitions import per_run_check, run_stage
from inferencebench_pipeline.measure import open_traces
from inferencebench_pipeline.resources import NO_FIELD, RetryPolicyResource, RunStoreResource
from inferencebench_pipeline.runs import RunFile
from inferencebench_pipeline.trust import metric_disagreements


@run_stage(
    deps=[traces],
    kinds={"json"},
    code_version="1",
    config_schema=NO_FIELD,
)
def envelope(
    context: dg.AssetExecutionContext,
    run_store: RunStoreResource,
    retry_policy: RetryPolicyResource,
) -> dg.MaterializeResult[None]:
    """The envelope (v1) holds provenance, metrics and the hash of the traces in canonical form."""
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
    description="Every metric in the envelope equals to the last digit the one that is computed "
    "again from the traces.",
)
def metrics_rederive(
    context: dg.AssetCheckExecutionContext,
    run_store: RunStoreResource,
    retry_policy: RetryPolicyResource,
) -> dg.AssetCheckResult:
    """Compute the metrics again from ``traces.parquet`` alone, and compare them."""
    with retry_policy.guard():
        run = run_store.run(context.partition_key)
        document = parse_envelope(run.read_as_written(RunFile.UNSIGNED_ENVELOPE))
        # Read against its digest, because the disk between two stages is not trusted.
        differing = metric_disagreements(
            document, open_traces(run.require_as_written(RunFile.TRACES))
        )
    return dg.AssetCheckResult(
        passed=not differing,
        metadata={"metrics": len(document.metrics), "differing": "; ".join(differing) or "none"},
    )


@per_run_check(
    asset=envelope,
    name="no_placeholders",
    description="No hash, revision or version is a placeholder; each unknown one has its reason.",
)
def no_placeholders(
    context: dg.AssetCheckExecutionContext,
    run_store: RunStoreResource,
    retry_policy: RetryPolicyResource,
) -> dg.AssetCheckResult:
    """Look for hashes of zeros and of empty input in the written file."""
    with retry_policy.guard():
        document = parse_envelope(
            run_store.run(context.partition_key).read_as_written(RunFile.UNSIGNED_ENVELOPE)
        )
    found = check_no_placeholders(document)
    return dg.AssetCheckResult(passed=not found, metadata={"found": "; ".join(found) or "none"})


@per_run_check(
    asset=envelope,
    name="canonical",
    description="Reading the stored envelope and writing it again gives the same bytes.",
)
def canonical(
    context: dg.AssetCheckExecutionContext,
    run_store: RunStoreResource,
    retry_policy: RetryPolicyResource,
) -> dg.AssetCheckResult:
    """Read the stored file by upstream's rules, write it again, and compare the bytes."""
    with retry_policy.guard():
        stored = run_store.run(context.partition_key).read_as_written(RunFile.UNSIGNED_ENVELOPE)
        document = parse_envelope(stored)
    return dg.AssetCheckResult(
        passed=serialise(document) == stored, metadata={"content_hash": content_hash(document)}
    )
