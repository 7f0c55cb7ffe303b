"""The corpus: everything published under our namespace, and its re-verification day by day."""

import dagster as dg

from inferencebench_pipeline.corpus.inventory import Inventory, crawl
from inferencebench_pipeline.corpus.verification import DayVerdicts, verify_day
from inferencebench_pipeline.lifecycle.metadata import table
from inferencebench_pipeline.lifecycle.partitions import days
from inferencebench_pipeline.resources import DeploymentResource, OutageResource, StoreResource


@dg.asset(
    group_name="corpus",
    kinds={"huggingface", "parquet"},
    owners=["team:performance"],
    pool="hub-read",
    code_version="1",
)
def published_corpus(
    runs_store: StoreResource, world: DeploymentResource, outages: OutageResource
) -> dg.MaterializeResult[None]:
    """What the Hub holds now: every published envelope, pinned to a commit and hashed by us."""
    with outages.guard():
        deployment = world.deployment()
        inventory = crawl(
            deployment.hub(),
            deployment.require_organisation(),
            runs_store.store().root,
        )
    return dg.MaterializeResult(metadata=_inventory_metadata(inventory))


@dg.asset_check(
    asset=published_corpus,
    name="nothing_vanished_or_moved",
    description="A published record is permanent: one that vanished or moved is a finding.",
)
def nothing_vanished_or_moved(
    runs_store: StoreResource, outages: OutageResource
) -> dg.AssetCheckResult:
    """Read the findings of the last crawl."""
    with outages.guard():
        findings = Inventory.load(runs_store.store().root).findings
    errors = [finding for finding in findings if finding.severity == "error"]
    return dg.AssetCheckResult(
        passed=not errors,
        metadata={
            "findings": table(
                {"finding": item.kind, "repo": item.repo_id, "detail": item.detail}
                for item in findings
            )
        },
    )


@dg.asset(
    deps=[published_corpus],
    partitions_def=days,
    backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=31),
    group_name="corpus",
    kinds={"sigstore"},
    owners=["team:performance"],
    code_version="1",
)
def corpus_verification(
    context: dg.AssetExecutionContext,
    runs_store: StoreResource,
    world: DeploymentResource,
    outages: OutageResource,
) -> dg.MaterializeResult[None]:
    """Every envelope whose repository was created on these days, verified again from its bytes.

    Backfill this asset to re-verify everything.
    """
    with outages.guard():
        judge = world.deployment().judge()
        root = runs_store.store().root
        results = [verify_day(root, day, judge) for day in context.partition_keys]
    return dg.MaterializeResult(
        metadata={
            "verified": sum(result.verified for result in results),
            "rejected": sum(result.rejected for result in results),
            "verdicts": table(
                {"repo": entry.repo_id, "outcome": entry.outcome, "reason": entry.reason}
                for result in results
                for entry in result.entries
            ),
        }
    )


@dg.asset_check(
    asset=corpus_verification,
    name="no_finding_of_severity_error",
    description="No published record of the days just verified was rejected.",
)
def no_finding_of_severity_error(
    context: dg.AssetCheckExecutionContext, runs_store: StoreResource, outages: OutageResource
) -> dg.AssetCheckResult:
    """Read the stored verdicts of the days of this run."""
    with outages.guard():
        root = runs_store.store().root
        results = [DayVerdicts.load(root, day) for day in context.partition_keys]
    errors = [finding for result in results for finding in result.errors]
    return dg.AssetCheckResult(
        passed=not errors,
        metadata={
            "findings": table(
                {"finding": item.kind, "repo": item.repo_id, "detail": item.detail}
                for item in errors
            )
        },
    )


def _inventory_metadata(inventory: Inventory) -> dict[str, dg.MetadataValue]:
    return {
        "published_runs": dg.MetadataValue.int(len(inventory.entries)),
        "fetched_now": dg.MetadataValue.int(inventory.fetched),
        "findings": dg.MetadataValue.int(len(inventory.findings)),
    }
