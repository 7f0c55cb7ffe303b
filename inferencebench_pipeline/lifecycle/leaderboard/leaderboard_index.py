"""The asset ``leaderboard_index``: the published and verified results side by side."""

from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg

from inferencebench_pipeline.leaderboard import (
    Change,
    LeaderboardStore,
    Sources,
    build_index,
    check_rows,
    load_prices,
    load_summary,
    render_site,
    unjudged_rows,
)
from inferencebench_pipeline.lifecycle.corpus.community_corpus import community_corpus
from inferencebench_pipeline.lifecycle.corpus.corpus_verification import corpus_verification
from inferencebench_pipeline.lifecycle.corpus.published_corpus import published_corpus
from inferencebench_pipeline.resources import (
    NO_FIELD,
    DeploymentResource,
    RetryPolicyResource,
    RunStoreResource,
)

VERIFIED_WITHIN: Final = timedelta(hours=2)
"""The time from a change on the Hub to a verdict: a crawl within an hour, then some minutes."""
_MOST_NAMED: Final = 20


@dg.asset(
    deps=[
        published_corpus,
        community_corpus,
        dg.AssetDep(corpus_verification, partition_mapping=dg.AllPartitionMapping()),
    ],
    group_name="leaderboard",
    kinds={"duckdb", "parquet"},
    owners=["team:performance"],
    code_version="2",
    config_schema=NO_FIELD,
)
def leaderboard_index(
    run_store: RunStoreResource, deployment: DeploymentResource, retry_policy: RetryPolicyResource
) -> dg.MaterializeResult[None]:
    """The index and its pages are built from the published corpus, and never from local runs."""
    with retry_policy.guard():
        board, prices = LeaderboardStore(run_store.root), deployment.settings.prices
        # Taken before anything is read, so that a change during the build causes another build.
        sources = Sources.now(board, prices)
        info = build_index(board, load_prices(prices) if prices else None)
        page = render_site(board)
        # Kept last, so that a build that is cut off is done again.
        sources.keep(board)
    return dg.MaterializeResult(
        metadata={
            "rows": dg.MetadataValue.int(info.rows),
            "ranked": dg.MetadataValue.int(info.ranked),
            "envelopes_read": dg.MetadataValue.int(info.extracted),
            "comparison_groups": dg.MetadataValue.int(info.comparison_groups),
            "page": dg.MetadataValue.url(page.as_uri()),
        }
    )


@dg.asset_check(
    asset=leaderboard_index,
    name="rows_agree_with_envelopes",
    description=(
        "No published run is missing, every ranked row is in its group once, and each number in a "
        "row equals the one in its envelope."
    ),
    blocking=True,
    config_schema=NO_FIELD,
)
def rows_agree_with_envelopes(
    run_store: RunStoreResource, retry_policy: RetryPolicyResource
) -> dg.AssetCheckResult:
    """Compare the index on disk with the fetched envelopes."""
    with retry_policy.guard():
        problems = check_rows(LeaderboardStore(run_store.root))
    return dg.AssetCheckResult(
        passed=not problems, metadata={"problems": "; ".join(problems) or "none"}
    )


@dg.asset_check(
    asset=leaderboard_index,
    name="every_row_has_a_verdict",
    description=(
        "Every record is verified within two hours of its last change on the Hub. Unverified "
        "records are not ranked."
    ),
    config_schema=NO_FIELD,
)
def every_row_has_a_verdict(
    run_store: RunStoreResource, retry_policy: RetryPolicyResource
) -> dg.AssetCheckResult:
    """Look for rows that have waited for a verdict for longer than the time allowed."""
    with retry_policy.guard():
        waiting = unjudged_rows(LeaderboardStore(run_store.root))
    late = [row for row in waiting if datetime.now(UTC) - row.changed_at > VERIFIED_WITHIN]
    days = ", ".join(sorted({row.day for row in late}))
    return dg.AssetCheckResult(
        passed=not late,
        # Nothing is wrong with these records; only their verification is late.
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(late)} rows have no verdict; run reverify for {days}" if late else None,
        metadata={
            "waiting": len(waiting),
            "late": "; ".join(row.repo_id for row in late[:_MOST_NAMED]) or "none",
        },
    )


@dg.asset_check(
    asset=leaderboard_index,
    name="no_regression",
    description=(
        "No metric of a repeated benchmark has moved to a worse level and stayed there. The result "
        "names the metric, the first version with the change, its size and its certainty."
    ),
    config_schema=NO_FIELD,
)
def no_regression(
    run_store: RunStoreResource, retry_policy: RetryPolicyResource
) -> dg.AssetCheckResult:
    """Read the changes that the index found, of which only those for the worse count."""
    with retry_policy.guard():
        changes = load_summary(LeaderboardStore(run_store.root)).changes
    worse = [change for change in changes if change.verdict == "worse"]
    return dg.AssetCheckResult(
        passed=not worse,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(_told(change) for change in worse) or None,
        metadata={
            "worse": len(worse),
            "better": len(changes) - len(worse),
            "regressions": dg.MetadataValue.md("\n".join(f"- {_told(change)}" for change in worse)),
        },
    )


def _told(change: Change) -> str:
    """Return a sentence about one regression."""
    since = f"since {change.since}"
    if change.engine_version_before != change.engine_version_after:
        since += f", with {change.engine_name} {change.engine_version_before} → "
        since += f"{change.engine_version_after}"
    if change.model_revision_before != change.model_revision_after:
        since += f", with model revision {change.model_revision_after}"
    by = "from zero" if change.relative is None else f"{change.relative:+.1%}"
    if change.relative_low is not None and change.relative_high is not None:
        by += f" ({change.relative_low:+.1%} to {change.relative_high:+.1%})"
    levels = f"{change.before:.4g} → {change.after:.4g}" + (
        f" {change.unit}" if change.unit else ""
    )
    return (
        f"{change.label} of {change.model_id} on {change.engine_name}, {change.hardware}, "
        f"{change.load_point or 'load not stated'}: {levels}, {by}, {since}; "
        f"{change.n_before} and {change.n_after} runs, q = {change.q_value:.3g}"
    )
