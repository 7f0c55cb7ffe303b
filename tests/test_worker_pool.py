"""The pool works here until enough work was announced, and hands out results in order."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from inferencebench_pipeline.worker_pool import WorkerPool


def where(state: str, task: int) -> tuple[str, int, int]:
    return state, task, os.getpid()


def elsewhere() -> str:
    return f"made in {os.getpid()}"


def pool(processes: int = 2, shared_from: int = 10) -> WorkerPool[str]:
    return WorkerPool("here", elsewhere, processes=processes, shared_from=shared_from)


@pytest.mark.parametrize(("processes", "work"), [(2, [9]), (2, []), (1, [1000])])
def test_little_work_and_a_single_process_start_no_other(processes, work):
    with pool(processes) as crew:
        for announced in work:
            crew.announce(announced)
        assert crew.submit(where, 1).result() == ("here", 1, os.getpid())


def test_once_enough_was_announced_others_work_each_with_a_state_of_its_own():
    with pool(processes=1 + 1, shared_from=10) as crew:
        crew.announce(9)
        assert crew.submit(where, 0).result()[0] == "here"
        crew.announce(10)
        found = [crew.submit(where, task).result() for task in range(3)]
    assert [task for _, task, _ in found] == [0, 1, 2]
    assert all(state == f"made in {pid}" and pid != os.getpid() for state, _, pid in found)


def test_results_come_in_order_and_few_tasks_are_made_ahead():
    made: list[int] = []

    def tasks() -> Iterator[int]:
        for task in range(6):
            made.append(task)
            yield task

    with pool() as crew:
        results = crew.results(where, tasks(), in_flight=2)
        assert next(results)[1] == 0
        assert made == [0, 1, 2]
        assert [task for _, task, _ in results] == [1, 2, 3, 4, 5]


def test_what_a_task_raises_is_raised_where_its_result_is_asked_for():
    def failing(_: str, task: int) -> int:
        raise ValueError(f"no {task}")

    with pool() as crew, pytest.raises(ValueError, match="no 3"):
        list(crew.results(failing, [3], in_flight=1))
