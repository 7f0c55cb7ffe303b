"""The asset ``index_dataset``: the index of the leaderboard as a dataset to query."""

import dagster as dg

from inferencebench_pipeline.corpus import CorpusStore, statement_files
from inferencebench_pipeline.hub import publish_corpus
from inferencebench_pipeline.leaderboard import DATA_FOLDER, LeaderboardStore, published_files
from inferencebench_pipeline.lifecycle.leaderboard.leaderboard_index import leaderboard_index
from inferencebench_pipeline.resources import (
    NO_FIELD,
    DeploymentResource,
    RetryPolicyResource,
    RunStoreResource,
)


@dg.asset(
    deps=[leaderboard_index],
    group_name="leaderboard",
    kinds={"huggingface", "parquet"},
    owners=["team:performance"],
    pool="hub-write",
    code_version="1",
    config_schema=NO_FIELD,
)
def index_dataset(
    context: dg.AssetExecutionContext,
    run_store: RunStoreResource,
    deployment: DeploymentResource,
    retry_policy: RetryPolicyResource,
) -> dg.MaterializeResult[None]:
    """The index is a Hub dataset of partitioned Parquet files, with leaderboard.json and a card.

    One commit holds the files that changed, with the last corpus statement, and there is none when
    nothing changed. The tables also list the records that failed verification, so a finding does
    not prevent the publication.
    """
    with retry_policy.guard():
        root = run_store.root
        organisation = deployment.require_organisation()
        index = published_files(LeaderboardStore(root))
        if not index:
            raise dg.Failure(
                "the index has not been built yet; materialise leaderboard_index first",
                allow_retries=False,
            )
        receipt = publish_corpus(
            deployment.hub(),
            organisation,
            {**index, **statement_files(CorpusStore(root))},
            owned=DATA_FOLDER,
        )
        for path in receipt.uploaded:
            context.log.info("changed: %s", path)
    return dg.MaterializeResult(
        metadata={
            "files": dg.MetadataValue.int(len(index)),
            "changed": dg.MetadataValue.int(len(receipt.uploaded)),
            "commit": dg.MetadataValue.text(receipt.commit),
            "dataset": dg.MetadataValue.url(receipt.url),
        }
    )
