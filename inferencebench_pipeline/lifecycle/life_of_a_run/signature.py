"""The asset ``signature``: the envelope, signed by an identity and entered in a public log."""

import dagster as dg

from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.hub import restore
from inferencebench_pipeline.lifecycle.life_of_a_run.envelope import envelope
from inferencebench_pipeline.lifecycle.metadata import file_metadata, verdict_table
from inferencebench_pipeline.lifecycle.partitions import per_run_check, run_stage
from inferencebench_pipeline.resources import (
    NO_FIELD,
    DeploymentResource,
    RetryPolicyResource,
    RunStoreResource,
)
from inferencebench_pipeline.runs import RunFile
from inferencebench_pipeline.trust import Verdict, sign_run


@run_stage(
    deps=[envelope],
    kinds={"sigstore"},
    pool="signing",
    code_version="1",
    config_schema=NO_FIELD,
)
def signature(
    context: dg.AssetExecutionContext,
    run_store: RunStoreResource,
    deployment: DeploymentResource,
    retry_policy: RetryPolicyResource,
) -> dg.MaterializeResult[None]:
    """The signed bytes are kept as envelope.json, together with the verdict on them.

    The answers of the certificate authority, the log and the timestamp authority are verified
    before they are kept. A signed envelope is never signed again. A published one that is lost or
    damaged here is restored from the Hub.
    """
    with retry_policy.guarded_run(context, run_store, "signature") as run:
        # Asked before signing, since an entry in a public log cannot be taken back.
        deployment.require_organisation()
        verify = deployment.own_verifier()
        # A published run is restored, because signing it again would give other bytes.
        restore(deployment.hub(), run, verify=verify, on_stage=context.log.warning)
        verdict = sign_run(run, deployment.signer(), verify=verify)
    return dg.MaterializeResult(
        metadata={**_proof(verdict, deployment), **file_metadata(run.file(RunFile.ENVELOPE))}
    )


@per_run_check(
    asset=signature,
    name="signature_verifies",
    description=(
        "The stored bytes verify offline under the identity policy. That covers the content hash, "
        "certificate, signature, inclusion proof, checkpoint, timestamp, traces and metrics."
    ),
)
def signature_verifies(
    context: dg.AssetCheckExecutionContext,
    run_store: RunStoreResource,
    deployment: DeploymentResource,
    retry_policy: RetryPolicyResource,
) -> dg.AssetCheckResult:
    """Verify the files alone, as a stranger would, and keep the verdict with the run."""
    with retry_policy.guarded_run(context, run_store, "signature") as run:
        verify = deployment.own_verifier()
        # Read from disk again, because later stages publish these files and not what was in memory.
        verdict = verify(run.read(RunFile.ENVELOPE), run.read(RunFile.TRACES))
        run.write(RunFile.VERDICT, verdict.model_dump_json(indent=2).encode())
    return dg.AssetCheckResult(
        passed=verdict.ok,
        description=verdict.reason,
        metadata={"checks": verdict_table(verdict), "policy_sha256": verdict.policy_sha256},
    )


def _proof(verdict: Verdict, deployment: Deployment) -> dict[str, dg.MetadataValue]:
    metadata: dict[str, dg.MetadataValue] = {}
    if verdict.signer is not None:
        metadata["signed_by"] = dg.MetadataValue.text(verdict.signer.identity)
        metadata["issuer"] = dg.MetadataValue.text(verdict.signer.issuer)
    if verdict.log is not None:
        metadata["log_index"] = dg.MetadataValue.int(verdict.log.index)
        if (page := deployment.log_entry_url(verdict.log)) is not None:
            metadata["log_entry"] = dg.MetadataValue.url(page)
    metadata["content_hash"] = dg.MetadataValue.text(verdict.content_hash or "unknown")
    metadata["checks"] = verdict_table(verdict)
    return metadata
