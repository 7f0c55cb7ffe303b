"""The sensor ``heartbeat``: it tells a monitor outside once a minute that the daemon is alive.

No sensor can report that the daemon is dead, since the daemon starts all sensors. A monitor outside
expects this call and raises the alarm when it does not come.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg
from dagster._core.scheduler.instigation import TickStatus
from dagster._daemon.controller import get_daemon_statuses

from inferencebench_pipeline.alerts import HeartbeatNotSentError, send_heartbeat
from inferencebench_pipeline.automation.sensors.alerts import alerts
from inferencebench_pipeline.automation.tick_history import instigators
from inferencebench_pipeline.settings import alert_addresses, heartbeat_url

SILENT_AFTER: Final = timedelta(minutes=5)
"""A part of the daemon that has been silent for this long hangs."""


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Calls INFERENCEBENCH_HEARTBEAT_URL once a minute, so that a monitor elsewhere "
    "notices when the daemon, the code server or the database is dead. It does not call while "
    "alerts cannot be sent.",
)
def heartbeat(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Call the monitor, unless a part of the daemon hangs or alerts cannot be sent."""
    url = heartbeat_url()
    if url is None:
        return dg.SkipReason(
            "INFERENCEBENCH_HEARTBEAT_URL is not set, so there is no monitor to call"
        )
    if wrong := next(_wrong(context), None):
        return dg.SkipReason(f"not sent, so that the monitor raises the alarm: {wrong}")
    try:
        send_heartbeat(url)
    except HeartbeatNotSentError as error:
        return dg.SkipReason(str(error))
    return dg.SkipReason(f"sent at {datetime.now(tz=UTC):%H:%M:%S} UTC")


def _wrong(context: dg.SensorEvaluationContext) -> Iterator[str]:
    """Yield a sentence for each fault that keeps the heartbeat from being sent."""
    instance = context.instance
    statuses = get_daemon_statuses(
        instance,
        instance.get_required_daemon_types(),
        heartbeat_tolerance_seconds=SILENT_AFTER.total_seconds(),
        # A part whose work fails is alive, and alerts can tell of it. A silent part tells nothing.
        ignore_errors=True,
    )
    for kind, status in statuses.items():
        # A part without a heartbeat was just started, or runs in no process of this daemon.
        if status.last_heartbeat is not None and not status.healthy:
            yield f"the daemon's part {kind} has been silent for five minutes"
    if not alert_addresses() or context.repository_def is None:
        return
    origin = context.code_location_origin
    location = origin.location_name if origin else None
    for state in instigators(instance, context.repository_def, location):
        if state.name != alerts.name:
            continue
        last = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        if last and last[0].status is TickStatus.FAILURE:
            yield "the last tick of the sensor alerts failed"
