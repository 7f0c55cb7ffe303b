"""The processes that share the work of a build, when there is work enough for several."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from inferencebench_pipeline.leaderboard.database import use_one_thread
from inferencebench_pipeline.worker_pool import WorkerPool

PROCESSES: Final = max(2, min(4, os.cpu_count() or 1))
"""More would wait for the one that hands out the work and puts together what comes back."""
SHARED_FROM: Final = 5000
"""The number of repositories that is worth the start of processes, a second or two."""
Workers = WorkerPool[None]

_RARELY: Final = 200_000
"""Objects made before the garbage collector looks for cycles."""


@contextmanager
def workers() -> Iterator[Workers]:
    """Open the pool of a build.

    While it is open, the garbage collector looks for cycles rarely: columns of plain values hold
    none, and looking for some among millions of them takes a fifth of the time.
    """
    threshold = gc.get_threshold()
    gc.set_threshold(_RARELY)
    try:
        with WorkerPool(None, _begin, processes=PROCESSES, shared_from=SHARED_FROM) as pool:
            yield pool
    finally:
        gc.set_threshold(*threshold)


def _begin() -> None:
    gc.set_threshold(_RARELY)
    use_one_thread()
