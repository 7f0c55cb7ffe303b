"""Deadlines for everything that a piece of work waits for, however many waits it takes.

A time limit of each read bounds nothing: whoever sends a byte now and then is never late. Here the
instant is set once, and every wait below it gets what is left.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

# The waits lie deep in libraries that take no argument of ours, so the deadline is in the context.
_ENDS_AT_S: Final[ContextVar[float]] = ContextVar("ends_at_s", default=math.inf)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Have every question that this thread asks meanwhile answered in ``seconds`` from now.

    Of deadlines that are nested the earliest holds.
    """
    token = _ENDS_AT_S.set(ends_at_s(seconds))
    try:
        yield
    finally:
        _ENDS_AT_S.reset(token)


def ends_at_s(seconds: float) -> float:
    """Return the instant ``seconds`` from now, or the deadline that holds here when it is earlier.

    On the monotonic clock.
    """
    return min(time.monotonic() + seconds, _ENDS_AT_S.get())
