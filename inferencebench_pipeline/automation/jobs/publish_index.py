"""The job ``publish_index``: it publishes the index of the leaderboard."""

from inferencebench_pipeline.automation.conventions import asset_job
from inferencebench_pipeline.lifecycle.leaderboard.index_dataset import index_dataset
from inferencebench_pipeline.lifecycle.leaderboard.leaderboard_index import leaderboard_index

publish_index = asset_job(
    "publish_index",
    [leaderboard_index, index_dataset],
    description="Builds the index of the leaderboard and publishes it as a dataset that "
    "anybody can query.",
)
