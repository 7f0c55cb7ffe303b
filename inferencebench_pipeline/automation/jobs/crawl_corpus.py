"""The job ``crawl_corpus``: it takes stock of what is published."""

from inferencebench_pipeline.automation.conventions import asset_job
from inferencebench_pipeline.lifecycle.corpus.published_corpus import published_corpus

crawl_corpus = asset_job(
    "crawl_corpus",
    [published_corpus],
    description="Takes stock of everything that the Hub holds under our namespace.",
)
