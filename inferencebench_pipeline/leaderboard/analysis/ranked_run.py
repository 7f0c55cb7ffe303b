"""The runs of a comparison group as the comparison takes them, straight from columns.

A build compares every run of every changed group: what it does not look at is not read, and plain
tuples cost a fifth of checked documents. The tables are this pipeline's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import pyarrow as pa

from inferencebench_pipeline.leaderboard.comparability import comparable_keys
from inferencebench_pipeline.measure import Definitions, newest_of


class Cell(NamedTuple):
    """One metric of a run. A foreign envelope may state it in words instead of a number."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    """Ends of the envelope's 95 % interval."""
    text: str | None = None


class RankedRun(NamedTuple):
    """One run that may be ranked; fields mean what they do in :class:`.document.RunRow`."""

    row_id: str
    repo_id: str
    organisation: str
    timestamp: str | None
    group_id: str
    suite_id: str | None
    suite_version: str | None
    dataset_id: str | None
    workload: str | None
    slo: str | None
    metric_definitions: str | None
    model_id: str | None
    model_revision: str | None
    model_provider: str | None
    engine_name: str | None
    engine_version: str | None
    hardware_class: str | None
    hardware: str | None
    accelerators: int | None
    load_point: str | None
    quantization: str | None
    metrics: Mapping[str, Cell]

    def value(self, key: str) -> float | None:
        """Return a metric's value; None when it has none."""
        cell = self.metrics.get(key)
        return None if cell is None else cell.value


def comparable_runs(rows: Sequence[RankedRun]) -> list[RankedRun]:
    """Return the runs of a group without the numbers that mean another thing in the newest of them.

    What is left under one key is defined in the same words in all runs, whatever version each of
    them names.
    """
    newest = newest_of(row.metric_definitions for row in rows)
    return [_under(row, newest) for row in rows]


def _under(row: RankedRun, definitions: Definitions | None) -> RankedRun:
    keys = comparable_keys(row.metric_definitions, definitions)
    if keys is None:
        return row
    return row._replace(metrics={key: row.metrics[key] for key in row.metrics if key in keys})


# The last two fields are made of several columns.
_COPIED: Final = RankedRun._fields[:-2]
_CELL: Final = ("value", "low", "high", "text")
RANKED_COLUMNS: Final = (*_COPIED, "quantization_format", "quantization_method", "headline")
"""The columns of the table of runs that :func:`ranked_runs` reads."""


def ranked_runs(table: pa.Table) -> list[RankedRun]:
    """Return the runs of a table with ``RANKED_COLUMNS``, in its order."""
    formats, methods = (
        table[name].to_pylist() for name in ("quantization_format", "quantization_method")
    )
    columns = [table[name].to_pylist() for name in _COPIED]
    return list(
        map(RankedRun, *columns, map(quantization, formats, methods), _cells(table["headline"]))
    )


def quantization(form: str | None, method: str | None) -> str | None:
    """Return a quantisation in words, such as ``q4_k_m gguf``; None when there is none."""
    return " ".join(part for part in (form, method) if part) or None


def _cells(headlines: pa.ChunkedArray[Any]) -> list[dict[str, Cell]]:
    """Return each row's cells by the key of their metric."""
    found: list[dict[str, Cell]] = []
    # Read by the column, because Arrow would make a dictionary of each cell.
    for chunk in headlines.chunks:
        lists: Any = chunk
        keys = lists.values.field("key").to_pylist()
        cells = list(map(Cell, *(lists.values.field(name).to_pylist() for name in _CELL)))
        ends = lists.offsets.to_pylist()
        found.extend(
            dict(zip(keys[start:end], cells[start:end], strict=True))
            for start, end in pairwise(ends)
        )
    return found
