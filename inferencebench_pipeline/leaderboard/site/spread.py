"""The spread between providers, engines, versions and quantisations, ready to be drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest

from inferencebench_pipeline.leaderboard.document import (
    MetricSpread,
    Variance,
    VarianceLevel,
)

WIDTH = 240
"""Pixels of a level's bar; its left end is zero."""
_INSET = 6
MOST_SPREADS = 100
"""The most spreads on one page; ``leaderboard.json`` has all."""


@dataclass(frozen=True)
class DrawnLevel:
    """One level, its median and interval, and where they lie on the bar, in pixels."""

    level: VarianceLevel
    median: float
    low: float | None
    high: float | None
    at_px: float | None
    low_px: float | None
    high_px: float | None


@dataclass(frozen=True)
class DrawnSpread:
    """The spread of one metric; all its levels share a scale that begins at zero."""

    variance: Variance
    metric: MetricSpread
    q_value: float | None
    more_than_noise: bool | None
    levels: tuple[DrawnLevel, ...]
    largest: float
    """The value at the bars' right end."""


@dataclass(frozen=True)
class DrawnSpreads:
    """The spreads that a page shows, of those that it is about."""

    shown: tuple[DrawnSpread, ...]
    """The spreads that are shown, the surest first."""
    known: int
    """Number of all of them, shown or not."""


def drawn_spreads(variances: Iterable[Variance]) -> DrawnSpreads:
    """Return the surest spreads, each with its levels on one scale from zero."""
    drawn = [
        _drawn(item, metric, q_value, sure)
        for item in variances
        for metric, q_value, sure in zip_longest(item.metrics, item.q_values, item.more_than_noise)
    ]
    drawn.sort(
        key=lambda item: (
            # What is sure comes first, and what nobody can tell comes last.
            {True: 0, False: 1, None: 2}[item.more_than_noise],
            item.q_value if item.q_value is not None else 1.0,
            -(item.metric.spread or 0.0),
        )
    )
    return DrawnSpreads(tuple(drawn[:MOST_SPREADS]), len(drawn))


def _drawn(
    variance: Variance, metric: MetricSpread, q_value: float | None, sure: bool | None
) -> DrawnSpread:
    values = [
        value
        for value in (*metric.medians, *metric.lows, *metric.highs)
        if value is not None
    ]  # fmt: skip
    # Never zero, since every place on the bar is divided by it.
    largest = max([*values, 0.0]) or 1.0

    def place(value: float | None) -> float | None:
        return None if value is None else round(_at(value, largest), 1)

    return DrawnSpread(
        variance=variance,
        metric=metric,
        q_value=q_value,
        more_than_noise=sure,
        levels=tuple(
            DrawnLevel(level, median, low, high, *map(place, (median, low, high)))
            for level, median, low, high in zip(
                variance.levels, metric.medians, metric.lows, metric.highs, strict=True
            )
        ),
        largest=largest,
    )


def _at(value: float, largest: float) -> float:
    return _INSET + max(0.0, value) / largest * (WIDTH - 2 * _INSET)
