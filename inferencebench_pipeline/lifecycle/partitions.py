"""The two partitionings: the register of runs, and the days the corpus is re-verified by."""

from collections.abc import Callable
from typing import Any

import dagster as dg

PARTITION_TAG = "dagster/partition"
"""The tag by which Dagster marks a run with its partition."""

runs = dg.DynamicPartitionsDefinition(name="runs")
"""Runs this deployment made or took in; keys are UUIDv7 run ids (Dagster validates nothing)."""

days = dg.DailyPartitionsDefinition(start_date="2026-01-01", timezone="UTC", end_offset=1)
"""Days on which Hub repositories were created. ``end_offset`` lets today be verified today."""


def per_run_check(
    *, asset: dg.AssetsDefinition, name: str, description: str, blocking: bool = True
) -> Callable[[Callable[..., dg.AssetCheckResult]], dg.AssetChecksDefinition]:
    """Return the decorator of a check whose result is kept for each run.

    A failing blocking check then stops that run and no other. ``partitions_def`` on checks is a
    preview API of Dagster 1.13; this is the one place that uses it.
    """

    def decorate(function: Callable[..., Any]) -> dg.AssetChecksDefinition:
        return dg.asset_check(
            asset=asset, name=name, description=description, blocking=blocking, partitions_def=runs
        )(function)

    return decorate
