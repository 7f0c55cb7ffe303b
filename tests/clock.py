"""Tests that speak of today or of this hour, started shortly before it ends."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final

_A_TEST_TAKES_AT_MOST: Final = timedelta(seconds=60)


def today() -> str:
    """Today's date in UTC, as partitions are named."""
    return datetime.now(UTC).date().isoformat()


def the_last_hour() -> datetime:
    """The latest full hour, which is the latest tick of an hourly schedule."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def until_the_hour_holds(now: datetime) -> float:
    """Return the seconds to wait so that a test sees one hour, and so one day, to its end."""
    over = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    left = over - now
    return left.total_seconds() if left <= _A_TEST_TAKES_AT_MOST else 0.0


def wait_until_the_hour_holds() -> None:
    """Wait out the last minute of an hour."""
    time.sleep(until_the_hour_holds(datetime.now(UTC)))
