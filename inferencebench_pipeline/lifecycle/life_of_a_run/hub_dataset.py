"""The asset ``hub_dataset``: the signed envelope, its traces and a card as a Hub dataset."""

import dagster as dg

from inferencebench_pipeline.hub import publish, read_back, require_receipt
from inferencebench_pipeline.lifecycle.life_of_a_run.signature import signature
from inferencebench_pipeline.lifecycle.metadata import table, verdict_table
from inferencebench_pipeline.lifecycle.partitions import per_run_check, run_stage
from inferencebench_pipeline.resources import (
    NO_FIELD,
    DeploymentResource,
    RetryPolicyResource,
    RunStoreResource,
)
from inferencebench_pipeline.runs import RunFile


@run_stage(
    deps=[signature],
    kinds={"huggingface"},
    pool="hub-write",
    code_version="1",
    config_schema=NO_FIELD,
)
def hub_dataset(
    context: dg.AssetExecutionContext,
    run_store: RunStoreResource,
    deployment: DeploymentResource,
    retry_policy: RetryPolicyResource,
) -> dg.MaterializeResult[None]:
    """Each run has a dataset repository, which is written in one commit, read back and compared.

    The record is verified first. Publishing it again changes nothing, and a repository with other
    content is never overwritten.
    """
    with retry_policy.guarded_run(context, run_store, "hub_dataset") as run:
        receipt = publish(
            deployment.hub(),
            run,
            organisation=deployment.require_organisation(),
            verify=deployment.own_verifier(),
            on_stage=context.log.info,
        )
    return dg.MaterializeResult(
        metadata={
            "dataset": dg.MetadataValue.url(receipt.url),
            "card": dg.MetadataValue.url(f"{receipt.url}/blob/{receipt.commit}/README.md"),
            "repo_id": dg.MetadataValue.text(receipt.repo_id),
            "commit": dg.MetadataValue.text(receipt.commit),
            "content_hash": dg.MetadataValue.text(receipt.content_hash),
            "files": table(
                {"file": name, "size_bytes": file.size_bytes, "sha256": file.sha256}
                for name, file in receipt.files.items()
            ),
        }
    )


@per_run_check(
    asset=hub_dataset,
    name="hub_serves_what_was_signed",
    description="The Hub serves the signed bytes at the commit of this record, and they verify.",
)
def hub_serves_what_was_signed(
    context: dg.AssetCheckExecutionContext,
    run_store: RunStoreResource,
    deployment: DeploymentResource,
    retry_policy: RetryPolicyResource,
) -> dg.AssetCheckResult:
    """Download the commit, compare it with the receipt and the run directory, and verify it."""
    # An outage of the check parks the run too; then the stage
    # changes nothing and this is done again.
    with retry_policy.guarded_run(context, run_store, "hub_dataset") as run:
        receipt = require_receipt(run)
        served = read_back(deployment.hub(), receipt)
        verdict = deployment.own_verifier()(
            served[RunFile.ENVELOPE.value], served.get(RunFile.TRACES.value)
        )
        # The receipt decides about the Hub; the files in the run directory may be damaged too.
        changed = [
            name.value
            for name in (RunFile.ENVELOPE, RunFile.TRACES)
            if not run.has(name) or served[name.value] != run.read(name)
        ]
    problem = (
        f"the Hub serves what was published, but {' and '.join(changed)} in the run directory "
        "changed since; materialise `hub_dataset` to restore it"
        if changed
        else None
    )
    return dg.AssetCheckResult(
        passed=problem is None and verdict.ok,
        description=problem or verdict.reason,
        metadata={"commit": receipt.commit, "checks": verdict_table(verdict)},
    )
