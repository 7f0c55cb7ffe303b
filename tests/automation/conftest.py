"""An instance with Dagster's real storage, and ticks evaluated as the daemon evaluates them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import dagster as dg
import pytest


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


def schedule_tick(
    definitions: dg.Definitions, instance: dg.DagsterInstance, name: str, at: datetime
) -> dg.ScheduleExecutionData:
    """Evaluate the schedule ``name`` for the tick ``at``."""
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=at,
        repository_def=definitions.get_repository_def(),
        resources=definitions.resources,
    )
    return definitions.resolve_schedule_def(name).evaluate_tick(context)
