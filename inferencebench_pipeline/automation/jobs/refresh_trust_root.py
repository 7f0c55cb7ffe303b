"""The job ``refresh_trust_root``: it refreshes the public-good trust root."""

from inferencebench_pipeline.automation.conventions import asset_job
from inferencebench_pipeline.lifecycle.corpus.trust_root import trust_root

refresh_trust_root = asset_job(
    "refresh_trust_root",
    [trust_root],
    description="Fetches the current public-good trust root through TUF, and shows what changed.",
)
