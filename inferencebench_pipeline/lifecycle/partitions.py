"""The two partitionings, which are the runs and the days of the corpus, and their checks."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import dagster as dg
from dagster import DagsterEvent, DagsterEventType
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

from inferencebench_pipeline.resources import NO_FIELD

PARTITION_TAG = "dagster/partition"
"""The tag by which Dagster marks a run with its partition."""

runs = dg.DynamicPartitionsDefinition(name="runs")
"""The runs that this deployment made or took in. The keys are run ids (UUIDv7).

Dagster accepts any text as a key, so whoever reads one has to check it.
"""

run_stage: Final = partial(
    dg.asset,
    partitions_def=runs,
    group_name="life_of_a_run",
    owners=["team:performance"],
)
"""Defines a stage in the life of a run, as an asset with a partition for each run."""

FIRST_DAY = "2026-01-01"
"""The first day of the corpus, before which nothing was published."""

days = dg.DailyPartitionsDefinition(start_date=FIRST_DAY, timezone="UTC", end_offset=1)
"""The days on which Hub repositories were created; ``end_offset`` includes the present day."""


def per_run_check(
    *, asset: dg.AssetsDefinition, name: str, description: str, blocking: bool = True
) -> Callable[[Callable[..., dg.AssetCheckResult]], dg.AssetChecksDefinition]:
    """Return the decorator of a check whose result is kept for each run.

    When a blocking check of a run fails, later stages of that run do not start. Other runs go on.
    """
    return _partitioned_check(
        asset=asset, name=name, description=description, blocking=blocking, partitions_def=runs
    )


def per_day_check(
    *, asset: dg.AssetsDefinition, name: str, description: str
) -> Callable[[Callable[..., dg.AssetCheckResult]], dg.AssetChecksDefinition]:
    """Return the decorator of a check whose result is kept for each day of the corpus."""
    return _partitioned_check(
        asset=asset, name=name, description=description, blocking=False, partitions_def=days
    )


def report_partition(
    instance: dg.DagsterInstance,
    run_id: str,
    check: dg.AssetCheckKey,
    partition_key: str,
    result: dg.AssetCheckResult,
) -> None:
    """Record a check's result for one partition, from a Dagster run over several partitions.

    Such a run stores a single evaluation without a partition, and the UI would not show which of
    the partitions failed. The event belongs to the Dagster run ``run_id``, because the storage
    keeps one evaluation of a check and partition for each run, and so but one for all events
    without a run (``report_runless_asset_event``). It names the latest materialisation of the
    partition, because the UI shows no result without one.
    """
    about = dg.AssetRecordsFilter(asset_key=check.asset_key, asset_partitions=[partition_key])
    latest = instance.fetch_materializations(about, limit=1).records
    evaluation = dg.AssetCheckEvaluation(
        asset_key=check.asset_key,
        check_name=check.name,
        passed=bool(result.passed),
        description=result.description,
        metadata=dict(result.metadata),
        partition=partition_key,
        target_materialization_data=AssetCheckEvaluationTargetMaterializationData(
            storage_id=latest[0].storage_id,
            run_id=latest[0].run_id,
            timestamp=latest[0].timestamp,
        )
        if latest
        else None,
    )
    instance.report_dagster_event(
        DagsterEvent(
            event_type_value=DagsterEventType.ASSET_CHECK_EVALUATION.value,
            event_specific_data=evaluation,
            job_name="",
        ),
        run_id=run_id,
    )


def _partitioned_check(
    **settings: Any,  # noqa: ANN401  # handed on to Dagster
) -> Callable[[Callable[..., Any]], dg.AssetChecksDefinition]:
    """Return the decorator of a check with partitions.

    ``partitions_def`` on checks is a preview API of Dagster 1.13, and this is the only place that
    uses it.
    """
    return lambda function: dg.asset_check(config_schema=NO_FIELD, **settings)(function)
