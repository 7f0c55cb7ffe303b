"""The asset ``transparency_logs``: the states of the logs, and their entries in our name."""

import dagster as dg

from inferencebench_pipeline.corpus import (
    CorpusStore,
    LogReport,
    examine_logs,
    keep_reports,
    known_digests,
    load_reports,
    seen_checkpoints,
)
from inferencebench_pipeline.lifecycle.corpus.corpus_verification import corpus_verification
from inferencebench_pipeline.lifecycle.corpus.findings import finding_table, report_to_runs
from inferencebench_pipeline.lifecycle.metadata import table
from inferencebench_pipeline.resources import (
    NO_FIELD,
    DeploymentResource,
    RetryPolicyResource,
    RunStoreResource,
)


@dg.asset(
    deps=[dg.AssetDep(corpus_verification, partition_mapping=dg.AllPartitionMapping())],
    group_name="corpus",
    kinds={"sigstore"},
    owners=["team:performance"],
    code_version="1",
    config_schema=NO_FIELD,
)
def transparency_logs(
    context: dg.AssetExecutionContext,
    run_store: RunStoreResource,
    deployment: DeploymentResource,
    retry_policy: RetryPolicyResource,
) -> dg.MaterializeResult[None]:
    """Each log's newest signed state is proved to extend every state that we have ever seen.

    The number of requests to each log is bounded. The rest is counted and left for the next run.
    """
    with retry_policy.guard():
        reports = examine_logs(
            CorpusStore(run_store.root),
            deployment.trust(),
            deployment.policy(),
            # The checkpoint in each record of ours is a state that its log has signed.
            seen=list(seen_checkpoints(run_store)),
            known_digests=known_digests(run_store),
            organisation=deployment.settings.organisation,
        )
        # Kept before anything is reported: a report to a run may
        # fail, and evidence must not be lost.
        keep_reports(CorpusStore(run_store.root), reports)
        report_to_runs(context, run_store, [item for one in reports for item in one.findings])
    return dg.MaterializeResult(metadata={"logs": table(map(_row, reports))})


def _row(report: LogReport) -> dict[str, str | int]:
    return {
        "log": report.url,
        "entries": report.size,
        "proved_now": report.proved_now,
        "not_proved_yet": report.not_proved_yet,
        "entries_read_now": report.scanned_now,
        "entries_not_read_yet": report.not_scanned_yet,
        "unknown_entries": len(report.unknown),
        "problem": report.problem or "none",
    }


@dg.asset_check(
    asset=transparency_logs,
    name="logs_are_append_only",
    description=(
        "Each log extends all states that it showed before, and the proof of each record leads to "
        "a state of the log."
    ),
    config_schema=NO_FIELD,
)
def logs_are_append_only(
    run_store: RunStoreResource, retry_policy: RetryPolicyResource
) -> dg.AssetCheckResult:
    """Read the reports of the last examination."""
    with retry_policy.guard():
        dishonest = [one for one in load_reports(CorpusStore(run_store.root)) if not one.is_honest]
    problems = [f"{report.url}: {report.problem}" for report in dishonest if report.problem]
    findings = [item for report in dishonest for item in report.findings]
    return dg.AssetCheckResult(
        passed=not dishonest,
        description="; ".join(problems) or _records_outside(len(findings)),
        metadata={"findings": finding_table(findings)},
    )


def _records_outside(count: int) -> str:
    return f"{count} records are in no honest log" if count else "all logs are append-only"


@dg.asset_check(
    asset=transparency_logs,
    name="no_unknown_entry",
    description="Every log entry under an identity of ours is about something that we signed.",
    config_schema=NO_FIELD,
)
def no_unknown_entry(
    run_store: RunStoreResource, retry_policy: RetryPolicyResource
) -> dg.AssetCheckResult:
    """Read the reports of the last examination; an entry stays unknown until one explains it."""
    with retry_policy.guard():
        unknown = [
            item for report in load_reports(CorpusStore(run_store.root)) for item in report.unknown
        ]
    return dg.AssetCheckResult(
        passed=not unknown,
        description=f"{len(unknown)} log entries are about nothing that we signed"
        if unknown
        else "every log entry is about something that we signed",
        metadata={
            "entries": table(
                {
                    "entry": item.detail,
                    "first_seen": item.first_seen.isoformat(timespec="seconds"),
                }
                for item in unknown
            )
        },
    )
