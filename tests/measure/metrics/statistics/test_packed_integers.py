"""Packed integers and their ranks are what a list of them, and sorting it, gives."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
import numpy.typing as npt
import pytest

from inferencebench_pipeline.measure.metrics.statistics import packed_integers
from inferencebench_pipeline.measure.metrics.statistics.packed_integers import (
    Ascending,
    PackedIntegers,
)
from tests.chance import dice

Int64s = npt.NDArray[np.int64]

SHAPES: dict[str, Callable[[Random, int], list[int]]] = {
    "short": lambda chance, n: [chance.randrange(2**20) for _ in range(n)],
    "of_32_bits": lambda chance, n: [chance.choice([0, 2**32 - 1]) for _ in range(n)],
    "one_long": lambda chance, n: [
        2**50 if k == n // 2 else chance.randrange(99) for k in range(n)
    ],
    "negative": lambda chance, n: [chance.randrange(-(2**50), 2**50) for _ in range(n)],
    "equal": lambda chance, n: [chance.randrange(2) * 2**40] * n,
    "two_far_apart": lambda chance, n: [chance.choice([-(2**50), 2**50]) for _ in range(n)],
    "crowded": lambda chance, n: [chance.choice([1, 2**50, 2**49 + k % 7]) for k in range(n)],
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes and sorts that a few hundred numbers are many for."""
    monkeypatch.setattr(packed_integers, "_PASS", 40)
    monkeypatch.setattr(packed_integers, "_SORTED", 30)


def packed(values: list[int], chance: Random) -> PackedIntegers:
    """The numbers, taken in as many pieces as chance has it."""
    found = PackedIntegers.empty(len(values))
    done = 0
    while done < len(values):
        size = chance.randrange(1, 50)
        found.append(np.array(values[done : done + size], dtype=np.int64))
        done += size
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("small")
def test_the_numbers_come_back_as_they_were_taken_in(shape: str) -> None:
    chance = dice(f"packed {shape}")
    values = SHAPES[shape](chance, chance.randrange(1, 400))
    found = packed(values, chance)
    assert len(found) == len(values)
    assert found.array().tolist() == values
    assert [each for array in found.passes() for each in array.tolist()] == values
    assert found.sum() == sum(values)
    start = chance.randrange(len(values))
    stop = chance.randrange(start, len(values) + 1)
    assert found.part(start, stop).array().tolist() == values[start:stop]
    assert found.part(start, stop).sum() == sum(values[start:stop])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("small")
def test_each_rank_is_the_one_of_the_sorted_list(shape: str) -> None:
    chance = dice(f"ranks {shape}")
    values = SHAPES[shape](chance, 300)
    for start, stop in ((0, 300), (7, 290), (50, 60)):
        ascending = Ascending(packed(values, chance).part(start, stop))
        expected = sorted(values[start:stop])
        assert len(ascending) == len(expected)
        ranks = [0, len(expected) - 1, *(chance.randrange(len(expected)) for _ in range(60))]
        assert [ascending[rank] for rank in ranks] == [expected[rank] for rank in ranks]
        for rank in (-1, len(expected)):
            with pytest.raises(IndexError, match="numbers"):
                ascending[rank]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("small")
def test_groups_are_summed_however_long_they_are(shape: str) -> None:
    chance = dice(f"groups {shape}")
    counts = [chance.choice([0, 0, 1, 5, 90]) for _ in range(30)]
    values = SHAPES[shape](chance, sum(counts))
    found = packed(values, chance)
    ends = np.cumsum(counts)
    groups = [values[end - count : end] for end, count in zip(ends, counts, strict=True)]
    assert found.sums(np.array(counts)).tolist() == [sum(group) for group in groups]
    bound = values[0] if values else 0
    below = found.sums(np.array(counts), lambda array: array <= bound)
    assert below.tolist() == [sum(each <= bound for each in group) for group in groups]


def test_no_numbers_have_no_rank_and_no_sum() -> None:
    nothing = PackedIntegers.empty(0)
    assert (len(nothing), nothing.sum(), nothing.array().tolist()) == (0, 0, [])
    assert nothing.sums(np.zeros(3, dtype=np.int64)).tolist() == [0, 0, 0]
    with pytest.raises(IndexError):
        Ascending(nothing)[0]


def test_only_what_is_near_a_long_number_is_widened() -> None:
    values = np.zeros(1_000, dtype=np.int64)
    values[[305, 310]] = [2**40, -1]
    found = PackedIntegers.of(values)
    assert found.long_numbers == 2
    assert found.between(0, 305).dtype == found.between(311, 1_000).dtype == np.uint32
    assert found.between(305, 306).tolist() == [2**40]
