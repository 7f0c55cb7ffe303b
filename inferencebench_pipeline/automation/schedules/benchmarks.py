"""The schedules ``benchmark_<spec>``: one for each spec that repeats itself."""

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
    """Return a schedule for each spec in ``specs`` that asks for one.

    A file that cannot be read gets none and is reported in the log: a mistake in one spec must not
    stop the other schedules and the sensors. ``inferencebench spec check`` says what is wrong.
    """
    return [_schedule(spec_name, schedule) for spec_name, schedule in _scheduled(specs)]


def _scheduled(specs: Path) -> Iterator[tuple[str, Schedule]]:
    taken: dict[str, Path] = {}
    for path in sorted(specs.glob("*.yaml")):
        try:
            schedule = load_plan(path).schedule
        except SpecError as error:
            _LOG.error("a spec gets no schedule: %s", error)
            continue
        if schedule is None:
            continue
        other = taken.setdefault(schedule_name(path.stem), path)
        if other is path:
            yield path.stem, schedule
        else:
            _LOG.error(
                "%s gets no schedule: its name would be that of %s; rename one of them",
                path,
                other,
            )


def schedule_name(spec_name: str) -> str:
    """Return the name of a spec's schedule.

    Dagster allows letters, digits and underscores; every other character becomes an underscore.
    """
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
        description=f"Repeats the benchmark {spec_name} at the times that its spec states.",
        tags={"spec": spec_name},
    )
    def repeat(
        context: dg.ScheduleEvaluationContext, run_store: RunStoreResource
    ) -> dg.RunRequest | dg.SkipReason:
        # Compared in UTC: in local time, instants of the hour that clocks pass twice equal nothing.
        tick = context.scheduled_execution_time.astimezone(UTC)
        run_key = f"{spec_name}@{int(tick.timestamp())}"
        # A tick that was answered before the daemon died is tried again, and was not missed.
        asked = context.instance.get_runs_count(dg.RunsFilter(tags={RUN_KEY_TAG: run_key}))
        now = tick if asked else datetime.now(tz=UTC)
        root = run_store.root
        # Recorded before anything is decided, since a tick that is skipped was not missed.
        missed = _heard(context.instance, root, name, schedule, tick, now)
        for one in missed:
            context.log.warning("the tick of %s was missed and is not made up for", one.isoformat())
        if tick in missed:
            return dg.SkipReason(
                f"the tick was missed: it was evaluated more than {schedule.grace_s} s after its "
                "time, and a benchmark does not run at another hour"
            )
        # Asked at the tick: a benchmark that waits in a queue
        # would run at an hour that nobody chose.
        if schedule.when_busy == "skip" and is_busy(context.instance, GPU):
            return dg.SkipReason(
                f"every slot of the pool {GPU} is taken, or other runs wait for it"
            )
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
    """Record that ``tick`` was evaluated, and return the ticks that were missed since the last.

    A tick that is tried again after a crash returns only missed ticks that are recorded already.
    """
    ledger = load_ledger(root, name)
    last = ledger.last_tick if ledger else None
    known = [moment for moment in (last, switched_on_at(instance, name)) if moment is not None]
    # Ticks before a schedule was switched on were nobody's to hear, whatever the ledger says.
    since = max(known, default=None)
    if since is not None and since > now:
        since = None  # a clock was ahead when it was recorded, so no earlier tick is known
    missed = missed_ticks(schedule, since=since, tick=tick, now=now)
    remembered = sorted({*(ledger.missed if ledger else ()), *missed})[-MOST_REMEMBERED:]
    keep_ledger(root, Ledger(schedule=name, last_tick=tick, missed=tuple(remembered)))
    return missed
