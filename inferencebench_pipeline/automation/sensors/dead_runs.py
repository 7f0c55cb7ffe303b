"""The sensor ``dead_runs``: it marks a run as failed when its process has disappeared."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import dagster as dg
from dagster._core.launcher import DefaultRunLauncher

JUST_STARTED: Final = timedelta(minutes=2)
"""A run younger than this may not have reported its process yet."""
_PROC: Final = Path("/proc")
_CLOCK_TOLERANCE_S: Final = 5.0
"""The start times of a process and of its run come from different clocks."""


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Marks runs as failed when their process has disappeared (for example after a "
    "reboot), so that they release their pool slots and are retried.",
)
def dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Look at the runs that count as started, where Dagster's default launcher started them.

    The runs of that launcher are processes on the host of the code location, where this sensor is
    evaluated, and nobody looks after them once the code server that started them is gone too. The
    sensor reports the failure and requests nothing, because the daemon's run retries do.
    """
    if not isinstance(context.instance.run_launcher, DefaultRunLauncher):
        return dg.SkipReason(_elsewhere(context.instance))
    ended = []
    for run in _silent(context.instance, datetime.now(tz=UTC) - JUST_STARTED):
        context.instance.report_run_failed(run, "Its process has disappeared.")
        ended.append(run.run_id)
    if ended:
        return dg.SkipReason(
            f"marked as failed, since their processes have disappeared: {', '.join(ended)}"
        )
    return dg.SkipReason("no dead runs")


def _elsewhere(instance: dg.DagsterInstance) -> str:
    """Return a sentence about who ends a dead run when another launcher started it."""
    launcher = instance.run_launcher
    name = type(launcher).__name__
    limit_s = instance.run_monitoring_max_runtime_seconds if instance.run_monitoring_enabled else 0
    if limit_s > 0:
        last = f"run_monitoring.max_runtime_seconds ends a dead run after {limit_s} s"
    else:
        last = "nothing ends a dead run; set run_monitoring.max_runtime_seconds"
    if launcher.supports_check_run_worker_health and instance.run_monitoring_enabled:
        return f"the {name} checks the health of its runs itself; where it cannot tell, {last}"
    return f"the {name} does not check the health of its runs; {last}"


def _silent(instance: dg.DagsterInstance, before: datetime) -> Iterator[dg.DagsterRun]:
    """Yield the runs that started before ``before`` and whose process does not exist."""
    started = dg.RunsFilter(
        # A run that is only starting has reported no process; Dagster's start timeout ends it.
        statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING],
        updated_before=before,
    )
    for record in instance.get_run_records(started):
        run = record.dagster_run
        pid = _process_of(instance, run.run_id)
        # A run that never reported its process is left alone: nothing tells that it died.
        if pid is not None and not _lives(pid, record.start_time):
            yield run


def _process_of(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """Return the id of the process that a run reported, or None if it reported none."""
    entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    for entry in entries:
        event = entry.dagster_event
        metadata = event.engine_event_data.metadata if event is not None else {}
        if "pid" in metadata:
            return int(str(metadata["pid"].value))
    return None


def _lives(pid: int, started_at: float | None) -> bool:
    """Return whether ``pid`` is the process of the run, and not a later one with the same number.

    Every process counts as living where there is no ``/proc``.
    """
    if not _PROC.is_dir():
        return True
    try:
        # The name of the program stands in parentheses, and may hold spaces and parentheses.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        boot_s = next(
            int(line.split()[1])
            for line in (_PROC / "stat").read_text().splitlines()
            if line.startswith("btime")
        )
    except (FileNotFoundError, ProcessLookupError):
        return False
    if fields[0] in {"Z", "X"}:  # a zombie, or dead
        return False
    # See proc(5): field 22 is the start in clock ticks after
    # boot; field 3, the state, is first here.
    began_s = boot_s + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    # A process that began after the run is another one, which got the same number later.
    return started_at is None or began_s <= started_at + _CLOCK_TOLERANCE_S
