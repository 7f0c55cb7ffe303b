"""The seed of everything random in the tests, and how many examples a property is tried on.

Each run of the suite has a fresh seed, which its first lines show. A failure is repeated with
``INFERENCEBENCH_TEST_SEED=<that number>``. ``INFERENCEBENCH_EXAMPLES=50`` tries fifty times as many
examples of each property and as many mutations, as ``make nightly`` does. A sweep that is too long
for every run tries a part of its cases, other ones each time, and the others carry the marker
``nightly``.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Final, TypeVar

import pytest
from _pytest.mark import ParameterSet

SEED_VARIABLE: Final = "INFERENCEBENCH_TEST_SEED"
EXAMPLES_VARIABLE: Final = "INFERENCEBENCH_EXAMPLES"

Case = TypeVar("Case")


def fix_seed() -> int:
    """Return the seed of this run: drawn by the first process, and inherited by those it starts."""
    if not os.environ.get(SEED_VARIABLE):
        os.environ[SEED_VARIABLE] = str(random.SystemRandom().randrange(10**9))
    return int(os.environ[SEED_VARIABLE])


def dice(name: str) -> random.Random:
    """Random numbers of this run's seed, others for each name."""
    return random.Random(f"{fix_seed()} {name}")


def examples(usual: int) -> int:
    """Return the number of examples to try where a usual run tries ``usual``."""
    return usual * int(os.environ.get(EXAMPLES_VARIABLE, "1"))


def drawn(name: str, cases: Sequence[Case], usual: int) -> list[Case]:
    """Return ``usual`` of the cases in their order, others in each run, and all when they are few.

    Args:
        name: of the draw; each name draws for itself.
        cases: what there is to try.
        usual: the number that a usual run tries.
    """
    chosen = dice(name).sample(range(len(cases)), min(len(cases), examples(usual)))
    return [cases[number] for number in sorted(chosen)]


def parametrized(name: str, cases: Sequence[object], usual: int) -> list[ParameterSet]:
    """Return all cases as parameters of a test; those that are not drawn are nightly.

    Every process of a run draws the same, since the seed is in its environment.

    Args:
        name: of the draw; each name draws for itself.
        cases: a value each, or a tuple of values when the test has several parameters.
        usual: the number that a usual run tries.
    """
    chosen = {id(case) for case in drawn(name, cases, usual)}
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=() if id(case) in chosen else (pytest.mark.nightly,),
        )
        for case in cases
    ]
