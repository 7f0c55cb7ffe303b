"""The spread between providers, engines, versions and quantisations, ready to be drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from inferencebench_pipeline.leaderboard.document import Variance, VarianceLevel

WIDTH = 240
"""Pixels of a level's bar; its left end is zero."""
_INSET = 6


@dataclass(frozen=True)
class DrawnLevel:
    """One level and where its median and interval lie on the bar, in pixels."""

    level: VarianceLevel
    at: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class DrawnSpread:
    """One spread; all its levels share a scale that begins at zero."""

    spread: Variance
    levels: tuple[DrawnLevel, ...]
    largest: float
    """The value at the bars' right end."""


def spread_rows(variances: Iterable[Variance]) -> list[DrawnSpread]:
    """Return each spread with its levels on one scale from zero, surest first."""
    ordered = sorted(
        variances,
        key=lambda item: (
            {True: 0, False: 1, None: 2}[item.more_than_noise],
            item.q_value if item.q_value is not None else 1.0,
            -(item.spread or 0.0),
        ),
    )
    return [_drawn(item) for item in ordered]


def _drawn(spread: Variance) -> DrawnSpread:
    values = [
        value
        for level in spread.levels
        for value in (level.median, level.low, level.high)
        if value is not None
    ]
    largest = max([*values, 0.0]) or 1.0

    def place(value: float | None) -> float | None:
        return None if value is None else round(_at(value, largest), 1)

    return DrawnSpread(
        spread=spread,
        levels=tuple(
            DrawnLevel(
                level, round(_at(level.median, largest), 1), place(level.low), place(level.high)
            )
            for level in spread.levels
        ),
        largest=largest,
    )


def _at(value: float, largest: float) -> float:
    return _INSET + max(0.0, value) / largest * (WIDTH - 2 * _INSET)
