"""The asset ``published_corpus``: everything that the Hub holds under our namespace."""

import dagster as dg

from inferencebench_pipeline.corpus import CorpusStore, Inventory, community_repos, crawl
from inferencebench_pipeline.lifecycle.corpus.findings import (
    check_result,
    finding_table,
    report_to_runs,
)
from inferencebench_pipeline.lifecycle.life_of_a_run.hub_dataset import hub_dataset
from inferencebench_pipeline.resources import (
    NO_FIELD,
    DeploymentResource,
    RetryPolicyResource,
    RunStoreResource,
)


@dg.asset(
    # For the lineage only: a crawl finds what runs have published, but it reads the Hub alone.
    deps=[dg.AssetDep(hub_dataset, partition_mapping=dg.AllPartitionMapping())],
    group_name="corpus",
    kinds={"huggingface", "parquet"},
    owners=["team:performance"],
    pool="hub-read",
    code_version="2",
    config_schema=NO_FIELD,
)
def published_corpus(
    context: dg.AssetExecutionContext,
    run_store: RunStoreResource,
    deployment: DeploymentResource,
    retry_policy: RetryPolicyResource,
) -> dg.MaterializeResult[None]:
    """The inventory lists every published envelope with its commit and the hash of its bytes."""
    with retry_policy.guard():
        # Read before the crawl, which replaces the findings.
        known = {item.identity for item in Inventory.load(CorpusStore(run_store.root)).findings}
        hub = deployment.crawl_hub()
        inventory = crawl(hub, deployment.require_organisation(), CorpusStore(run_store.root))
        noticed = [item for item in inventory.findings if item.identity not in known]
        report_to_runs(context, run_store, noticed)
    return dg.MaterializeResult(
        metadata={
            "published_runs": dg.MetadataValue.int(len(inventory.entries)),
            "fetched_now": dg.MetadataValue.int(inventory.fetched),
            "findings": dg.MetadataValue.int(len(inventory.findings)),
            "noticed_now": finding_table(noticed),
            "hub_requests": dg.MetadataValue.int(hub.budget.report().total),
            "hub_rate_budget": dg.MetadataValue.text(str(hub.budget.report())),
        }
    )


@dg.asset_check(
    asset=published_corpus,
    name="nothing_vanished_or_moved",
    description="No published record has vanished from the Hub, was replaced, or cannot be read. A "
    "record that moved to another repository is shown and does not fail the check.",
    config_schema=NO_FIELD,
)
def nothing_vanished_or_moved(
    run_store: RunStoreResource, retry_policy: RetryPolicyResource
) -> dg.AssetCheckResult:
    """Read the findings of the last crawl."""
    with retry_policy.guard():
        corpus = CorpusStore(run_store.root)
        return check_result(Inventory.load(corpus).findings, community_repos(corpus))
