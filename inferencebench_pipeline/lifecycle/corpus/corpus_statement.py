"""The asset ``corpus_statement``: one signature over all records that are verified."""

from datetime import UTC, datetime

import dagster as dg

from inferencebench_pipeline.corpus import (
    STATEMENT_FILE,
    CorpusStore,
    Rules,
    StatedCorpus,
    state_corpus,
    stated_bundle,
    statement_files,
    verified_records,
)
from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.hub import CorpusReceipt, publish_corpus, published_file
from inferencebench_pipeline.leaderboard import DATA_FOLDER, LeaderboardStore, published_files
from inferencebench_pipeline.lifecycle.corpus.corpus_verification import corpus_verification
from inferencebench_pipeline.lifecycle.corpus.transparency_logs import transparency_logs
from inferencebench_pipeline.resources import (
    NO_FIELD,
    DeploymentResource,
    RetryPolicyResource,
    RunStoreResource,
)
from inferencebench_pipeline.trust import (
    STATEMENT_SUITE,
    StatementRejectedError,
    verify_corpus_statement,
)


@dg.asset(
    deps=[
        dg.AssetDep(corpus_verification, partition_mapping=dg.AllPartitionMapping()),
        transparency_logs,
    ],
    group_name="corpus",
    kinds={"sigstore", "huggingface"},
    owners=["team:performance"],
    pool="hub-write",
    code_version="1",
    config_schema=NO_FIELD,
)
def corpus_statement(
    context: dg.AssetExecutionContext,
    run_store: RunStoreResource,
    deployment: DeploymentResource,
    retry_policy: RetryPolicyResource,
) -> dg.MaterializeResult[None]:
    """A signed in-toto statement on the Hub has all verified envelopes as its subjects.

    It is made only after a clean re-verification: a published record that has a finding, or is not
    verified under the current policy, trust root and verifier, prevents it. The same commit
    publishes the index.
    """
    with retry_policy.guard():
        organisation, rules = deployment.require_organisation(), _rules(deployment)
        signer = deployment.keyless_signer()
        stated = state_corpus(
            CorpusStore(run_store.root),
            organisation,
            verified_records(CorpusStore(run_store.root), organisation, rules),
            rules,
            lambda statement: signer.sign_statement(statement, suite_id=STATEMENT_SUITE),
            # A statement that still verifies is kept, since each
            # signing leaves an entry in a public log.
            holds=lambda bundle: _holds(deployment, organisation, bundle),
            published=lambda: published_file(deployment.hub(), organisation, STATEMENT_FILE),
        )
        context.log.info("the statement covers %d records", stated.subjects)
        index = published_files(LeaderboardStore(run_store.root))
        receipt = publish_corpus(
            deployment.hub(),
            organisation,
            {**index, **statement_files(CorpusStore(run_store.root))},
            # Without an index here, the tables on the Hub are left as they are.
            owned=DATA_FOLDER if index else None,
        )
    return dg.MaterializeResult(metadata=_metadata(stated, receipt))


@dg.asset_check(
    asset=corpus_statement,
    name="covers_exactly_the_verified_envelopes",
    description="The statement verifies, and its subjects are exactly the published and verified "
    "envelopes.",
    blocking=True,
    config_schema=NO_FIELD,
)
def covers_exactly_the_verified_envelopes(
    run_store: RunStoreResource, deployment: DeploymentResource, retry_policy: RetryPolicyResource
) -> dg.AssetCheckResult:
    """Verify the stored statement offline, and compare its subjects with the stored verdicts."""
    with retry_policy.guard():
        corpus = CorpusStore(run_store.root)
        organisation = deployment.require_organisation()
        statement = verify_corpus_statement(
            stated_bundle(corpus),
            trust=deployment.trust(),
            policy=deployment.policy(),
            organisation=organisation,
        )
        records = verified_records(corpus, organisation, _rules(deployment))
    verified = {record.entry.envelope_sha256 for record in records}
    differing = verified.symmetric_difference(statement.subjects)
    return dg.AssetCheckResult(
        passed=not differing,
        description=f"{len(differing)} envelopes are in only one of the two"
        if differing
        else "the statement covers exactly the verified envelopes",
        metadata={
            "subjects": len(statement.subjects),
            "signer": statement.proof.signer.identity,
            "log_index": statement.proof.log_index,
            "signed_at": statement.proof.times[0].isoformat(),
            "checked_at": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def _holds(deployment: Deployment, organisation: str, bundle: bytes) -> bool:
    """Return whether the kept statement still verifies, so that it need not be signed again."""
    try:
        verify_corpus_statement(
            bundle,
            trust=deployment.trust(),
            policy=deployment.policy(),
            organisation=organisation,
        )
    except StatementRejectedError:
        return False
    return True


def _rules(deployment: Deployment) -> Rules:
    return Rules(deployment.policy().sha256, deployment.trust().sha256)


def _metadata(stated: StatedCorpus, receipt: CorpusReceipt) -> dict[str, dg.MetadataValue]:
    return {
        "subjects": dg.MetadataValue.int(stated.subjects),
        "statement_sha256": dg.MetadataValue.text(stated.statement_sha256),
        "signed_now": dg.MetadataValue.bool(stated.signed_now),
        "commit": dg.MetadataValue.text(receipt.commit),
        "dataset": dg.MetadataValue.url(receipt.url),
        "verify_with": dg.MetadataValue.text(
            f"inferencebench verify --corpus hf://datasets/{receipt.repo_id}"
        ),
    }
