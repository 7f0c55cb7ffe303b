"""The job ``examine_logs``: it examines the transparency logs."""

from inferencebench_pipeline.automation.conventions import asset_job
from inferencebench_pipeline.lifecycle.corpus.transparency_logs import transparency_logs

examine_logs = asset_job(
    "examine_logs",
    [transparency_logs],
    description="Proves that the transparency logs have only grown, and looks for entries under "
    "our identities that we did not make.",
)
