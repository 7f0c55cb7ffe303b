"""The job ``rebuild_leaderboard``: it builds the leaderboard from the published corpus."""

from inferencebench_pipeline.automation.conventions import asset_job
from inferencebench_pipeline.lifecycle.leaderboard.leaderboard_index import leaderboard_index

rebuild_leaderboard = asset_job(
    "rebuild_leaderboard",
    [leaderboard_index],
    description="Builds the index of the leaderboard and its pages from the records that are "
    "published and verified.",
)
