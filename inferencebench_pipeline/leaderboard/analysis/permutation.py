"""Permutation tests on run statistics, stratified, with the false-discovery rate over many.

One value per run goes in, never one per request: requests of a run share its queue, its caches and
its host, runs do not. Values are compared within strata of runs that are alike in everything else,
by their ranks, so that no distribution is assumed and one wild run decides nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

FALSE_DISCOVERY_RATE: Final = 0.05
"""Expected share of false ones among what is reported (Benjamini and Hochberg 1995)."""
SIGNIFICANCE: Final = 0.05
BATCH: Final = 500
"""Orders drawn at a time; more are drawn while fewer than ``_ENOUGH`` were as extreme."""
MOST_DRAWN: Final = 20_000
# Ten extreme ones fix a p-value to about a third of itself, which is enough at any size.
_ENOUGH: Final = 10

Values = NDArray[np.float64]
Levels = NDArray[np.intp]


@dataclass(frozen=True)
class Stratum:
    """Runs that differ in nothing but the level that is asked about."""

    values: Values
    levels: Levels
    """The level of each value, counted from 0."""


def enough_runs(strata: Sequence[Levels]) -> bool:
    """Return whether any outcome at all could be told from chance by :func:`p_values`.

    Of two levels, both directions count as equally surprising, of ``k`` all ``k!`` orders of the
    levels do; with few runs even the most extreme outcome is one in a handful. Two levels need four
    runs each, or eight and two.

    Args:
        strata: the level of each run, stratum by stratum.
    """
    present: set[int] = set()
    possible = 1
    for levels in strata:
        counts = Counter(levels.tolist())
        present.update(counts)
        possible *= math.factorial(len(levels)) // math.prod(map(math.factorial, counts.values()))
    return len(present) > 1 and math.factorial(len(present)) / possible <= SIGNIFICANCE


def p_value(strata: Sequence[Stratum], *, seed: int) -> float:
    """Return how often chance alone sets the levels as far apart as they are.

    Args:
        strata: at least one, each with more than one level.
        seed: of the assignments.
    """
    values = np.concatenate([stratum.values for stratum in strata])
    levels = np.concatenate([stratum.levels for stratum in strata])
    within = np.repeat(np.arange(len(strata)), [len(stratum.values) for stratum in strata])
    return p_values(values[None, :], levels, within, seed=seed)[0]


def p_values(values: Values, levels: Levels, within: Levels, *, seed: int) -> list[float]:
    """Return, for each of several metrics of the same runs, what :func:`p_value` says of it.

    The statistic is van Elteren's (1960) for any number of levels: ranks within each stratum,
    centred and weighted by ``1 / (n + 1)``, summed per level over the strata. It finds differences
    that point the same way in all strata. Its distribution comes from random assignments of the
    runs within their strata, drawn until it is known well enough (Besag and Clifford 1991). Under
    exchangeable runs at most a share ``a`` of the results is ``a`` or less. All metrics share the
    assignments, which depend on the seed alone: a metric's answer does not depend on the others.

    Args:
        values: of shape ``(metrics, runs)``, the runs of a stratum beside each other.
        levels: of each run; more than one in each stratum.
        within: each run's stratum.
        seed: of the assignments.
    """
    starts = np.flatnonzero(np.r_[True, within[1:] != within[:-1]]).tolist()
    blocks = [slice(a, b) for a, b in pairwise([*starts, len(within)])]
    scores = np.hstack([_scores(values[:, block]) for block in blocks])
    _, level = np.unique(levels, return_inverse=True)
    member = np.eye(int(level.max()) + 1)[level]
    # Divided by the root of its size, a level does not look far off for having many runs.
    member /= np.sqrt(member.sum(axis=0))
    # A tie with what was observed is as surprising; rounding must not decide.
    reached = _distance(scores, member) * (1 - 1e-9)
    random = np.random.default_rng(seed)
    extreme, drawn = np.zeros(len(values), dtype=np.intp), np.zeros(len(values), dtype=np.intp)
    while len(open_ := np.flatnonzero((extreme < _ENOUGH) & (drawn < MOST_DRAWN))):
        orders = _orders(blocks, random)
        for at in open_:
            extreme[at] += (_distance(scores[at][orders], member) >= reached[at]).sum()
        drawn[open_] += BATCH
    # What was observed counts as one more order, so that no
    # p-value is zero (Phipson and Smyth 2010).
    return [float(chance) for chance in (extreme + 1) / (drawn + 1)]


def adjusted_p_values(p_values: Sequence[float]) -> list[float]:
    """Return the Benjamini-Hochberg adjusted p-values, in the order given."""
    if not p_values:
        return []
    p = np.asarray(p_values)
    order = np.argsort(p)[::-1]
    scaled = p[order] * len(p) / np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    # A larger p-value bounds the adjusted value of each smaller one, so the largest come first.
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled), 1.0)
    return [float(value) for value in adjusted]


def mid_ranks(values: Values) -> Values:
    """Return ranks from 1 along the last axis; equal values share the mean of theirs."""
    order = np.argsort(values, axis=-1)
    ordered = np.take_along_axis(values, order, axis=-1)
    places = np.broadcast_to(np.arange(values.shape[-1]), values.shape)
    differs = ordered[..., 1:] != ordered[..., :-1]
    edge = np.ones((*values.shape[:-1], 1), dtype=bool)
    first = np.maximum.accumulate(
        np.where(np.concatenate([edge, differs], axis=-1), places, 0), axis=-1
    )
    last = np.where(np.concatenate([differs, edge], axis=-1), places, values.shape[-1])
    last = np.minimum.accumulate(last[..., ::-1], axis=-1)[..., ::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=-1)
    return ranks


def seed_of(*names: str) -> int:
    """Return a seed drawn from what is tested, so that the same runs give the same answer."""
    return int.from_bytes(hashlib.sha256("\n".join(names).encode()).digest()[:8], "big")


def _scores(values: Values) -> Values:
    """Return the scores of one stratum's runs, a line for each metric."""
    n = values.shape[-1]
    scores: Values = (mid_ranks(values) - (n + 1) / 2) / (n + 1)
    return scores


def _orders(blocks: list[slice], random: np.random.Generator) -> Levels:
    """Return a batch of random orders of the runs, a line each, that keep the strata."""
    runs = np.arange(blocks[-1].stop)
    orders: Levels = np.tile(runs, (BATCH, 1))
    for block in blocks:
        orders[:, block] = random.permuted(orders[:, block], axis=1)
    return orders


def _distance(scores: Values, member: Values) -> Values:
    """Return how far apart each line's levels are."""
    sums: Values = scores @ member
    result: Values = np.square(sums).sum(axis=1)
    return result
