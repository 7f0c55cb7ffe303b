"""The job ``take_in_community``: it takes in what others publish."""

from inferencebench_pipeline.automation.conventions import asset_job
from inferencebench_pipeline.lifecycle.corpus.community_corpus import community_corpus

take_in_community = asset_job(
    "take_in_community",
    [community_corpus],
    description="Takes in and verifies the records that others publish under our tag.",
)
