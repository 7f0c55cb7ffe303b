"""Change points: where a metric of a benchmark repeated over time changed for good.

Pure functions over the index's rows; nothing here knows where they came from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from msgspec import Raw

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.leaderboard.analysis.permutation import (
    FALSE_DISCOVERY_RATE,
    Values,
    adjusted_p_values,
    mid_ranks,
    seed_of,
)
from inferencebench_pipeline.leaderboard.analysis.ranked_run import RankedRun
from inferencebench_pipeline.leaderboard.document import Change, Column, Group
from inferencebench_pipeline.measure import is_tested

SMALLEST_SEGMENT: Final = 5
"""Runs on either side of a change; with fewer a level is an accident."""
LONGEST_HISTORY: Final = 60
"""Runs looked back on. An old change leaves the window: what everybody lives with is no news."""
PERMUTATIONS: Final = 2000
"""Orders drawn at a time; more are drawn while fewer than ``_ENOUGH`` were as extreme."""
MOST_PERMUTATIONS: Final = 100_000
"""The most orders drawn: enough to tell a change among thousands of tests from a lucky one."""
RESAMPLES: Final = 2000
_ENOUGH: Final = 10


@dataclass(frozen=True)
class ChangePoint:
    """The likeliest place where a series changed its level, and how surprising that is."""

    at: int
    """Index of the first value of the new level."""
    p_value: float
    """p-value of the largest shift over all places, under exchangeable values."""


@dataclass(frozen=True)
class Shift:
    """The distance of one level from another, by their medians."""

    before: float
    after: float
    relative: float | None
    """None where the old level is zero: nothing is a multiple of that."""
    low: float | None
    """Lower end of the 95 % bootstrap interval of ``relative``."""
    high: float | None


@dataclass(frozen=True)
class _Series:
    group: Group
    column: Column
    runs: tuple[RankedRun, ...]
    values: Values

    @property
    def seed(self) -> int:
        """Drawn from what the series is, so that the same corpus gives the same answer."""
        return seed_of(self.column.key, *(run.row_id for run in self.runs))


class TestedChange(DocumentPart):
    """A change that was tested in one history; whether it is one depends on all other tests."""

    p_value: float
    """The share of random orders of the runs in which the largest change is as large."""
    change: Change | None = None
    """The change, with its p-value for a q-value; left out where that is too large anyway."""

    @classmethod
    def of_kept(cls, data: Raw) -> TestedChange:
        """Return what :meth:`kept` was returned for."""
        found = msgspec.json.decode(data)
        return cls(**(found if isinstance(found, dict) else {"p_value": found}))

    def kept(self) -> Raw:
        """Return JSON to keep from build to build: of most nothing but the p-value, a number."""
        return Raw(msgspec.json.encode(self.p_value if self.change is None else self.model_dump()))


def tested_changes(group: Group, rows: Iterable[RankedRun]) -> tuple[TestedChange, ...]:
    """Return the change tested in each history of one comparison group.

    A history is the ranked runs of one comparison group that share publisher, model, quantisation,
    engine, hardware and load point, in the order they were measured; versions are what may change
    within it. Each metric that histories are tested for is tested once.
    """
    by_id = {row.row_id: row for row in rows}
    found = []
    for series in _series_of(group, [by_id[row_id] for row_id in group.rows]):
        point = change_point(series.values, seed=series.seed)
        # An adjusted p-value is never smaller: what is not small alone is not small among others.
        small = point.p_value <= FALSE_DISCOVERY_RATE
        change = _change(series, point, point.p_value) if small else None
        found.append(TestedChange(p_value=point.p_value, change=change))
    return tuple(found)


def significant_changes(tested: Sequence[TestedChange]) -> tuple[Change, ...]:
    """Return the changes that stand when all tests are looked at together, most certain first.

    The false-discovery rate is held over all tests of all groups (Benjamini and Hochberg 1995).
    """
    adjusted = adjusted_p_values([item.p_value for item in tested])
    found = [
        item.change.model_copy(update={"q_value": q_value})
        for item, q_value in zip(tested, adjusted, strict=True)
        if item.change is not None and q_value <= FALSE_DISCOVERY_RATE
    ]
    return tuple(sorted(found, key=lambda change: (change.q_value, change.group_id, change.key)))


def change_point(values: Values, *, seed: int) -> ChangePoint:
    """Return the likeliest change of level in ``values`` with its permutation p-value.

    The statistic is the largest standardised rank sum over all places that leave at least
    ``SMALLEST_SEGMENT`` values on either side (Pettitt 1979), so one wild run decides nothing. Its
    distribution comes from random orders of the same values, so taking the largest over places is
    paid for; they are drawn until the p-value is known well enough (Besag and Clifford 1991).

    Args:
        values: in the order of time, at least ``2 * SMALLEST_SEGMENT``.
        seed: of the permutations.
    """
    ranks = mid_ranks(values)
    observed = _shifts(ranks[None, :])[0]
    at = int(np.argmax(observed))
    random = np.random.default_rng(seed)
    drawn = extreme = 0
    while extreme < _ENOUGH and drawn < MOST_PERMUTATIONS:
        shuffled = random.permuted(np.tile(ranks, (PERMUTATIONS, 1)), axis=1)
        # A tie with the observed order counts as being as surprising; rounding must not decide.
        extreme += int((_shifts(shuffled).max(axis=1) >= observed[at] - 1e-9).sum())
        drawn += PERMUTATIONS
    # What was observed counts as one more order, so that no
    # p-value is zero (Phipson and Smyth 2010).
    return ChangePoint(at=at + SMALLEST_SEGMENT, p_value=(extreme + 1) / (drawn + 1))


def shift(before: Values, after: Values, *, seed: int) -> Shift:
    """Return the relative change between two levels' medians with a bootstrap interval."""
    first, second = float(np.median(before)), float(np.median(after))
    if first == 0:
        return Shift(first, second, relative=None, low=None, high=None)
    random = np.random.default_rng(seed)
    old, new = (
        np.median(random.choice(level, (RESAMPLES, len(level))), axis=1)
        for level in (before, after)
    )
    # Resamples whose median is zero have no ratio either.
    ratios = (new - old)[old != 0] / np.abs(old[old != 0])
    low, high = np.quantile(ratios, (0.025, 0.975))
    relative = (second - first) / abs(first)
    return Shift(first, second, relative=relative, low=float(low), high=float(high))


def _series_of(group: Group, rows: Sequence[RankedRun]) -> Iterable[_Series]:
    histories: dict[tuple[object, ...], list[RankedRun]] = defaultdict(list)
    for row in rows:
        histories[_what_stays(row)].append(row)
    for history in histories.values():
        runs = sorted(history, key=lambda row: (row.timestamp or "", row.repo_id))
        for column in group.columns:
            if column.better is None or not is_tested(column.key, "history"):
                continue
            measured = [
                (run, value) for run in runs if (value := run.value(column.key)) is not None
            ]
            kept = measured[-LONGEST_HISTORY:]
            if len(kept) >= 2 * SMALLEST_SEGMENT:
                yield _Series(
                    group,
                    column,
                    tuple(run for run, _ in kept),
                    np.array([value for _, value in kept]),
                )


def _what_stays(row: RankedRun) -> tuple[object, ...]:
    return (
        row.organisation,
        row.model_id,
        row.model_provider,
        row.quantization,
        row.engine_name,
        row.hardware,
        row.load_point,
    )


def _change(series: _Series, point: ChangePoint, q_value: float) -> Change:
    found = shift(series.values[: point.at], series.values[point.at :], seed=series.seed)
    first, last = series.runs[point.at], series.runs[point.at - 1]
    rising = found.after > found.before
    return Change(
        group_id=series.group.group_id,
        key=series.column.key,
        label=series.column.label,
        unit=series.column.unit,
        verdict="better" if rising == (series.column.better == "higher") else "worse",
        model_id=first.model_id,
        engine_name=first.engine_name,
        hardware=first.hardware,
        load_point=first.load_point,
        since_row_id=first.row_id,
        since=first.timestamp,
        engine_version_before=last.engine_version,
        engine_version_after=first.engine_version,
        model_revision_before=last.model_revision,
        model_revision_after=first.model_revision,
        before=found.before,
        after=found.after,
        relative=found.relative,
        relative_low=found.low,
        relative_high=found.high,
        n_before=point.at,
        n_after=len(series.values) - point.at,
        q_value=q_value,
    )


def _shifts(ranks: Values) -> Values:
    """Return, per row, the standardised rank-sum shift at each allowed place."""
    n = ranks.shape[1]
    sizes = np.arange(SMALLEST_SEGMENT, n - SMALLEST_SEGMENT + 1)
    sums = np.cumsum(ranks, axis=1)[:, sizes - 1]
    expected = sizes * (n + 1) / 2
    # The standard deviation of a rank sum without ties (Mann and Whitney 1947). Ties make it
    # smaller by a factor that is the same for all orders, so it decides nothing.
    spread = np.sqrt(sizes * (n - sizes) * (n + 1) / 12)
    result: Values = np.abs(sums - expected) / spread
    return result
