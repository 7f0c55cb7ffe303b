"""The job ``reverify``: it verifies again what was published on one day."""

from inferencebench_pipeline.automation.conventions import asset_job
from inferencebench_pipeline.lifecycle.corpus.corpus_verification import corpus_verification

reverify = asset_job(
    "reverify",
    [corpus_verification],
    description="Verifies again everything that was published on a day. Backfill it to verify "
    "every day again.",
)
