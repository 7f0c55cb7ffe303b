"""Fluidity's deadlines are those of the token-by-token definition, and cost no loop over chunks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest

from inferencebench_pipeline.measure.metrics import fluidity
from inferencebench_pipeline.measure.metrics.fluidity import Deadlines, missed_and_set
from inferencebench_pipeline.measure.spec.stated_parts import Slo
from tests.chance import dice, examples

FURTHEST = 2**50
"""The instants of a traces file lie within so many nanoseconds of its origin."""


def obvious(
    arrived: list[int], tokens: list[int], due: int, first_ns: int, next_ns: int
) -> tuple[int, int]:
    """The missed deadlines of one answer and all it had, chunk by chunk in integers of any size."""
    missed = total = slack = 0
    before, step = due, first_ns
    for at, carried in zip(arrived, tokens, strict=True):
        if not carried:
            continue
        left = slack + step - (at - before)
        misses = 0 if left >= 0 else -left // next_ns + 1
        missed += misses
        # Those that came with it had their whole time left, whatever the first one had.
        total += max(misses, 1) + carried - 1
        slack = max(left, 0) + (carried - 1) * next_ns
        before, step = at, next_ns
    return missed, total


@pytest.mark.parametrize("seed", range(examples(60)))
def test_deadlines_equal_the_definition_token_by_token(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = dice(f"deadlines {seed}")
    furthest = chance.choice([60, 10**7, FURTHEST])
    if chance.random() < 0.5:
        # So few requests fit into one accumulation that there are several.
        monkeypatch.setattr(fluidity, "_MOST_OFFSETS", 3 * furthest)
    slo_first = chance.choice([0, 40, 10**6, 2**51])
    slo_next = chance.choice([1, 7, 10**6, 2**51])
    most_tokens = chance.choice([1, 3, 2**40])
    answers, due = [], []
    for _ in range(chance.randrange(12)):
        times = [chance.randrange(-furthest, furthest) for _ in range(chance.randrange(9))]
        # A file of anybody may have them in any order.
        times = sorted(times) if chance.random() < 0.7 else times
        answers.append((times, [chance.randrange(most_tokens + 1) for _ in times]))
        due.append(chance.randrange(-furthest, furthest))
    missed, total = missed_and_set(
        np.array([at for times, _ in answers for at in times], dtype=np.int64),
        np.array([each for _, tokens in answers for each in tokens], dtype=np.int64),
        np.array([len(times) for times, _ in answers], dtype=np.int64),
        np.array(due, dtype=np.int64),
        Deadlines(slo_first, slo_next),
    )
    found = list(zip(missed.tolist(), total.tolist(), strict=True))
    assert found == [
        obvious(times, tokens, start, slo_first, slo_next)
        for (times, tokens), start in zip(answers, due, strict=True)
    ]


def lines_run(work: Callable[[], object]) -> int:
    """Return how many lines of Python ``work`` runs."""
    lines = 0

    def trace(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize("gap", [5, 50], ids=["in time", "late"])
def test_no_line_of_python_runs_for_each_chunk(gap: int) -> None:
    """One answer with very many chunks once took a minute for each seven million of them."""

    def work(chunks: int) -> Callable[[], object]:
        arrived = np.arange(chunks, dtype=np.int64) * gap
        ones = np.ones(chunks, dtype=np.int64)
        one, none = np.array([chunks]), np.array([0])
        return lambda: missed_and_set(arrived, ones, one, none, Deadlines(10, 10))

    assert lines_run(work(1_000)) == lines_run(work(20_000))


def test_deadlines_beyond_every_run_are_as_good_as_none() -> None:
    endless = Deadlines.of(Slo(ttft_ms=1e300, tpot_ms=1e300))
    assert endless is not None
    arrived = np.array([-FURTHEST, FURTHEST, FURTHEST], dtype=np.int64)
    tokens = np.array([2**31, 2**31, 1], dtype=np.int64)
    missed, total = missed_and_set(arrived, tokens, np.array([3]), np.array([-FURTHEST]), endless)
    assert (missed.tolist(), total.tolist()) == ([0], [2**32 + 1])
