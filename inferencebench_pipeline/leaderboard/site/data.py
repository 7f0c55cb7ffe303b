"""The data scripts: the board's rows as columns, and each comparison group's numbers.

Scripts, because a page opened from a folder may load a script and may not fetch a file. Their names
hold a digest of their content, so that a page never meets data of another build.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson

from inferencebench_pipeline.leaderboard.comparability import comparable_keys
from inferencebench_pipeline.leaderboard.document import (
    Column,
    Front,
    Group,
    Leaderboard,
    MetricCell,
    RunRow,
)
from inferencebench_pipeline.leaderboard.run_columns import Shown, marks, suite_words
from inferencebench_pipeline.leaderboard.site.labels import (
    MILD_STATES,
    NO_VALUE,
    STATES,
    TIERS,
    format_day,
    unit_words,
)
from inferencebench_pipeline.leaderboard.site.output_folder import Page
from inferencebench_pipeline.measure import definitions_of

_DIGITS = 7
"""Significant digits of the numbers in the scripts; leaderboard.json has all of them."""

_SHOWN: Final = [
    (mark, partial(mark.text, field=name)) for name, mark in marks(RunRow, Shown).items()
]
_COLUMNS: Final[dict[str, Callable[[RunRow], str | None]]] = {
    **{mark.name: of for mark, of in _SHOWN},
    "measured": lambda row: format_day(row.timestamp),
}
_FACETS: Final = [{"id": mark.name, "label": mark.label} for mark, _ in _SHOWN if mark.label]
"""The columns that readers can filter by, in the order of the filters."""
_MORE: Final = [{"id": mark.name, "label": mark.label} for mark, _ in _SHOWN if mark.in_tables]
"""The columns that tables have besides those whose cells are made by hand."""


def runs_script(board: Leaderboard, group_files: dict[str, str]) -> bytes:
    """Return the script with every run's identity and the list of groups, largest first."""
    return b"self.IB_RUNS=" + _js_string(
        {
            "ids": [row.row_id for row in board.runs],
            "repos": [row.repo_id for row in board.runs],
            "facets": _FACETS,
            "more": _MORE,
            "load_values": [_rounded(row.load_value) for row in board.runs],
            "columns": {
                name: _dictionary([of(row) for row in board.runs]) for name, of in _COLUMNS.items()
            },
            "groups": [
                _summary(group, group_files[group.group_id])
                for group in sorted(board.groups, key=lambda item: -len(item.rows))
            ],
            "states": STATES,
            "mild": MILD_STATES,
            "tiers": TIERS,
        }
    )


def group_script(group: Group, rows: dict[str, RunRow]) -> bytes:
    """Return the script with one group's ranks, metrics and fronts, in the order of its rows."""
    members = [rows[row_id] for row_id in group.rows]
    return (
        b"IB_GROUP("
        + orjson.dumps(group.group_id)
        + b","
        + _js_string(
            {
                "rows": group.rows,
                "rank": places(group),
                "metrics": _metrics(group, members),
                "fronts": [_front(front, group.rows) for front in group.fronts],
            }
        )
        + b")"
    )


@dataclass(frozen=True)
class GroupTable:
    """A comparison group as tables show it."""

    group: Group
    columns: tuple[Column, ...]
    """Its metrics; the one that it is ordered by comes first."""
    places: list[str]
    """The place of each of its rows."""
    order: str
    """The metric that its runs are ordered by, in words."""

    @classmethod
    def of(cls, group: Group) -> GroupTable:
        """Return the table of a group."""
        return cls(group, shown_columns(group), places(group), order_words(group))


def data_scripts(board: Leaderboard) -> list[Page]:
    """Return the script of each group, then that of the runs, which names the others."""
    rows = {row.row_id: row for row in board.runs}
    scripts = {group.group_id: group_script(group, rows) for group in board.groups}
    files = {name: script_name(f"group-{name}", data) for name, data in scripts.items()}
    runs = runs_script(board, files)
    return [
        *(Page(files[name], data) for name, data in scripts.items()),
        Page(script_name("runs", runs), runs),
    ]


def script_name(stem: str, data: bytes) -> str:
    """Return the file name of a data script."""
    return f"data/{stem}-{hashlib.sha256(data).hexdigest()[:12]}.js"


def table_columns(row: RunRow) -> dict[str, str | None]:
    """Return the texts of the further columns of a table of runs, by their labels."""
    return {str(mark.label): text(row) for mark, text in _SHOWN if mark.in_tables}


def order_words(group: Group) -> str:
    """Return by what a group's runs are ordered, and what equal places mean."""
    by = next((column for column in group.columns if column.key == group.ranked_by), None)
    if by is None:
        return "none: no metric has a known better direction"
    return f"{by.label}, {by.better} is better; = where 95 % intervals overlap"


def places(group: Group) -> list[str]:
    """Return each row's place: ``=2`` where others share it, a dash where nobody can say."""
    shared = Counter(group.ranks)
    return [
        NO_VALUE if rank is None else f"={rank}" if shared[rank] > 1 else str(rank)
        for rank in group.ranks
    ] or [NO_VALUE] * len(group.rows)


def shown_columns(group: Group) -> tuple[Column, ...]:
    """Return a group's metrics as tables show them: the one it is ordered by comes first."""
    return tuple(sorted(group.columns, key=lambda column: column.key != group.ranked_by))


def _summary(group: Group, file: str) -> dict[str, Any]:
    slo = group.slo or "no SLO"
    count = len(group.rows)
    return {
        "id": group.group_id,
        "file": file,
        "title": f"{suite_words(group.suite_id, group.suite_version)} · {group.dataset_id} · {slo} "
        f"· {count:,} {'run' if count == 1 else 'runs'}",
        "suite": group.suite_id,
        "version": group.suite_version,
        "dataset": group.dataset_id,
        "slo": group.slo,
        "workload": group.workload,
        "definitions": group.metric_definitions,
        "order": order_words(group),
        "columns": [_column(column) for column in shown_columns(group)],
    }


def comparable_cells(group: Group, row: RunRow) -> dict[str, MetricCell]:
    """Return by its key each number of a row that means what it does in the group's columns."""
    keys = comparable_keys(row.metric_definitions, definitions_of(group.metric_definitions))
    return {cell.key: cell for cell in row.metrics if keys is None or cell.key in keys}


def _metrics(group: Group, members: Sequence[RunRow]) -> dict[str, Any]:
    cells = [comparable_cells(group, row) for row in members]
    return {
        column.key: _metric([each.get(column.key) for each in cells]) for column in group.columns
    }


def _metric(cells: Sequence[MetricCell | None]) -> dict[str, Any]:
    return {
        "value": [_rounded(cell.value) if cell else None for cell in cells],
        "low": [_rounded(cell.low) if cell else None for cell in cells],
        "high": [_rounded(cell.high) if cell else None for cell in cells],
        "n": [cell.n if cell else None for cell in cells],
        # Few cells have a reason, so a list would hold little but nulls.
        "why": {
            str(at): cell.null_reason for at, cell in enumerate(cells) if cell and cell.null_reason
        },
    }


def _front(front: Front, rows: Sequence[str]) -> dict[str, Any]:
    """Return a front's points as columns; ``row`` is the place of each in the group's rows."""
    places = {row_id: at for at, row_id in enumerate(rows)}
    points = [point for point in front.points if point.row_id in places]
    return {
        "name": front.name,
        "title": front.title,
        "note": front.note,
        "x": _column(front.x),
        "y": _column(front.y),
        "points": {
            "row": [places[point.row_id] for point in points],
            "x": [_rounded(point.x) for point in points],
            "y": [_rounded(point.y) for point in points],
            "xl": [_rounded(point.x_low) for point in points],
            "xh": [_rounded(point.x_high) for point in points],
            "yl": [_rounded(point.y_low) for point in points],
            "yh": [_rounded(point.y_high) for point in points],
            "on": [int(point.on_front) for point in points],
        },
    }


def _column(column: Column) -> dict[str, Any]:
    return {
        "key": column.key,
        "label": column.label,
        "unit": unit_words(column.unit),
        "definition": column.definition,
        "better": column.better,
    }


def _dictionary(values: Sequence[str | None]) -> dict[str, Any]:
    """Return a column as its distinct values and, per row, which of them; -1 for none."""
    known: dict[str, int] = {}
    index = [-1 if value is None else known.setdefault(value, len(known)) for value in values]
    return {"values": list(known), "index": index}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")


def _js_string(value: object) -> bytes:
    """Return JSON as a JavaScript string for JSON.parse, which is faster than a literal.

    Nothing in it can end the string, or a script element should it ever stand in one.
    """
    # Backslashes come first, since the other replacements add some.
    text = orjson.dumps(value).replace(b"\\", b"\\\\").replace(b"'", b"\\'")
    return b"'" + text.replace(b"<", b"\\\\u003c") + b"'"
