"""Pareto fronts: the runs that no other beats on two axes, and those beaten beyond doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Better = Literal["lower", "higher"]
Ends = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """A value and, where it is known, the interval that it lies in."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Standing:
    """The place of a point among the others."""

    on_front: bool
    """True when, by the values, no other point is as good on both axes and better on one."""
    dominated_for_sure: bool
    """Some other point beats it whatever the true values are, as long as they lie within the
    intervals. What is neither on the front nor dominated for sure may well belong to it."""


def standings(
    points: Sequence[tuple[Measured, Measured]], *, x_better: Better, y_better: Better
) -> list[Standing]:
    """Return where each point stands, in O(n log n).

    A point is dominated for sure when the worst corner of another's box of intervals dominates its
    own best corner; that is the same as: for every choice of values within all intervals, the other
    dominates it. An axis without an interval is not known at all in this respect: such a point is
    never dominated for sure, and makes no other so. Equal points do not dominate each other.

    Args:
        points: x and y of each; leave out what has no value on either axis.
        x_better: the better direction of x.
        y_better: the better direction of y.
    """
    if not points:
        return []
    worst_x, value_x, best_x = _ends([x for x, _ in points], x_better)
    worst_y, value_y, best_y = _ends([y for _, y in points], y_better)
    behind = _dominated(value_x, value_y, by_x=value_x, by_y=value_y)
    surely = _dominated(best_x, best_y, by_x=worst_x, by_y=worst_y)
    return [
        Standing(on_front=not beaten, dominated_for_sure=sure)
        for beaten, sure in zip(behind.tolist(), surely.tolist(), strict=True)
    ]


def _ends(axis: Sequence[Measured], better: Better) -> tuple[Ends, Ends, Ends]:
    """Return worst end, value and best end of each, turned so that more is better.

    An interval is widened to hold its own value: a mean over repeats need not be the pooled number.
    """
    sign = 1.0 if better == "higher" else -1.0
    value = sign * np.array([item.value for item in axis])
    ends = [
        [sign * item.low, sign * item.high]
        if item.low is not None and item.high is not None
        else [-np.inf, np.inf]
        for item in axis
    ]
    worst = np.minimum(np.min(ends, axis=1), value)
    best = np.maximum(np.max(ends, axis=1), value)
    return worst, value, best


def _dominated(x: Ends, y: Ends, *, by_x: Ends, by_y: Ends) -> NDArray[np.bool_]:
    """Return which of the points ``x, y`` some point ``by_x, by_y`` dominates; more is better.

    Sorted by x, the best y of all that are at least as far right is a running maximum from the
    right. Either somebody strictly further right is as high, or somebody as far right is higher.
    """
    order = np.argsort(by_x)
    right = by_x[order]
    highest = np.append(np.maximum.accumulate(by_y[order][::-1])[::-1], -np.inf)
    beyond = highest[np.searchsorted(right, x, side="right")]
    level = highest[np.searchsorted(right, x, side="left")]
    return (beyond >= y) | (level > y)
