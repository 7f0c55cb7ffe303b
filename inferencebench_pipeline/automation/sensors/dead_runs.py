"""``dead_runs``: a run whose process is gone is declared failed, so that it is run again."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import dagster as dg
from dagster._core.launcher import DefaultRunLauncher

JUST_STARTED: Final = timedelta(minutes=2)
"""A run younger than this may not have said yet which process it is."""
_PROC: Final = Path("/proc")
_CLOCK_TOLERANCE_S: Final = 5.0


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends runs whose process is gone without a word, as after a reset of the machine: "
    "they would hold their pools, and what waits for them, for ever. Then they are run again.",
)
def dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Look at the runs that count as started; only Dagster's default launcher needs this.

    That launcher's runs are processes of the host of the code location, where this is evaluated,
    and nobody asks after them once the code server that started them has gone, too. What is found
    is reported, not asked for: the daemon's run retries do the rest.
    """
    if not isinstance(context.instance.run_launcher, DefaultRunLauncher):
        return dg.SkipReason(_elsewhere(context.instance))
    ended = []
    for run in _silent(context.instance, datetime.now(tz=UTC) - JUST_STARTED):
        context.instance.report_run_failed(run, "Its process is gone, and said nothing at the end.")
        ended.append(run.run_id)
    if ended:
        return dg.SkipReason(f"declared failed, since their processes are gone: {', '.join(ended)}")
    return dg.SkipReason("every run that counts as started has a process")


def _elsewhere(instance: dg.DagsterInstance) -> str:
    """Return who notices a dead run of a launcher whose runs are no processes of this host."""
    launcher = instance.run_launcher
    name = type(launcher).__name__
    limit_s = instance.run_monitoring_max_runtime_seconds if instance.run_monitoring_enabled else 0
    if limit_s > 0:
        last = f"max_runtime_seconds ends it after {limit_s} s"
    else:
        last = "nothing ends it: set run_monitoring.max_runtime_seconds"
    if launcher.supports_check_run_worker_health and instance.run_monitoring_enabled:
        return f"the {name} asks its engine after its runs; where that does not know either, {last}"
    return f"the {name} asks nobody after its runs; of one that is dead, {last}"


def _silent(instance: dg.DagsterInstance, before: datetime) -> Iterator[dg.DagsterRun]:
    """Yield the runs that started before ``before`` and whose process does not live."""
    started = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING],
        updated_before=before,
    )
    for record in instance.get_run_records(started):
        run = record.dagster_run
        pid = _process_of(instance, run.run_id)
        if pid is not None and not _lives(pid, record.start_time):
            yield run


def _process_of(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """Return the process that a run said it is; None when it never said."""
    entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    for entry in entries:
        event = entry.dagster_event
        metadata = event.engine_event_data.metadata if event is not None else {}
        if "pid" in metadata:
            return int(str(metadata["pid"].value))
    return None


def _lives(pid: int, started_at: float | None) -> bool:
    """Return whether ``pid`` is a process that began before the run did, not one with its number.

    Where there is no ``/proc`` every process counts as living.
    """
    if not _PROC.is_dir():
        return True
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        boot_s = next(
            int(line.split()[1])
            for line in (_PROC / "stat").read_text().splitlines()
            if line.startswith("btime")
        )
    except (FileNotFoundError, ProcessLookupError):
        return False
    if fields[0] in {"Z", "X"}:
        return False
    began_s = boot_s + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return started_at is None or began_s <= started_at + _CLOCK_TOLERANCE_S
