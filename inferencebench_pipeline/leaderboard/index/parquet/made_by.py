"""The key of whatever a build keeps: a digest of everything that decides what an index says.

An index that another key made is made anew, so nobody has to raise a version when a column, a
metric definition or the code of a build changes.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

import orjson

from inferencebench_pipeline import __version__, measure
from inferencebench_pipeline.leaderboard import run_columns
from inferencebench_pipeline.leaderboard.document import FORMAT
from inferencebench_pipeline.leaderboard.index.parquet import columns

_PACKAGE = "inferencebench_pipeline.leaderboard"
_PAGES = "site"
"""The folder whose code decides nothing of an index; it has a digest of its own."""


def made_by() -> str:
    """Return what an index is made by now: the version, and a digest of what decides it."""
    parts = (
        FORMAT,
        _source_digest(),
        run_columns.FACTS_SCHEMA.to_string(),
        columns.METRICS_SCHEMA.to_string(),
        # Sorted, because the order of a set of texts differs from process to process.
        *sorted(columns.SHOWN_METRICS),
        measure.METRIC_DEFINITIONS_VERSION,
        *(
            _definition_text(metric)
            for definitions in measure.known_definitions()
            for metric in definitions.metrics.values()
        ),
    )
    text = "\0".join(parts)
    return f"{__version__}/{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _definition_text(definition: measure.MetricDefinition) -> str:
    """Return a definition as JSON, in which the order of its sets is the same in each process."""
    options = orjson.OPT_SORT_KEYS
    return orjson.dumps(dataclasses.asdict(definition), default=sorted, option=options).decode()


@cache
def _source_digest() -> str:
    """Return a digest of the code that a build runs."""
    return digest_of_modules(resources.files(_PACKAGE))


def digest_of_modules(room: Traversable) -> str:
    """Return a digest of every module of a room, at whatever depth, but of those of its pages."""
    found = hashlib.sha256()
    for item in _modules(room):
        found.update(item.name.encode() + b"\0" + item.read_bytes())
    return found.hexdigest()


def _modules(folder: Traversable) -> Iterable[Traversable]:
    for item in sorted(folder.iterdir(), key=lambda it: it.name):
        if item.is_dir() and item.name != _PAGES:
            yield from _modules(item)
        elif item.name.endswith(".py"):
            yield item
