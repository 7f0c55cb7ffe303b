"""Ticks of recurring benchmarks: the runs that a tick names, and the record of missed ticks."""

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
"""The most missed ticks that are kept for each schedule; older ones are dropped."""

LOOK_BACK = timedelta(days=7)
"""Requests older than this are not started: their machine was away for a week, or on purpose."""


class Ledger(BaseModel):
    """The record of one schedule: the last tick that was evaluated, and the missed ones."""

    model_config = ConfigDict(frozen=True)

    schedule: str
    last_tick: AwareDatetime
    missed: tuple[AwareDatetime, ...] = ()


def due_at(spec_name: str, tick: datetime, jitter_s: int) -> datetime:
    """Return the time at which a tick's runs start: up to ``jitter_s`` seconds after the tick.

    The delay is derived from the tick, so that a tick that is tried again names the same time.
    """
    drawn = hashlib.sha256(f"{spec_name}@{_seconds(tick)}:jitter".encode()).digest()
    # 64 bits against a day of seconds: the remainder favours no second that anybody could notice.
    later_s = int.from_bytes(drawn[:8]) % (jitter_s + 1)
    return datetime.fromtimestamp(_seconds(tick) + later_s, tz=UTC)


def run_id_of_tick(spec_name: str, tick: datetime, due: datetime, point: int = 1) -> str:
    """Return the id of a tick's run, which is the same when the tick is tried again.

    Args:
        spec_name: the name of the spec file, without its suffix.
        tick: the instant of the tick.
        due: the time at which the run starts, which becomes the time in the id.
        point: the number of the run among those of the spec, counted from 1.
    """
    named = f"{spec_name}@{_seconds(tick)}#{point}"
    entropy = hashlib.sha256(named.encode()).digest()[:10]
    return new_run_id(unix_ms=_seconds(due) * 1000, entropy=entropy)


def missed_ticks(
    schedule: Schedule, *, since: datetime | None, tick: datetime, now: datetime
) -> list[datetime]:
    """Return the ticks that were missed, oldest first, and no more than the newest 100.

    Args:
        schedule: the schedule of a spec.
        since: the last tick that was evaluated, or the time at which the schedule was switched
            on. None when neither is known, in which case no earlier tick counts.
        tick: the tick at hand, which counts when it is later than the grace period allows.
        now: the current time.
    """
    found: list[datetime] = []
    for earlier in _ticks_before(schedule, tick):
        # The newest comes first, so the first tick that does not count ends the search.
        if since is None or earlier <= since or len(found) == MOST_REMEMBERED:
            break
        found.insert(0, earlier)
    if now - tick > timedelta(seconds=schedule.grace_s):
        found.append(tick.astimezone(UTC))
    return found[-MOST_REMEMBERED:]


def switched_on_at(instance: DagsterInstance, schedule_name: str) -> datetime | None:
    """Return the time at which a schedule was last switched on, or None if it is not known."""
    # Dagster's public interface does not say when a schedule was switched on.
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE):
        data = state.instigator_data
        if state.name == schedule_name and isinstance(data, ScheduleInstigatorData):
            start = data.start_timestamp
            return None if start is None else datetime.fromtimestamp(start, tz=UTC)
    return None


def load_ledger(store_root: Path, schedule_name: str) -> Ledger | None:
    """Return the record of a schedule, or None before its first tick.

    A file that cannot be read counts as absent and is reported in the log. The next tick replaces
    it; the missed ticks that it listed are lost, and the schedule goes on.
    """
    path = _path(store_root, schedule_name)
    try:
        return Ledger.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        _LOG.warning("cannot read %s (%s); the next tick replaces it", path, type(error).__name__)
        return None


def keep_ledger(store_root: Path, ledger: Ledger) -> None:
    """Write the record of a schedule.

    Raises:
        StoreError: the store cannot be written.
    """
    data = ledger.model_dump_json(indent=1).encode() + b"\n"
    write_atomically(_path(store_root, ledger.schedule), data)


def ledgers(store_root: Path) -> Iterator[Ledger]:
    """Yield the record of each schedule that can be read, in the order of their names."""
    for path in sorted((store_root / "schedules").glob("*.json")):
        if (found := load_ledger(store_root, path.stem)) is not None:
            yield found


def _path(store_root: Path, schedule_name: str) -> Path:
    return store_root / "schedules" / f"{schedule_name}.json"


def _ticks_before(schedule: Schedule, tick: datetime) -> Iterator[datetime]:
    """Yield the ticks before ``tick``, newest first, as Dagster's scheduler computes them."""
    # It yields its start as well, so it begins a second before
    # ``tick``; cron ticks are minutes apart.
    for earlier in schedule_execution_time_iterator(
        tick.timestamp() - 1, schedule.cron, schedule.timezone, ascending=False
    ):
        yield earlier.astimezone(UTC)


def _seconds(instant: datetime) -> int:
    return int(instant.timestamp())
