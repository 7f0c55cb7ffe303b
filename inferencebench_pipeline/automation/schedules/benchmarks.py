"""Schedules: one for each spec that repeats itself, and the verification of yesterday's records."""

import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from dagster._core.storage.tags import RUN_KEY_TAG

from inferencebench_pipeline.automation.instance.pools import GPU, is_busy
from inferencebench_pipeline.automation.jobs.scheduled_benchmark import scheduled_benchmark
from inferencebench_pipeline.automation.ticks import (
    MOST_REMEMBERED,
    Ledger,
    due_at,
    keep_ledger,
    load_ledger,
    missed_ticks,
    switched_on_at,
)
from inferencebench_pipeline.measure import Schedule, SpecError, load_plan
from inferencebench_pipeline.resources import RunStoreResource

_LOG = logging.getLogger(__name__)


def benchmark_schedules(specs: Path) -> list[dg.ScheduleDefinition]:
    """Return a schedule for each spec in ``specs`` that has one; made when the location loads.

    A file that cannot be read gets none, and is told in the log: one mistake in one spec must not
    stop the others, nor the sensors. A launch of it, and ``inferencebench spec check``, say more.
    """
    return [_schedule(spec_name, schedule) for spec_name, schedule in _scheduled(specs)]


def _scheduled(specs: Path) -> Iterator[tuple[str, Schedule]]:
    taken: dict[str, Path] = {}
    for path in sorted(specs.glob("*.yaml")):
        try:
            schedule = load_plan(path).schedule
        except SpecError as error:
            _LOG.error("no schedule from this spec: %s", error)
            continue
        if schedule is None:
            continue
        other = taken.setdefault(schedule_name(path.stem), path)
        if other is path:
            yield path.stem, schedule
        else:
            _LOG.error("no schedule from %s: its name is that of %s; rename one", path, other)


def schedule_name(spec_name: str) -> str:
    """Return the name of a spec's schedule; Dagster's names are letters, digits and underscores."""
    return "benchmark_" + re.sub(r"[^A-Za-z0-9]", "_", spec_name)


def _schedule(spec_name: str, schedule: Schedule) -> dg.ScheduleDefinition:
    name = schedule_name(spec_name)

    @dg.schedule(
        name=name,
        job=scheduled_benchmark,
        cron_schedule=schedule.cron,
        execution_timezone=schedule.timezone,
        default_status=(
            dg.DefaultScheduleStatus.RUNNING
            if schedule.enabled
            else dg.DefaultScheduleStatus.STOPPED
        ),
        description=f"Repeats the benchmark {spec_name}, as the schedule in its spec says.",
        tags={"spec": spec_name},
    )
    def repeat(
        context: dg.ScheduleEvaluationContext, run_store: RunStoreResource
    ) -> dg.RunRequest | dg.SkipReason:
        # In UTC: Python finds an instant of an hour that clocks pass twice equal to nothing.
        tick = context.scheduled_execution_time.astimezone(UTC)
        run_key = f"{spec_name}@{int(tick.timestamp())}"
        # What was asked for before the daemon died was not missed, the tick is only tried again.
        asked = context.instance.get_runs_count(dg.RunsFilter(tags={RUN_KEY_TAG: run_key}))
        now = tick if asked else datetime.now(tz=UTC)
        root = run_store.root
        missed = _heard(context.instance, root, name, schedule, tick, now)
        for one in missed:
            context.log.warning("missed: the tick of %s; it is not made up for", one.isoformat())
        if tick in missed:
            return dg.SkipReason(
                f"missed: nobody was there for this tick within {schedule.grace_s} s, and it is "
                "not run at another hour"
            )
        if schedule.when_busy == "skip" and is_busy(context.instance, GPU):
            return dg.SkipReason(f"every slot of the pool {GPU} is taken or waited for")
        due = due_at(spec_name, tick, schedule.jitter_s)
        config = {"spec": spec_name, "tick": tick.isoformat(), "due": due.isoformat()}
        return dg.RunRequest(
            run_key=run_key,
            run_config={"ops": {"request_scheduled_run": {"config": config}}},
        )

    return repeat


def _heard(
    instance: dg.DagsterInstance,
    root: Path,
    name: str,
    schedule: Schedule,
    tick: datetime,
    now: datetime,
) -> list[datetime]:
    """Write down that ``tick`` was heard; return the ticks that were missed since the last one.

    A tick that is tried again, after a crash, finds nothing missed before it that is not written
    down already.
    """
    ledger = load_ledger(root, name)
    last = ledger.last_tick if ledger else None
    known = [moment for moment in (last, switched_on_at(instance, name)) if moment is not None]
    since = max(known, default=None)
    if since is not None and since > now:
        since = None  # a clock was ahead when it was written down: nothing before is known
    missed = missed_ticks(schedule, since=since, tick=tick, now=now)
    remembered = sorted({*(ledger.missed if ledger else ()), *missed})[-MOST_REMEMBERED:]
    keep_ledger(root, Ledger(schedule=name, last_tick=tick, missed=tuple(remembered)))
    return missed
