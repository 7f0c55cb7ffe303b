"""MSER-5: the end of the start-up of a run's series, and the length that it cuts off.

Pure functions over numbers. Nothing is dropped here: the truncation is reported beside the
metrics, and the raw data stays whole (MSER has known failures, see Wang and Glynn 2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

BATCH: Final = 5
"""MSER-5 works on means of five observations (White, Cobb and Spratt 2000)."""
FEWEST_BATCHES: Final = 4
STEADY_FACTOR: Final = 5
"""A series is called steady when what is kept is this many times what is cut off."""

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Truncation:
    """The end of the start-up of one series, by MSER-5."""

    observations: int
    """The length of the series."""
    cut: int
    """The number of observations at its start that belong to the start-up, a multiple of five."""
    steady: bool
    """True when the rest is long enough to call it steady."""
    reason: str
    """The reason for the verdict, as a sentence for people."""


def mser5(series: npt.ArrayLike) -> Truncation:
    """Return the end of the start-up of ``series``.

    Among all cuts in the first half, the one with the smallest marginal standard error of what is
    left: sum((y - mean)^2) / m^2 over the m batch means after the cut. A smallest value at the
    last cut allowed means that the series was still settling.

    Args:
        series: observations in the order they were made.
    """
    values = np.asarray(series, dtype=np.float64)
    count = len(values)
    batches = values[: count // BATCH * BATCH].reshape(-1, BATCH).mean(axis=1)
    if len(batches) < FEWEST_BATCHES:
        needed = BATCH * FEWEST_BATCHES
        return Truncation(count, 0, False, f"{count} observations, at least {needed} needed")
    errors = _marginal_errors(batches)
    # The few batches after a late cut would have a small error by chance.
    last = len(batches) // 2
    best = int(np.argmin(errors[: last + 1]))
    cut = best * BATCH
    kept = count - cut
    if best == last:
        return Truncation(count, cut, False, f"still settling after {cut} of {count} observations")
    if kept < STEADY_FACTOR * cut:
        return Truncation(
            count, cut, False, f"{kept} observations after a start-up of {cut}: fewer than "
            f"{STEADY_FACTOR} times as many"
        )  # fmt: skip
    return Truncation(count, cut, True, f"steady after {cut} of {count} observations")


def _marginal_errors(batches: _Floats) -> _Floats:
    """Return MSER's statistic for every cut, from suffix sums: one pass, not one per cut."""
    centred = batches - batches.mean()  # keeps the difference of squares exact enough
    left = np.arange(len(batches), 0, -1, dtype=np.float64)
    sums = np.cumsum(centred[::-1])[::-1]
    squares = np.cumsum((centred**2)[::-1])[::-1]
    spread: _Floats = np.maximum(squares - sums**2 / left, 0.0)
    return spread / left**2
