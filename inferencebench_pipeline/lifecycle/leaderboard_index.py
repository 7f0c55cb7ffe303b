"""``leaderboard_index``: published and verified results, side by side."""

import dagster as dg

from inferencebench_pipeline.leaderboard.index import build_index, check_rows
from inferencebench_pipeline.leaderboard.site import render_site
from inferencebench_pipeline.lifecycle.corpus import corpus_verification, published_corpus
from inferencebench_pipeline.resources import OutageResource, StoreResource


@dg.asset(
    deps=[
        published_corpus,
        dg.AssetDep(corpus_verification, partition_mapping=dg.AllPartitionMapping()),
    ],
    group_name="leaderboard",
    kinds={"duckdb", "parquet"},
    owners=["team:performance"],
    automation_condition=(
        dg.AutomationCondition.any_deps_updated().since_last_handled()
        & ~dg.AutomationCondition.in_progress()
    ),
    code_version="1",
)
def leaderboard_index(
    runs_store: StoreResource, outages: OutageResource
) -> dg.MaterializeResult[None]:
    """The index and its page, from what is published and verified, never from local runs."""
    with outages.guard():
        root = runs_store.store().root
        info = build_index(root)
        page = render_site(root)
    return dg.MaterializeResult(
        metadata={
            "rows": dg.MetadataValue.int(info.rows),
            "ranked": dg.MetadataValue.int(info.ranked),
            "comparison_groups": dg.MetadataValue.int(info.comparison_groups),
            "page": dg.MetadataValue.url(page.as_uri()),
        }
    )


@dg.asset_check(
    asset=leaderboard_index,
    name="rows_agree_with_envelopes",
    description=(
        "Every row has a verdict, no published run is missing, and each number in a row is the "
        "number in its envelope."
    ),
    blocking=True,
)
def rows_agree_with_envelopes(
    runs_store: StoreResource, outages: OutageResource
) -> dg.AssetCheckResult:
    """Compare the index on disk with the fetched envelopes."""
    with outages.guard():
        problems = check_rows(runs_store.store().root)
    return dg.AssetCheckResult(
        passed=not problems, metadata={"problems": "; ".join(problems) or "none"}
    )
