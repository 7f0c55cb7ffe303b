"""The job ``state_corpus``: it signs one statement over the whole corpus."""

from inferencebench_pipeline.automation.conventions import asset_job
from inferencebench_pipeline.lifecycle.corpus.corpus_statement import corpus_statement

state_corpus = asset_job(
    "state_corpus",
    [corpus_statement],
    description="Signs and publishes one statement over every verified envelope.",
)
