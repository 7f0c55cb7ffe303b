"""Permutation tests on run statistics, stratified, with the false-discovery rate over many.

One value per run goes in, never one per request: requests of a run share its queue, its caches and
its host, runs do not. Values are compared within strata of runs that are alike in everything else,
by their ranks, so that no distribution is assumed and one wild run decides nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FALSE_DISCOVERY_RATE: Final = 0.05
"""Expected share of false ones among what is reported (Benjamini and Hochberg 1995)."""
SIGNIFICANCE: Final = 0.05
BATCH: Final = 500
"""Orders drawn at a time; more are drawn while fewer than ``_ENOUGH`` were as extreme."""
MOST_DRAWN: Final = 20_000
_ENOUGH: Final = 10

Values = NDArray[np.float64]
Levels = NDArray[np.intp]


@dataclass(frozen=True)
class Stratum:
    """Runs that differ in nothing but the level that is asked about."""

    values: Values
    levels: Levels
    """Of each value its level, counted from 0."""


def informative(strata: Sequence[Stratum]) -> list[Stratum]:
    """Return the strata in which more than one level was run: the others compare nothing."""
    return [stratum for stratum in strata if len(np.unique(stratum.levels)) > 1]


def enough_runs(strata: Sequence[Stratum]) -> bool:
    """Return whether any outcome at all could be told from chance by :func:`p_value`.

    Of two levels, both directions count as equally surprising, of ``k`` all ``k!`` orders of the
    levels do; with few runs even the most extreme outcome is one in a handful. Two levels need four
    runs each, or eight and two.
    """
    present = {int(level) for stratum in strata for level in np.unique(stratum.levels)}
    possible = math.prod(_arrangements(stratum) for stratum in strata)
    return len(present) > 1 and math.factorial(len(present)) / possible <= SIGNIFICANCE


def p_value(strata: Sequence[Stratum], *, seed: int) -> float:
    """Return how often chance alone sets the levels as far apart as they are.

    The statistic is van Elteren's (1960) for any number of levels: ranks within each stratum,
    centred and weighted by ``1 / (n + 1)``, summed per level over the strata. It finds differences
    that point the same way in all strata. Its distribution comes from random assignments of the
    values within their strata, drawn until it is known well enough (Besag and Clifford 1991). Under
    exchangeable runs at most a share ``a`` of the results is ``a`` or less.

    Args:
        strata: as :func:`informative` returns them; at least one.
        seed: of the assignments.
    """
    scores, member, blocks = _scored(strata)
    observed = float(_distance(scores[None, :], member)[0])
    random = np.random.default_rng(seed)
    drawn = extreme = 0
    while extreme < _ENOUGH and drawn < MOST_DRAWN:
        found = _distance(_shuffled(scores, blocks, random), member)
        # A tie with what was observed is as surprising; rounding must not decide.
        extreme += int((found >= observed * (1 - 1e-9)).sum())
        drawn += BATCH
    return (extreme + 1) / (drawn + 1)


def adjusted_p_values(p_values: Sequence[float]) -> list[float]:
    """Return the Benjamini-Hochberg adjusted p-values, in the order given."""
    if not p_values:
        return []
    p = np.asarray(p_values)
    order = np.argsort(p)[::-1]
    scaled = p[order] * len(p) / np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled), 1.0)
    return [float(value) for value in adjusted]


def mid_ranks(values: Values) -> Values:
    """Return ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def seed_of(*names: str) -> int:
    """Return a seed drawn from what is tested, so that the same runs give the same answer."""
    return int.from_bytes(hashlib.sha256("\n".join(names).encode()).digest()[:8], "big")


def _arrangements(stratum: Stratum) -> int:
    """Return in how many ways the levels can be assigned to the values of a stratum."""
    _, counts = np.unique(stratum.levels, return_counts=True)
    sizes = (math.factorial(int(count)) for count in counts)
    return math.factorial(len(stratum.values)) // math.prod(sizes)


def _scored(strata: Sequence[Stratum]) -> tuple[Values, Values, list[slice]]:
    """Return each value's score, each level's members scaled by their number, each stratum."""
    scores = np.concatenate(
        [(mid_ranks(s.values) - (len(s.values) + 1) / 2) / (len(s.values) + 1) for s in strata]
    )
    _, levels = np.unique(np.concatenate([s.levels for s in strata]), return_inverse=True)
    member = np.eye(int(levels.max()) + 1)[levels]
    ends = np.cumsum([len(s.values) for s in strata])
    starts = ends - [len(s.values) for s in strata]
    blocks = [slice(int(a), int(b)) for a, b in zip(starts, ends, strict=True)]
    return scores, member / np.sqrt(member.sum(axis=0)), blocks


def _shuffled(scores: Values, blocks: list[slice], random: np.random.Generator) -> Values:
    drawn = np.tile(scores, (BATCH, 1))
    for block in blocks:
        drawn[:, block] = random.permuted(drawn[:, block], axis=1)
    return drawn


def _distance(scores: Values, member: Values) -> Values:
    sums: Values = scores @ member
    result: Values = np.square(sums).sum(axis=1)
    return result
