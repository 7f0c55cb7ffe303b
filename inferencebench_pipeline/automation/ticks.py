"""Ticks of recurring benchmarks: the runs they name, and the ones that nobody was there for."""

import hashlib
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from dagster import DagsterInstance
from dagster._core.scheduler.instigation import InstigatorType, ScheduleInstigatorData
from dagster._utils.schedules import schedule_execution_time_iterator
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from inferencebench_pipeline.files import write_atomically
from inferencebench_pipeline.measure import Schedule
from inferencebench_pipeline.runs import new_run_id

_LOG = logging.getLogger(__name__)

MOST_REMEMBERED: Final = 100
"""Missed ticks that are kept for each schedule, the newest."""

LOOK_BACK = timedelta(days=7)
"""A request older than this was forgotten on purpose, or its machine was away for a week."""


class Ledger(BaseModel):
    """What is kept about one schedule: the tick it heard last, and those that were missed."""

    model_config = ConfigDict(frozen=True)

    schedule: str
    last_tick: AwareDatetime
    missed: tuple[AwareDatetime, ...] = ()


def due_at(spec_name: str, tick: datetime, jitter_s: int) -> datetime:
    """Return when a tick's runs start: at the tick, or up to ``jitter_s`` seconds later."""
    drawn = hashlib.sha256(f"{spec_name}@{_seconds(tick)}:jitter".encode()).digest()
    later_s = int.from_bytes(drawn[:8]) % (jitter_s + 1)
    return datetime.fromtimestamp(_seconds(tick) + later_s, tz=UTC)


def run_id_of_tick(spec_name: str, tick: datetime, due: datetime, point: int = 1) -> str:
    """Return the id of a tick's run: the same for a tick that is tried again, so it runs once.

    Args:
        spec_name: of the spec file.
        tick: the instant that the schedule names.
        due: when the run is to start, which is the id's own time.
        point: which of the spec's runs, counted from 1.
    """
    named = f"{spec_name}@{_seconds(tick)}#{point}"
    entropy = hashlib.sha256(named.encode()).digest()[:10]
    return new_run_id(unix_ms=_seconds(due) * 1000, entropy=entropy)


def missed_ticks(
    schedule: Schedule, *, since: datetime | None, tick: datetime, now: datetime
) -> list[datetime]:
    """Return the ticks that came and went unheard, oldest first, at most the newest hundred.

    Args:
        schedule: what a spec says.
        since: the last tick that was heard, or when the schedule was switched on; None when it is
            not known, and then no earlier tick counts.
        tick: the one that is looked at now; it counts when it is too late for it.
        now: the present.
    """
    found: list[datetime] = []
    for earlier in _ticks_before(schedule, tick):
        if since is None or earlier <= since or len(found) == MOST_REMEMBERED:
            break
        found.insert(0, earlier)
    if now - tick > timedelta(seconds=schedule.grace_s):
        found.append(tick.astimezone(UTC))
    return found[-MOST_REMEMBERED:]


def switched_on_at(instance: DagsterInstance, schedule_name: str) -> datetime | None:
    """Return when a schedule was last switched on; None when Dagster does not say."""
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE):
        data = state.instigator_data
        if state.name == schedule_name and isinstance(data, ScheduleInstigatorData):
            start = data.start_timestamp
            return None if start is None else datetime.fromtimestamp(start, tz=UTC)
    return None


def load_ledger(store_root: Path, schedule_name: str) -> Ledger | None:
    """Return what is kept about a schedule; None before its first tick.

    A file that cannot be read counts as none, and is told in the log: the next tick writes it anew.
    What it had noted as missed is lost with it, and the schedule goes on.
    """
    path = _path(store_root, schedule_name)
    try:
        return Ledger.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        _LOG.warning("cannot read %s (%s); it is written anew", path, type(error).__name__)
        return None


def keep_ledger(store_root: Path, ledger: Ledger) -> None:
    """Write what is kept about a schedule.

    Raises:
        StoreError: the store cannot be written.
    """
    data = ledger.model_dump_json(indent=1).encode() + b"\n"
    write_atomically(_path(store_root, ledger.schedule), data)


def ledgers(store_root: Path) -> Iterator[Ledger]:
    """Yield what is kept about each schedule, ordered by name, as far as it can be read."""
    for path in sorted((store_root / "schedules").glob("*.json")):
        if (found := load_ledger(store_root, path.stem)) is not None:
            yield found


def _path(store_root: Path, schedule_name: str) -> Path:
    return store_root / "schedules" / f"{schedule_name}.json"


def _ticks_before(schedule: Schedule, tick: datetime) -> Iterator[datetime]:
    """Yield the ticks before ``tick``, newest first, as Dagster's scheduler counts them."""
    for earlier in schedule_execution_time_iterator(
        tick.timestamp() - 1, schedule.cron, schedule.timezone, ascending=False
    ):
        yield earlier.astimezone(UTC)


def _seconds(instant: datetime) -> int:
    return int(instant.timestamp())
