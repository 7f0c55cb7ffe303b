"""The asset ``index_dataset``: the index of the leaderboard as a dataset to query."""

import hashlib

import dagster as dg

from inferencebench_pipeline.corpus import (
    STATEMENT_FILES,
    CorpusStore,
    stated_index,
    statement_files,
)
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

    One commit holds the files that changed, and there is none when nothing changed. The tables also
    list the records that failed verification, so a finding does not prevent the publication. The
    last corpus statement stays beside the index while it covers these very files. Otherwise the
    same commit withdraws it, until `corpus_statement` publishes one that does.
    """
    with retry_policy.guard():
        root = run_store.root
        organisation = deployment.require_organisation()
        files = published_files(LeaderboardStore(root))
        # Read once, so that the digests are of what is sent.
        index = {path: file.read_bytes() for path, file in files.items()}
        if not index:
            raise dg.Failure(
                "the index has not been built yet; materialise leaderboard_index first",
                allow_retries=False,
            )
        digests = {path: hashlib.sha256(data).hexdigest() for path, data in index.items()}
        # A reader must never find a statement beside files that it does not cover: the alarm about
        # those would ring in quiet times, and nobody would hear it any more.
        covered = stated_index(CorpusStore(root)) == digests
        receipt = publish_corpus(
            deployment.hub(),
            organisation,
            {**index, **(statement_files(CorpusStore(root)) if covered else {})},
            owned=DATA_FOLDER,
            withdrawn=() if covered else STATEMENT_FILES,
        )
        for path in receipt.uploaded:
            context.log.info("changed: %s", path)
    return dg.MaterializeResult(
        metadata={
            "files": dg.MetadataValue.int(len(index)),
            "covered_by_the_statement": dg.MetadataValue.bool(covered),
            "changed": dg.MetadataValue.int(len(receipt.uploaded)),
            "commit": dg.MetadataValue.text(receipt.commit),
            "dataset": dg.MetadataValue.url(receipt.url),
        }
    )
