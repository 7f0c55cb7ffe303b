"""A pool of processes that is started only when there is work enough to be worth it.

Nothing here knows what the work is. The processes that make load, and those that watch an engine,
are another matter: see ``measure``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from types import TracebackType
from typing import Generic, Self, TypeVar

State = TypeVar("State")
Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerPool(Generic[State]):
    """Runs tasks in this process, or in others once enough work has been announced."""

    def __init__(
        self,
        here: State,
        elsewhere: Callable[[], State],
        *,
        processes: int,
        shared_from: int,
    ) -> None:
        """Open the pool; no process is started yet.

        Args:
            here: what each task is given beside itself in this process.
            elsewhere: returns the same in another process, where it is called once. It is pickled.
            processes: how many may share the work; with one, nothing is shared.
            shared_from: so much work, announced at once, is worth other processes, which start
                slowly.
        """
        self._here = here
        self._elsewhere = elsewhere
        self._processes = processes
        self._shared_from = shared_from
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def announce(self, work: int) -> None:
        """Say how much work there is, in the unit of ``shared_from``; enough starts the others."""
        if self._pool is None and self._processes > 1 and work >= self._shared_from:
            # Spawned: a fork of a process with threads may hang.
            self._pool = ProcessPoolExecutor(
                self._processes, get_context("spawn"), _begin, (self._elsewhere,)
            )

    def submit(self, function: Callable[[State, Task], Result], task: Task) -> Future[Result]:
        """Return what ``function`` makes of a task, now or when it is ready."""
        if self._pool is not None:
            return self._pool.submit(_run, function, task)
        ready: Future[Result] = Future()
        ready.set_result(function(self._here, task))
        return ready

    def results(
        self,
        function: Callable[[State, Task], Result],
        tasks: Iterable[Task],
        *,
        in_flight: int,
    ) -> Iterator[Result]:
        """Yield what ``function`` makes of each task, in order.

        Args:
            function: what is to be done. It is pickled.
            tasks: made as they are needed, so that few are in memory.
            in_flight: how many may be ahead of the one that is waited for.
        """
        waiting: deque[Future[Result]] = deque()
        for task in tasks:
            waiting.append(self.submit(function, task))
            if len(waiting) > in_flight:
                yield waiting.popleft().result()
        for future in waiting:
            yield future.result()


_state: object = None
"""The state that this process was given when it began, if it is one of a pool."""


def _begin(make: Callable[[], object]) -> None:
    global _state  # how a process pool hands state to its workers
    _state = make()


def _run(function: Callable[[State, Task], Result], task: Task) -> Result:
    state: State = _state  # type: ignore[assignment]
    return function(state, task)
