"""Who does the work of a build: this process, or a few more when there is much to do."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from types import TracebackType
from typing import Final, ParamSpec, Self, TypeVar

from inferencebench_pipeline.leaderboard.database import use_one_thread

PROCESSES: Final = max(2, min(4, os.cpu_count() or 1))
"""More would wait for the one that hands out the work and puts together what comes back."""
SHARED_FROM: Final = 5000
"""So many repositories are worth the start of other processes, which takes a second or two."""

_RARELY: Final = 200_000
"""Objects made before the garbage collector looks for cycles."""

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """Runs functions at once, and in other processes after a lot of work was announced.

    While they are there, the garbage collector looks for cycles rarely: columns of plain values
    hold none, and looking for some among millions of them takes a fifth of the time.
    """

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._threshold = gc.get_threshold()

    def __enter__(self) -> Self:
        gc.set_threshold(_RARELY)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        gc.set_threshold(*self._threshold)
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def expect(self, rows: int) -> None:
        """Say how many rows are about to be worked on."""
        if self._pool is None and rows >= SHARED_FROM:
            # Spawned: a fork of a process with threads may hang.
            self._pool = ProcessPoolExecutor(PROCESSES, get_context("spawn"), _begin)

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Return what ``function`` returns, now or when it is ready."""
        if self._pool is not None:
            return self._pool.submit(function, *args, **kwargs)
        ready: Future[T] = Future()
        ready.set_result(function(*args, **kwargs))
        return ready


def _begin() -> None:
    gc.set_threshold(_RARELY)
    use_one_thread()
