"""The conventions of our jobs and schedules, so that each definition states what is its own.

``asset_job(name, assets, description=...)`` defines a job over assets, and
``utc_schedule(name=..., job=..., cron_schedule=..., description=...)`` a schedule of a job.
"""

from functools import partial
from typing import Final

import dagster as dg

from inferencebench_pipeline.resources import IN_PROCESS

asset_job: Final = partial(dg.define_asset_job, executor_def=IN_PROCESS)
"""Defines a job over assets whose steps run one after the other in the process of the run."""

utc_schedule: Final = partial(dg.ScheduleDefinition, execution_timezone="UTC")
"""Defines a schedule whose cron expression is read in UTC, as all times of the pipeline are."""
