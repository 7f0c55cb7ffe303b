"""The two partitionings: the register of runs, and the days the corpus is re-verified by."""

from collections.abc import Callable
from typing import Any

import dagster as dg
from dagster import DagsterEvent, DagsterEventType
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

from inferencebench_pipeline.resources import NO_FIELD

PARTITION_TAG = "dagster/partition"
"""The tag by which Dagster marks a run with its partition."""

runs = dg.DynamicPartitionsDefinition(name="runs")
"""Runs this deployment made or took in; keys are UUIDv7 run ids (Dagster validates nothing)."""

FIRST_DAY = "2026-01-01"

days = dg.DailyPartitionsDefinition(start_date=FIRST_DAY, timezone="UTC", end_offset=1)
"""Days on which Hub repositories were created. ``end_offset`` lets today be verified today."""


def per_run_check(
    *, asset: dg.AssetsDefinition, name: str, description: str, blocking: bool = True
) -> Callable[[Callable[..., dg.AssetCheckResult]], dg.AssetChecksDefinition]:
    """Return the decorator of a check whose result is kept for each run.

    A failing blocking check then stops that run and no other.
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
    """Record a check's result for one partition, from a run that is not about that one alone.

    A run over a range of partitions stores a single evaluation without a partition, so the UI
    would not show which of them failed. The event belongs to the Dagster run ``run_id``: storage
    keeps one evaluation of a check and partition per run, hence but one ever outside of all runs
    (``report_runless_asset_event``). It is about the partition's latest materialisation: the UI
    shows no result that is about none.
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
    """Return a check's decorator; ``partitions_def`` on checks is a preview API of Dagster 1.13.

    This is the one place that uses it.
    """
    return lambda function: dg.asset_check(config_schema=NO_FIELD, **settings)(function)
