"""The asset ``community_corpus``: the records that others publish under our tag."""

import os
from collections import Counter
from collections.abc import Iterator

import dagster as dg

from inferencebench_pipeline.corpus import (
    CorpusStore,
    DayVerdicts,
    Inventory,
    RepoState,
    take_in_elsewhere,
    verify_days,
    write_records,
)
from inferencebench_pipeline.lifecycle.metadata import table
from inferencebench_pipeline.resources import (
    NO_FIELD,
    DeploymentResource,
    RetryPolicyResource,
    RunStoreResource,
)

_SHOWN = 200


@dg.asset(
    group_name="corpus",
    kinds={"huggingface", "sigstore"},
    owners=["team:performance"],
    pool="hub-read",
    code_version="1",
    config_schema=NO_FIELD,
)
def community_corpus(
    context: dg.AssetExecutionContext,
    run_store: RunStoreResource,
    deployment: DeploymentResource,
    retry_policy: RetryPolicyResource,
) -> dg.MaterializeResult[None]:
    """Records outside our namespace are part of the corpus, marked as the community's.

    They are read without any token, within bounds of repositories, bytes and time for each owner
    and altogether, and verified under our policy. A rejected record is shown and does not rank. It
    neither fails a check of ours nor keeps the corpus statement from being made.
    """
    with retry_policy.guard():
        corpus = CorpusStore(run_store.root)
        hub = deployment.anonymous_hub()
        taken = take_in_elsewhere(hub, deployment.require_organisation(), corpus)
        days = sorted({entry.created_day for entry in taken.inventory.entries if entry.community})
        judge = deployment.corpus_verifier()
        # The pool is not that of corpus_verification; a lock in the store keeps the two apart.
        verify_days(corpus, days, judge, processes=os.cpu_count() or 1)
        # Written last, because it tells the leaderboard that the verification has ended.
        write_records(corpus)
        rows = list(_rows(corpus, taken.inventory, days))
    outcomes = Counter(row["outcome"] for row in rows)
    if taken.passed_over:
        context.log.info("%d records are left for the next run", len(taken.passed_over))
    return dg.MaterializeResult(
        metadata={
            "records": dg.MetadataValue.int(len(rows)),
            "verified": dg.MetadataValue.int(outcomes["verified"]),
            "fetched_now": dg.MetadataValue.int(taken.inventory.fetched),
            "fetched_bytes": dg.MetadataValue.int(taken.fetched_bytes),
            "left_for_the_next_look": dg.MetadataValue.int(len(taken.passed_over)),
            "newest": table(rows[:_SHOWN]),
            "hub_rate_budget": dg.MetadataValue.text(str(hub.budget.report())),
        }
    )


def _rows(corpus: CorpusStore, inventory: Inventory, days: list[str]) -> Iterator[dict[str, str]]:
    """Yield a row for each record of others, the last modified first."""
    verdicts = {
        item.repo_id: item.verdict for day in days for item in DayVerdicts.load(corpus, day).entries
    }
    entries = [entry for entry in inventory.entries if entry.community]
    for entry in sorted(entries, key=lambda one: one.last_modified, reverse=True):
        verdict = verdicts.get(entry.repo_id)
        published = entry.state is RepoState.PUBLISHED and verdict is not None
        yield {
            "repo": entry.repo_id,
            "outcome": str(verdict.outcome) if verdict and published else str(entry.state),
            "why": verdict.reason if verdict and published else "",
            "run": entry.run_id or "",
            "model": entry.model_id or "",
            "revision": entry.revision,
        }
