"""The asset ``corpus_statement``: one signature over all records that are verified."""

import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime

import dagster as dg

from inferencebench_pipeline.corpus import (
    STATEMENT_FILE,
    CorpusDraft,
    CorpusStore,
    PolicyJudge,
    StatedCorpus,
    VerifiedRecord,
    state_corpus,
    stated_bundle,
    statement_files,
    verified_anew,
    verified_records,
)
from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.hub import CorpusReceipt, publish_corpus, published_file
from inferencebench_pipeline.leaderboard import (
    DATA_FOLDER,
    LeaderboardStore,
    published_snapshot,
)
from inferencebench_pipeline.lifecycle.corpus.corpus_verification import corpus_verification
from inferencebench_pipeline.lifecycle.corpus.transparency_logs import transparency_logs
from inferencebench_pipeline.lifecycle.leaderboard.leaderboard_index import leaderboard_index
from inferencebench_pipeline.resources import (
    NO_FIELD,
    DeploymentResource,
    RetryPolicyResource,
    RunStoreResource,
)
from inferencebench_pipeline.trust import (
    STATEMENT_SUITE,
    StatementRejectedError,
    compare_table,
    verify_corpus_statement,
)


@dg.asset(
    deps=[
        dg.AssetDep(corpus_verification, partition_mapping=dg.AllPartitionMapping()),
        transparency_logs,
        leaderboard_index,
    ],
    group_name="leaderboard",
    kinds={"sigstore", "huggingface"},
    owners=["team:performance"],
    pool="hub-write",
    code_version="2",
    config_schema=NO_FIELD,
)
def corpus_statement(
    context: dg.AssetExecutionContext,
    run_store: RunStoreResource,
    deployment: DeploymentResource,
    retry_policy: RetryPolicyResource,
) -> dg.MaterializeResult[None]:
    """A signed in-toto statement on the Hub binds all verified records and the leaderboard's files.

    It is made only of a clean corpus: a published record that has a finding, or is not verified
    under the current policy, trust root and verifier, prevents it. Before it is signed, every
    record is verified again from its bytes. One commit publishes it with the index that it covers,
    which has to be built from these very verdicts.
    """
    with retry_policy.guard():
        organisation, judge = deployment.require_organisation(), deployment.corpus_verifier()
        corpus, board = CorpusStore(run_store.root), LeaderboardStore(run_store.root)
        records = verified_records(corpus, organisation, judge.rules)
        index = published_snapshot(board, deployment.settings.prices)
        signer = deployment.keyless_signer()

        def anew() -> CorpusDraft:
            nonlocal index
            again = verified_anew(corpus, organisation, judge, processes=os.cpu_count() or 1)
            # Taken again: what verification has put right may have been shown by the index.
            index = published_snapshot(board, deployment.settings.prices)
            return _draft(organisation, again, judge, index)

        stated = state_corpus(
            corpus,
            _draft(organisation, records, judge, index),
            lambda statement: signer.sign_statement(statement, suite_id=STATEMENT_SUITE),
            anew=anew,
            # A statement that still verifies is kept, since each
            # signing leaves an entry in a public log.
            holds=lambda bundle: _holds(deployment, organisation, bundle),
            published=lambda: published_file(deployment.hub(), organisation, STATEMENT_FILE),
        )
        context.log.info("the statement covers %d records", stated.subjects)
        receipt = publish_corpus(
            deployment.hub(), organisation, {**index, **statement_files(corpus)}, owned=DATA_FOLDER
        )
    return dg.MaterializeResult(metadata=_metadata(stated, receipt))


@dg.asset_check(
    asset=corpus_statement,
    name="covers_exactly_the_verified_envelopes",
    description="The statement verifies, and binds exactly the published and verified records: "
    "repository, revision, run, envelope and traces of each.",
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
        judge = deployment.corpus_verifier()
        records = verified_records(corpus, organisation, judge.rules)
    differing = compare_table(statement, _draft(organisation, records, judge, {}).rows)
    return dg.AssetCheckResult(
        passed=not differing,
        description="; ".join(problem.detail for problem in differing)
        or "the statement covers exactly the verified records",
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


def _draft(
    organisation: str,
    records: list[VerifiedRecord],
    judge: PolicyJudge,
    index: Mapping[str, bytes],
) -> CorpusDraft:
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in index.items()}
    return CorpusDraft(organisation, records, judge.rules, digests)


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
