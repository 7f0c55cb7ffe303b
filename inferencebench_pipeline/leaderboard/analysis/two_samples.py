"""The distance between two sets of runs: an estimate with an interval, matched by stratum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from inferencebench_pipeline.leaderboard.analysis.permutation import Stratum, Values

DRAWN: Final = 20_000
"""Assignments that the distribution of the rank sums is taken from."""
_BATCH: Final = 1000
_OUTSIDE: Final = 0.025
"""The chance on either side of a 95 % interval."""


@dataclass(frozen=True)
class Difference:
    """The difference of level 1 from level 0."""

    estimate: float
    low: float | None
    """Lower end of the 95 % interval; None when so few runs give none."""
    high: float | None


def difference(strata: Sequence[Stratum], *, seed: int) -> Difference:
    """Return the Hodges-Lehmann estimate of the difference, over pairs within strata.

    It is the median of all differences between a run of level 1 and a run of level 0 of the same
    stratum, each weighted as in :func:`.permutation.p_value`. The interval holds the differences
    that this test does not reject, so it needs no assumption about the distribution (Lehmann 1975,
    chapter 2.4); what is not finite is reported as None.

    Args:
        strata: each with runs of levels 0 and 1, and of no other.
        seed: of the assignments the interval rests on.
    """
    found = [_pairs(stratum) for stratum in strata]
    differences = np.concatenate([pairs for pairs, _ in found])
    weights = np.concatenate([np.full(len(pairs), weight) for pairs, weight in found])
    order = np.argsort(differences)
    differences, reached = differences[order], np.cumsum(weights[order])
    # Weights are sums of fractions: what is equal on paper must be equal here.
    tolerance = 1e-9 * reached[-1]
    middle = (
        differences[np.searchsorted(reached, reached[-1] / 2 - tolerance)]
        + differences[np.searchsorted(reached, reached[-1] / 2 + tolerance)]
    ) / 2
    critical = _critical(strata, np.random.default_rng(seed))
    # With so few runs, even the most extreme assignment is no rarer than 2.5 %.
    if critical <= tolerance:
        return Difference(float(middle), None, None)
    low = differences[np.searchsorted(reached, critical - tolerance)]
    from_above = np.cumsum(weights[order][::-1])
    high = differences[::-1][np.searchsorted(from_above, critical - tolerance)]
    return Difference(float(middle), float(low), float(high))


def _pairs(stratum: Stratum) -> tuple[Values, float]:
    first, second = (stratum.values[stratum.levels == level] for level in (0, 1))
    return np.subtract.outer(second, first).ravel(), 1 / (len(stratum.values) + 1)


def _critical(strata: Sequence[Stratum], random: np.random.Generator) -> float:
    """Return the largest rank sum that chance undercuts in at most 2.5 % of assignments."""
    drawn = np.zeros(DRAWN)
    for stratum in strata:
        n, second = len(stratum.values), int((stratum.levels == 1).sum())
        ranks = np.arange(1, n + 1, dtype=float)
        smallest = second * (second + 1) / 2
        for start in range(0, DRAWN, _BATCH):
            orders = random.permuted(np.tile(ranks, (_BATCH, 1)), axis=1)
            exceeding = orders[:, :second].sum(axis=1) - smallest
            drawn[start : start + _BATCH] += exceeding / (n + 1)
    return float(np.sort(drawn)[int(_OUTSIDE * DRAWN)])
