"""Ticks evaluated as the daemon evaluates them: with the deployment's resources and a reference.

Each is evaluated in a context that is left. One that the garbage collector leaves puts the storage
of an instance that is gone back to where Dagster looks for it when the next definitions are loaded.
"""

from __future__ import annotations

from datetime import datetime

import dagster as dg
from dagster._core.definitions.sensor_definition import SensorExecutionData


def schedule_tick(
    definitions: dg.Definitions, instance: dg.DagsterInstance, name: str, at: datetime
) -> dg.ScheduleExecutionData:
    """Evaluate the schedule ``name`` for the tick ``at``."""
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=at,
        repository_def=definitions.get_repository_def(),
        resources=definitions.resources,
    ) as context:
        return definitions.resolve_schedule_def(name).evaluate_tick(context)


def sensor_tick(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    name: str,
    cursor: str | None = None,
) -> SensorExecutionData:
    """Evaluate a tick of the sensor ``name``."""
    sensor = definitions.get_repository_def().get_sensor_def(name)
    with dg.build_sensor_context(
        instance=instance,
        instance_ref=instance.get_ref(),
        definitions=definitions,
        sensor_name=name,
        cursor=cursor,
        resources=definitions.resources,
    ) as context:
        return sensor.evaluate_tick(context)
