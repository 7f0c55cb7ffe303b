"""Variance: the same model on the same workload, across providers, engines, versions, formats.

Nine providers of the same weights score 0.80 to 0.84 on one task. Whether such a spread is more
than noise is a question about runs that are alike in everything else, so it is asked within strata
of hardware, load and the other choices, and never of a single run per provider.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import msgspec
import numpy as np
from msgspec import Raw, Struct

from inferencebench_pipeline.leaderboard.analysis.permutation import (
    FALSE_DISCOVERY_RATE,
    Levels,
    Values,
    adjusted_p_values,
    enough_runs,
    p_values,
    seed_of,
)
from inferencebench_pipeline.leaderboard.analysis.ranked_run import RankedRun
from inferencebench_pipeline.leaderboard.document import (
    Group,
    MetricSpread,
    Variance,
    VarianceLevel,
    six_digits,
)
from inferencebench_pipeline.measure import is_tested

LATEST: Final = 20
"""Runs of one level within one stratum that are looked at, so that old ones leave in time."""
MOST_RUNS: Final = 200
"""Runs that one test is about; strata beyond, the smallest first, are left out."""

Across = Literal["provider", "engine", "engine_version", "quantization"]
Alike = tuple[str, ...]


@dataclass(frozen=True)
class Observation:
    """One run, the level it was made at, and what else must be the same to compare it."""

    name: str
    """The row id of the run, or the address of a result."""
    when: str
    level: str
    alike: Alike


@dataclass(frozen=True)
class Topic:
    """The subject of spreads: a model, on a workload, across one choice."""

    group_id: str
    kind: Literal["speed", "quality"]
    model_id: str
    model_revision: str | None
    across: Across


@dataclass(frozen=True)
class MetricSeries:
    """One metric and its value in each observation; what was not measured is NaN."""

    key: str
    label: str
    unit: str | None
    values: Values


@dataclass(frozen=True)
class _Facet:
    across: Across
    level: Callable[[RankedRun], str | None]
    others: Callable[[RankedRun], tuple[str | None, ...]]


_FACETS: Final = (
    _Facet("provider", lambda row: row.model_provider, lambda row: (row.quantization,)),
    _Facet(
        "engine",
        lambda row: row.engine_name,
        lambda row: (row.model_provider, row.quantization),
    ),
    _Facet(
        "engine_version",
        lambda row: row.engine_version and f"{row.engine_name} {row.engine_version}",
        lambda row: (row.model_provider, row.engine_name, row.quantization),
    ),
    _Facet(
        "quantization",
        lambda row: row.quantization,
        lambda row: (row.model_provider, row.engine_name, row.engine_version),
    ),
)
"""A provider chooses its engine and an engine its version: those are part of the level."""


def group_variances(group: Group, rows: Iterable[RankedRun]) -> tuple[Variance, ...]:
    """Return the spreads in speed within one comparison group, each with its own p-values.

    Args:
        group: the comparison group, whose metrics with a known better direction are tested.
        rows: at least the group's ranked runs.
    """
    ranked = set(group.rows)
    models: dict[tuple[str, str], list[RankedRun]] = defaultdict(list)
    for row in rows:
        if row.row_id in ranked and row.model_id and row.model_revision:
            models[row.model_id, row.model_revision].append(row)
    return tuple(
        item
        for (model_id, revision), runs in sorted(models.items())
        for facet in _FACETS
        if len({level for run in runs if (level := facet.level(run))}) > 1
        for item in variances_of(
            Topic(group.group_id, "speed", model_id, revision, facet.across),
            *_observed(group, runs, facet),
        )
    )


def _observed(
    group: Group, runs: Iterable[RankedRun], facet: _Facet
) -> tuple[list[Observation], list[MetricSeries]]:
    """Return the runs that were made at a level, and their metrics with a better direction."""
    found, measured = [], []
    for row in runs:
        if level := facet.level(row):
            found.append(Observation(row.row_id, row.timestamp or "", level, _alike(row, facet)))
            measured.append(row)
    metrics = [
        # NumPy reads None as NaN.
        MetricSeries(
            column.key,
            column.label,
            column.unit,
            np.array([row.value(column.key) for row in measured], dtype=np.float64),
        )
        for column in group.columns
        if column.better is not None and is_tested(column.key, "history")
    ]
    return found, metrics


def variances_of(
    topic: Topic, observations: Sequence[Observation], metrics: Iterable[MetricSeries]
) -> list[Variance]:
    """Return the spreads among observations; none where nothing can be compared.

    Levels that no stratum connects, such as versions of different engines, are not comparable and
    come as spreads of their own. A metric whose values are all the same has none. Metrics that were
    measured in the same runs come together.
    """
    measured: dict[bytes, list[MetricSeries]] = defaultdict(list)
    for metric in metrics:
        # Metrics of the same runs are tested by the same random orders, which are drawn only once.
        measured[np.isfinite(metric.values).tobytes()].append(metric)
    found = []
    for mask, together in measured.items():
        present = np.flatnonzero(np.frombuffer(mask, dtype=np.bool_))
        for part in _connected(observations, _comparable(observations, present.tolist())):
            apart = [metric for metric in together if np.ptp(metric.values[part]) > 0]
            if apart:
                found.append(_variance(topic, [observations[at] for at in part], part, apart))
    return found


class KeptVariance(Struct, array_like=True, frozen=True):
    """A spread with its own p-values, as it is kept until all spreads are looked at together."""

    p_values: tuple[float | None, ...]
    """The p-value of each of its metrics."""
    place: tuple[str, ...]
    """Names it among all spreads, and orders those that are equally sure."""
    members: dict[str, Raw]
    """JSON of each member of the :class:`.document.Variance`, without its default fields."""

    @classmethod
    def of(cls, item: Variance) -> KeptVariance:
        """Return a spread as it is kept."""
        place = (
            item.group_id, item.model_id, item.across, item.metrics[0].key, item.levels[0].name,
            item.model_revision or "",
        )  # fmt: skip
        members = _MEMBERS.decode(item.model_dump_json(exclude_defaults=True))
        return cls(tuple(metric.p_value for metric in item.metrics), place, members)

    def judged(self, q_values: Sequence[float | None]) -> Raw:
        """Return the JSON of the spread with what all tests together say of it."""
        sure = [None if q is None else q <= FALSE_DISCOVERY_RATE for q in q_values]
        told = {"q_values": q_values, "more_than_noise": sure}
        return Raw(msgspec.json.encode(self.members | told))


_MEMBERS: Final = msgspec.json.Decoder(dict[str, Raw])


def significant_variances(tested: Iterable[KeptVariance]) -> list[Raw]:
    """Return the JSON of the spreads with the false-discovery rate held over all, surest first.

    Nothing of a spread is parsed: to do so with thousands of them would take longer than all else.
    Spreads of too few runs come last, unjudged.
    """
    known = list(tested)
    chances = [chance for item in known for chance in item.p_values if chance is not None]
    adjusted = iter(adjusted_p_values(chances))
    judged = [
        ([None if chance is None else next(adjusted) for chance in item.p_values], item)
        for item in known
    ]
    judged.sort(
        # 2.0 is larger than any q-value, so spreads of too few runs come last.
        key=lambda pair: (min((q for q in pair[0] if q is not None), default=2.0), pair[1].place)
    )
    return [item.judged(q_values) for q_values, item in judged]


def _alike(row: RankedRun, facet: _Facet) -> Alike:
    """Return what runs must share to be compared: hardware, load, and the other choices.

    Of a remote endpoint the described hardware is the client's; nobody knows the provider's.
    """
    hardware = "remote" if row.hardware_class == "remote" else row.hardware
    parts = (hardware, row.load_point, *facet.others(row))
    return tuple(part or "not stated" for part in parts)


def _comparable(observations: Sequence[Observation], present: Iterable[int]) -> list[int]:
    """Return the latest observations of each level in strata with more than one level."""
    strata: dict[Alike, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for at in present:
        strata[observations[at].alike][observations[at].level].append(at)

    def age(at: int) -> tuple[str, str]:
        return observations[at].when, observations[at].name

    kept = [
        [at for level in sorted(levels) for at in sorted(levels[level], key=age)[-LATEST:]]
        for _, levels in sorted(strata.items())
        if len(levels) > 1
    ]
    chosen: list[int] = []
    for stratum in sorted(kept, key=len, reverse=True):
        # The first is taken whatever its size, or a model with
        # one large stratum would have no spread.
        if not chosen or len(chosen) + len(stratum) <= MOST_RUNS:
            chosen += stratum
    return chosen


def _connected(observations: Sequence[Observation], chosen: Sequence[int]) -> list[list[int]]:
    """Return what was chosen in parts whose levels are connected by shared strata."""
    part_of: dict[str, str] = {observations[at].level: observations[at].level for at in chosen}
    first: dict[Alike, str] = {}
    for item in (observations[at] for at in chosen):
        one, other = part_of[item.level], part_of[first.setdefault(item.alike, item.level)]
        if one != other:
            part_of = {name: other if part == one else part for name, part in part_of.items()}
    parts: dict[str, list[int]] = defaultdict(list)
    for at in chosen:
        parts[part_of[observations[at].level]].append(at)
    return [parts[name] for name in sorted(parts)]


def _variance(
    topic: Topic, part: Sequence[Observation], at: list[int], metrics: Sequence[MetricSeries]
) -> Variance:
    """Return the spreads of metrics over the connected observations that lie ``at`` these places.

    The observations of a stratum are beside each other.
    """
    names = {name: place for place, name in enumerate(sorted({item.level for item in part}))}
    kinds = {kind: place for place, kind in enumerate(sorted({item.alike for item in part}))}
    levels = np.array([names[item.level] for item in part])
    within = np.array([kinds[item.alike] for item in part])
    values = np.array([metric.values[at] for metric in metrics])
    commonest = int(np.argmax(np.bincount(within)))
    chances: Sequence[float | None] = [None] * len(metrics)
    if enough_runs([levels[within == place] for place in range(len(kinds))]):
        seed = seed_of(topic.across, *sorted(item.name for item in part))
        chances = p_values(values, levels, within, seed=seed)
    of_level = [tuple(item.name for item in part if item.level == name) for name in names]
    speed = topic.kind == "speed"
    return Variance(
        group_id=topic.group_id,
        kind=topic.kind,
        model_id=topic.model_id,
        model_revision=topic.model_revision,
        alike=list(kinds)[commonest],
        strata=len(kinds),
        across=topic.across,
        levels=tuple(
            VarianceLevel(name=name, **{"row_ids" if speed else "urls": runs})
            for name, runs in zip(names, of_level, strict=True)
        ),
        metrics=tuple(
            _spread(metric, [told[levels == level] for level in range(len(names))], chance)
            for metric, told, chance in zip(
                metrics, _as_if_in(commonest, topic, metrics, values, levels, within),
                chances, strict=True,
            )
        ),
    )  # fmt: skip


def _spread(metric: MetricSeries, values: Sequence[Values], chance: float | None) -> MetricSpread:
    """Return how far a metric's values at the levels are apart."""
    ordered = [np.sort(level) for level in values]
    medians = [statistics.median(level.tolist()) for level in ordered]
    ends = [median_interval(level) for level in ordered]
    smallest = min(medians)
    return MetricSpread(
        key=metric.key,
        label=metric.label,
        unit=metric.unit,
        medians=tuple(map(six_digits, medians)),
        lows=tuple(None if low is None else six_digits(low) for low, _ in ends),
        highs=tuple(None if high is None else six_digits(high) for _, high in ends),
        spread=six_digits((max(medians) - smallest) / smallest) if smallest > 0 else None,
        p_value=chance,
    )


def _as_if_in(
    reference: int, topic: Topic, metrics: Sequence[MetricSeries], values: Values, levels: Levels,
    within: Levels,
) -> Values:  # fmt: skip
    """Return the values as they would be in one stratum, so that levels can be told side by side.

    What a stratum adds (to shares and scores) or multiplies with (durations, rates) is the least-
    squares effect beside that of the level, so that a level which was run on slow hardware more
    often does not look slower for it.

    Args:
        reference: the stratum.
        topic: what the spreads are about.
        metrics: one for each line of ``values``.
        values: of shape ``(metrics, runs)``.
        levels: of each run.
        within: each run's stratum.
    """
    if within.max() == 0:
        return values
    # A logarithm turns factors into sums, where every value is positive.
    additive = np.array(
        [
            topic.kind == "quality" or metric.unit == "ratio" or bool((line <= 0).any())
            for metric, line in zip(metrics, values, strict=True)
        ]
    )[:, None]
    y = np.where(additive, values, np.log(np.where(additive, 1.0, values)))
    design = np.hstack([np.eye(within.max() + 1)[within], np.eye(levels.max() + 1)[levels]])
    effects = np.linalg.lstsq(design, y.T, rcond=None)[0][: within.max() + 1].T
    shifted: Values = y - effects[:, within] + effects[:, [reference]]
    return np.where(additive, shifted, np.exp(np.where(additive, 0.0, shifted)))


def median_interval(ordered: Values) -> tuple[float | None, float | None]:
    """Return the 95 % interval of the median by order statistics; None below six values.

    It assumes independent values and nothing about their distribution: the ends are the innermost
    pair of values with at most 2.5 % chance on either side (Thompson 1936).

    Args:
        ordered: the values, ascending.
    """
    beyond = _beyond(len(ordered))
    if beyond is None:
        return None, None
    return float(ordered[beyond]), float(ordered[-1 - beyond])


@lru_cache
def _beyond(n: int) -> int | None:
    """Return how many of ``n`` values lie below the interval of their median."""
    tail, beyond = 0.0, None
    for below in range(n // 2):
        tail += math.comb(n, below) / 2**n
        if tail > 0.025:
            break
        beyond = below
    return beyond
