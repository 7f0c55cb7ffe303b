"""Variance: the same model on the same workload, across providers, engines, versions, formats.

Nine providers of the same weights score 0.80 to 0.84 on one task. Whether such a spread is more
than noise is a question about runs that are alike in everything else, so it is asked within strata
of hardware, load and the other choices, and never of a single run per provider.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import orjson

from inferencebench_pipeline.leaderboard.document import Group, RunRow, Variance, VarianceLevel
from inferencebench_pipeline.leaderboard.permutation import (
    FALSE_DISCOVERY_RATE,
    Stratum,
    Values,
    adjusted_p_values,
    enough_runs,
    p_value,
    seed_of,
)

LATEST: Final = 20
"""Runs of one level within one stratum that are looked at, so that old ones leave in time."""
MOST_RUNS: Final = 200
"""Runs that one test is about; strata beyond, the smallest first, are left out."""

Across = Literal["provider", "engine", "engine_version", "quantization"]
Alike = tuple[str, ...]


@dataclass(frozen=True)
class Observation:
    """One value, the level it was measured at, and what else must be the same to compare it."""

    name: str
    """Of the run, or of the address of a result."""
    when: str
    value: float
    level: str
    alike: Alike


@dataclass(frozen=True)
class Topic:
    """What a spread is about."""

    group_id: str
    kind: Literal["speed", "quality"]
    model_id: str
    model_revision: str | None
    key: str
    label: str
    unit: str | None
    across: Across


@dataclass(frozen=True)
class _Facet:
    across: Across
    level: Callable[[RunRow], str | None]
    others: Callable[[RunRow], tuple[str | None, ...]]


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


def group_variances(group: Group, rows: Iterable[RunRow]) -> tuple[Variance, ...]:
    """Return the spreads in speed within one comparison group, each with its own p-value.

    Args:
        group: whose headline metrics with a known better direction are looked at.
        rows: at least the group's ranked runs.
    """
    ranked = set(group.rows)
    models: dict[tuple[str, str], list[RunRow]] = defaultdict(list)
    for row in rows:
        if row.row_id in ranked and row.model_id and row.model_revision:
            models[row.model_id, row.model_revision].append(row)
    return tuple(
        item
        for (model_id, revision), runs in sorted(models.items())
        for facet in _FACETS
        if len({level for run in runs if (level := facet.level(run))}) > 1
        for column in group.columns
        if column.better is not None
        for item in variances_of(
            Topic(
                group_id=group.group_id,
                kind="speed",
                model_id=model_id,
                model_revision=revision,
                key=column.key,
                label=column.label,
                unit=column.unit,
                across=facet.across,
            ),
            _observations(runs, facet, column.key),
        )
    )


def _observations(runs: Iterable[RunRow], facet: _Facet, key: str) -> Iterator[Observation]:
    for row in runs:
        level = facet.level(row)
        value = next((cell.value for cell in row.metrics if cell.key == key), None)
        if level and value is not None:
            yield Observation(row.row_id, row.timestamp or "", value, level, _alike(row, facet))


def variances_of(topic: Topic, observations: Iterable[Observation]) -> list[Variance]:
    """Return the spreads among observations; none where nothing can be compared.

    Levels that no stratum connects, such as versions of different engines, are not comparable and
    come as spreads of their own. Values that are all the same have none.
    """
    parts = _connected(_comparable(observations))
    return [_variance(topic, part) for part in parts if len({item.value for item in part}) > 1]


@dataclass(frozen=True)
class KeptVariance:
    """A spread with its own p-value, as it is kept until all spreads are looked at together."""

    p_value: float | None
    place: tuple[str, ...]
    """Orders spreads that are equally sure."""
    data: bytes
    """JSON of the :class:`.document.Variance`, without its empty fields."""

    @classmethod
    def of(cls, item: Variance) -> KeptVariance:
        """Return a spread as it is kept."""
        place = (item.group_id, item.model_id, item.across, item.key, item.levels[0].name)
        return cls(item.p_value, place, item.model_dump_json(exclude_none=True).encode())

    def judged(self, q_value: float | None) -> bytes:
        """Return its JSON with what all tests together say of it.

        Spliced in: to parse tens of thousands of spreads again would take longer than all else.
        """
        if q_value is None:
            return self.data
        told = {"q_value": q_value, "more_than_noise": q_value <= FALSE_DISCOVERY_RATE}
        return self.data[:-1] + b"," + orjson.dumps(told)[1:]


def significant_variances(tested: Iterable[KeptVariance]) -> list[bytes]:
    """Return the spreads with the false-discovery rate held over all of them, surest first.

    Each is the JSON of a :class:`.document.Variance`. Spreads of too few runs come last, unjudged.
    """
    known = list(tested)
    chances = [item.p_value for item in known if item.p_value is not None]
    adjusted = iter(adjusted_p_values(chances))
    judged = [(None if item.p_value is None else next(adjusted), item) for item in known]
    judged.sort(key=lambda pair: (2.0 if pair[0] is None else pair[0], pair[1].place))
    return [item.judged(q_value) for q_value, item in judged]


def _alike(row: RunRow, facet: _Facet) -> Alike:
    """Return what runs must share to be compared: hardware, load, and the other choices.

    Of a remote endpoint the described hardware is the client's; nobody knows the provider's.
    """
    hardware = "remote" if row.hardware_class == "remote" else row.hardware
    parts = (hardware, row.load_point, *facet.others(row))
    return tuple(part or "not stated" for part in parts)


def _comparable(observations: Iterable[Observation]) -> list[Observation]:
    """Return the latest observations of each level in strata with more than one level."""
    strata: dict[Alike, dict[str, list[Observation]]] = defaultdict(lambda: defaultdict(list))
    for item in observations:
        strata[item.alike][item.level].append(item)
    kept = [
        [
            item
            for level in sorted(levels)
            for item in sorted(levels[level], key=lambda item: (item.when, item.name))[-LATEST:]
        ]
        for _, levels in sorted(strata.items())
        if len(levels) > 1
    ]
    chosen: list[Observation] = []
    for stratum in sorted(kept, key=len, reverse=True):
        if not chosen or len(chosen) + len(stratum) <= MOST_RUNS:
            chosen += stratum
    return chosen


def _connected(observations: Sequence[Observation]) -> list[list[Observation]]:
    """Return the observations in parts whose levels are connected by shared strata."""
    part_of: dict[str, str] = {item.level: item.level for item in observations}
    first: dict[Alike, str] = {}
    for item in observations:
        one, other = part_of[item.level], part_of[first.setdefault(item.alike, item.level)]
        if one != other:
            part_of = {name: other if part == one else part for name, part in part_of.items()}
    parts: dict[str, list[Observation]] = defaultdict(list)
    for item in observations:
        parts[part_of[item.level]].append(item)
    return [parts[name] for name in sorted(parts)]


def _variance(topic: Topic, part: Sequence[Observation]) -> Variance:
    names = sorted({item.level for item in part})
    kinds = sorted({item.alike for item in part})
    levels = np.array([names.index(item.level) for item in part])
    within = np.array([kinds.index(item.alike) for item in part])
    values = np.array([item.value for item in part])
    strata = [Stratum(values[within == at], levels[within == at]) for at in range(len(kinds))]
    sizes = np.bincount(within)
    commonest = int(np.argmax(sizes))
    additive = topic.unit == "ratio" or topic.kind == "quality" or bool((values <= 0).any())
    told = _as_if_in(commonest, values, levels, within, additive=additive)
    found = [
        _level(topic, name, told[levels == at], [item for item in part if item.level == name])
        for at, name in enumerate(names)
    ]
    medians = [level.median for level in found]
    smallest = min(medians)
    chance = None
    if enough_runs(strata):
        seed = seed_of(topic.key, topic.across, *sorted(item.name for item in part))
        chance = p_value(strata, seed=seed)
    return Variance(
        group_id=topic.group_id,
        kind=topic.kind,
        model_id=topic.model_id,
        model_revision=topic.model_revision,
        alike=kinds[commonest],
        strata=len(kinds),
        key=topic.key,
        label=topic.label,
        unit=topic.unit,
        across=topic.across,
        levels=tuple(found),
        spread=(max(medians) - smallest) / smallest if smallest > 0 else None,
        p_value=chance,
    )


def _as_if_in(
    reference: int,
    values: Values,
    levels: np.ndarray[tuple[int], np.dtype[np.intp]],
    within: np.ndarray[tuple[int], np.dtype[np.intp]],
    *,
    additive: bool,
) -> Values:
    """Return the values as they would be in one stratum, so that levels can be told side by side.

    What a stratum adds (to shares and scores) or multiplies with (durations, rates) is the least-
    squares effect beside that of the level, so that a level which was run on slow hardware more
    often does not look slower for it.
    """
    if within.max() == 0:
        return values
    y = values if additive else np.log(values)
    design = np.hstack([np.eye(within.max() + 1)[within], np.eye(levels.max() + 1)[levels]])
    effects = np.linalg.lstsq(design, y, rcond=None)[0][: within.max() + 1]
    shifted: Values = y - effects[within] + effects[reference]
    return shifted if additive else np.exp(shifted)


def _level(
    topic: Topic, name: str, values: Values, observations: Sequence[Observation]
) -> VarianceLevel:
    low, high = median_interval(values)
    names = tuple(item.name for item in observations)
    return VarianceLevel(
        name=name,
        n=len(values),
        median=statistics.median(values.tolist()),
        low=low,
        high=high,
        row_ids=names if topic.kind == "speed" else (),
        urls=names if topic.kind == "quality" else (),
    )


def median_interval(values: Values) -> tuple[float | None, float | None]:
    """Return the 95 % interval of the median by order statistics; None below six values.

    It assumes independent values and nothing about their distribution: the ends are the innermost
    pair of values with at most 2.5 % chance on either side (Thompson 1936).
    """
    n, ordered = len(values), np.sort(values)
    tail, beyond = 0.0, -1
    for below in range(n // 2):
        tail += math.comb(n, below) / 2**n
        if tail > 0.025:
            break
        beyond = below
    if beyond < 0:
        return None, None
    return float(ordered[beyond]), float(ordered[n - 1 - beyond])
