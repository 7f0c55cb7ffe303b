"""The asset ``model_card_backlink``: a key in the model's card that points to the dataset."""

import dagster as dg

from inferencebench_pipeline.hub import check_backlink, link, read_backlink, skip_backlink
from inferencebench_pipeline.lifecycle.life_of_a_run.hub_dataset import hub_dataset
from inferencebench_pipeline.lifecycle.partitions import per_run_check, run_stage
from inferencebench_pipeline.resources import (
    NO_FIELD,
    DeploymentResource,
    RetryPolicyResource,
    RunStoreResource,
)


@run_stage(
    deps=[hub_dataset],
    kinds={"huggingface"},
    pool="hub-write",
    code_version="1",
    config_schema=NO_FIELD,
)
def model_card_backlink(
    context: dg.AssetExecutionContext,
    run_store: RunStoreResource,
    deployment: DeploymentResource,
    retry_policy: RetryPolicyResource,
) -> dg.MaterializeResult[None]:
    """One key is added to the front matter of the model's card, and no other byte changes.

    It is written only where INFERENCEBENCH_UPDATE_MODEL_CARD asks for it.
    """
    with retry_policy.guarded_run(context, run_store, "model_card_backlink") as run:
        if deployment.settings.update_model_card:
            receipt = link(
                deployment.hub(),
                run,
                run_store.root,
                organisation=deployment.require_organisation(),
                pull_requests=deployment.settings.open_pull_requests,
            )
        else:
            # A receipt all the same, so that the check and the UI
            # tell "not requested" from "not done yet".
            receipt = skip_backlink(
                run,
                "not requested; set INFERENCEBENCH_UPDATE_MODEL_CARD=1 to link from model cards",
            )
    metadata: dict[str, dg.MetadataValue] = {
        "mode": dg.MetadataValue.text(receipt.mode),
        "reason": dg.MetadataValue.text(receipt.reason or ""),
    }
    if receipt.url is not None:
        metadata["model_card"] = dg.MetadataValue.url(receipt.url)
    return dg.MaterializeResult(metadata=metadata)


@per_run_check(
    asset=model_card_backlink,
    name="only_our_key_changed",
    description="The card holds our key once, and every byte outside its lines is unchanged.",
)
def only_our_key_changed(
    context: dg.AssetCheckExecutionContext,
    run_store: RunStoreResource,
    deployment: DeploymentResource,
    retry_policy: RetryPolicyResource,
) -> dg.AssetCheckResult:
    """Compare the card at our commit with the card at its parent, both as the Hub serves them."""
    with retry_policy.guard():
        receipt = read_backlink(run_store.run(context.partition_key))
        problem = check_backlink(deployment.hub(), receipt)
    return dg.AssetCheckResult(
        passed=problem is None, description=problem or receipt.reason or "only our key changed"
    )
