"""The job ``publish_run``: all stages in the life of one run."""

from typing import Final

from inferencebench_pipeline.automation.conventions import asset_job
from inferencebench_pipeline.lifecycle.life_of_a_run.benchmark_run import benchmark_run
from inferencebench_pipeline.lifecycle.life_of_a_run.envelope import envelope
from inferencebench_pipeline.lifecycle.life_of_a_run.hub_dataset import hub_dataset
from inferencebench_pipeline.lifecycle.life_of_a_run.model_card_backlink import model_card_backlink
from inferencebench_pipeline.lifecycle.life_of_a_run.signature import signature
from inferencebench_pipeline.lifecycle.life_of_a_run.traces import traces

_STAGES = (benchmark_run, traces, envelope, signature, hub_dataset, model_card_backlink)
LIFE: Final = frozenset(stage.key for stage in _STAGES)
"""The asset keys of the stages of a run's life."""

publish_run = asset_job(
    "publish_run",
    _STAGES,
    description="Takes one run through its whole life, in one process: it measures, signs, "
    "publishes, and links back from the model's card.",
)
