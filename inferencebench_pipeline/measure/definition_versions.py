"""The definitions of each version, so that a record is judged under those that it names.

The tables are in ``metric_definitions`` and ``earlier_definitions``; here they are only cut by
version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from inferencebench_pipeline.measure.earlier_definitions import EARLIER_DEFINITIONS
from inferencebench_pipeline.measure.metric_definitions import (
    DEFINITIONS,
    DEFINITIONS_HISTORY,
    DISTRIBUTIONS,
    DefinitionsVersion,
    Distribution,
    MetricDefinition,
)


@dataclass(frozen=True, eq=False)
class Definitions:
    """All metric definitions of one version, of which there is one object."""

    version: str
    metrics: Mapping[str, MetricDefinition]
    """Each metric by its key, in the order of the newest version."""
    distributions: tuple[Distribution, ...]
    traces_schemas: frozenset[str]
    """The schemas of traces that they are computed from."""

    def agreeing_with(self, other: Definitions) -> frozenset[str]:
        """Return the keys that mean the same in both, whose numbers may be compared."""
        return frozenset(
            key for key, metric in self.metrics.items() if other.metrics.get(key) == metric
        )


def _cut(version: DefinitionsVersion) -> Definitions:
    """Return the definitions that hold in a version."""
    number = version.number
    found = {
        row.key: row
        for row in (*EARLIER_DEFINITIONS, *DEFINITIONS.values())
        if row.since <= number and (row.until is None or number <= row.until)
    }
    return Definitions(
        version=str(number),
        metrics={key: found[key] for key in _ORDER if key in found},
        distributions=tuple(each for each in DISTRIBUTIONS if each.since <= number),
        traces_schemas=version.traces_schemas,
    )


# A metric that went away has a place as well: behind those that are still there.
_ORDER: Final = tuple(dict.fromkeys([*DEFINITIONS, *(row.key for row in EARLIER_DEFINITIONS)]))
_KNOWN: Final = {str(each.number): _cut(each) for each in DEFINITIONS_HISTORY}
NEWEST_DEFINITIONS: Final = _KNOWN[str(DEFINITIONS_HISTORY[-1].number)]
"""The definitions that new records are made under."""


def definitions_of(version: str | None) -> Definitions | None:
    """Return the definitions of a version; None of one that is not known here."""
    return None if version is None else _KNOWN.get(version)


def known_definitions() -> tuple[Definitions, ...]:
    """Return the definitions of every version, the first one first."""
    return tuple(_KNOWN.values())


def newest_of(versions: Iterable[str | None]) -> Definitions | None:
    """Return the newest definitions among versions; None when none of them is known here."""
    known = [found for version in versions if (found := definitions_of(version)) is not None]
    return max(known, key=lambda each: int(each.version), default=None)
