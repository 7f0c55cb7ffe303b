"""The seed of everything random in the tests, and how many examples a property is tried on.

Each run of the suite has a fresh seed, which its first lines show. A failure is repeated with
``INFERENCEBENCH_TEST_SEED=<that number>``. ``INFERENCEBENCH_EXAMPLES=50`` tries fifty times as many
examples of each property and as many mutations, as ``make nightly`` does.
"""

from __future__ import annotations

import os
import random
from typing import Final

SEED_VARIABLE: Final = "INFERENCEBENCH_TEST_SEED"
EXAMPLES_VARIABLE: Final = "INFERENCEBENCH_EXAMPLES"


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
