"""An instance with Dagster's real storage, and ticks evaluated as the daemon evaluates them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import dagster as dg
import pytest
from dagster._core.storage.defs_state.base import _current_storage


@pytest.fixture(autouse=True)
def _no_storage_of_a_dead_instance() -> None:
    """Forget which instance was entered last.

    Dagster keeps its storage in a context variable, and an instance that is left by the garbage
    collector puts back there what was before it, which may be the storage of one that is gone.
    """
    _current_storage.set(None)


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
