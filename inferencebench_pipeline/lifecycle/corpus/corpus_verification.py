"""The asset ``corpus_verification``: the verdicts on all published envelopes, day by day."""

import os

import dagster as dg
from pydantic import Field

from inferencebench_pipeline.corpus import (
    CorpusStore,
    DaySummary,
    DayVerdicts,
    community_repos,
    repeated_runs,
    verify_days,
    write_records,
)
from inferencebench_pipeline.lifecycle.corpus.findings import (
    check_result,
    finding_table,
    report_to_runs,
)
from inferencebench_pipeline.lifecycle.corpus.published_corpus import published_corpus
from inferencebench_pipeline.lifecycle.form import Form
from inferencebench_pipeline.lifecycle.metadata import table
from inferencebench_pipeline.lifecycle.partitions import (
    PARTITION_TAG,
    days,
    per_day_check,
    report_partition,
)
from inferencebench_pipeline.resources import (
    DeploymentResource,
    RetryPolicyResource,
    RunStoreResource,
)


class VerificationForm(Form):
    """The thoroughness of the verification."""

    again: bool = Field(
        default=False,
        description="Judge every record again, also those whose bytes were judged before under the "
        "same rules.",
    )


@dg.asset(
    deps=[published_corpus],
    partitions_def=days,
    # Three years of days are 36 runs. With a run for each day,
    # some twelve days a minute were verified.
    backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=31),
    pool="verification",
    group_name="corpus",
    kinds={"sigstore"},
    owners=["team:performance"],
    code_version="2",
    config_schema=VerificationForm.run_config(),
)
def corpus_verification(
    context: dg.AssetExecutionContext,
    run_store: RunStoreResource,
    deployment: DeploymentResource,
    retry_policy: RetryPolicyResource,
) -> dg.MaterializeResult[None]:
    """The envelopes whose repositories were created on these days are verified from their bytes.

    Backfill this asset to verify everything again. Bytes that were judged before under the same
    policy, trust root and verifier keep their verdict, unless `again` is set.
    """
    with retry_policy.guard():
        results = verify_days(
            CorpusStore(run_store.root),
            context.partition_keys,
            deployment.corpus_verifier(),
            processes=os.cpu_count() or 1,
            again=VerificationForm.of(context).again,
        )
        findings = [item for result in results for item in result.findings]
        # The check of a run passes again once its record verifies again.
        cleared = [repo_id for result in results for repo_id in result.cleared]
        reported = report_to_runs(context, run_store, findings, cleared)
        records = write_records(CorpusStore(run_store.root))
        repeated = repeated_runs(CorpusStore(run_store.root))
    return dg.MaterializeResult(
        metadata={
            "verified": sum(result.verified for result in results),
            "not_verified": sum(result.rejected for result in results),
            "recognised": sum(result.recognised for result in results),
            "findings": finding_table(findings),
            "repeated_runs": finding_table(repeated),
            "days": table(map(_day_row, results)),
            "reported_to_runs": ", ".join(reported) or "none",
            "records": str(records or "none yet"),
        }
    )


@per_day_check(
    asset=corpus_verification,
    name="no_finding_of_severity_error",
    description="No published record of these days was rejected.",
)
def no_finding_of_severity_error(
    context: dg.AssetCheckExecutionContext,
    run_store: RunStoreResource,
    retry_policy: RetryPolicyResource,
) -> dg.AssetCheckResult:
    """Read the stored verdicts of these days, and report a result for each of them."""
    with retry_policy.guard():
        corpus = CorpusStore(run_store.root)
        community = community_repos(corpus)
        found = {day: DayVerdicts.load(corpus, day).findings for day in context.partition_keys}
    if PARTITION_TAG not in context.run.tags:
        # A run over a range, which a backfill launches even for a single day.
        for day, findings in found.items():
            check = no_finding_of_severity_error.check_key
            report_partition(
                context.instance, context.run.run_id, check, day, check_result(findings, community)
            )
    return check_result((item for findings in found.values() for item in findings), community)


def _day_row(result: DaySummary) -> dict[str, str | int]:
    return {
        "day": result.day,
        "verified": result.verified,
        "not_verified": result.rejected,
        "recognised": result.recognised,
        "findings": len(result.findings),
    }
