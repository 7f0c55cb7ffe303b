"""From the rows of the index to comparison groups: their columns, their order, their ranks."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from inferencebench_pipeline.leaderboard.analysis.fronts import fronts_of
from inferencebench_pipeline.leaderboard.analysis.prices import Prices
from inferencebench_pipeline.leaderboard.analysis.ranked_run import RankedRun, quantization
from inferencebench_pipeline.leaderboard.document import (
    Column,
    Group,
    RunRow,
)
from inferencebench_pipeline.leaderboard.envelope_source import FOREIGN_DEFINITIONS
from inferencebench_pipeline.measure import Definitions, newest_of

Row = Mapping[str, Any]
"""One line of the table of runs."""

RANKED_BY = "output_tok_per_s"
"""The metric groups are ordered by, where they have it; else their first column."""
_FOREIGN_COLUMNS = 4
_MADE_HERE = frozenset({"dataset_url", "created_at", "quantization", "metrics"})
_COPIED = tuple(name for name in RunRow.model_fields if name not in _MADE_HERE)
"""Fields of a row that are columns of the table of runs, unchanged."""
ROW_COLUMNS = (
    *_COPIED, "endpoint", "created_at", "quantization_format", "quantization_method", "headline",
)  # fmt: skip
"""The columns that :func:`run_row` reads."""


def group_of(rows: Sequence[RankedRun], prices: Prices | None = None) -> Group:
    """Return the comparison group of runs that share one, with its columns and its order.

    Args:
        rows: all of its ranked runs, at least one, ordered by repository, as
            :func:`.ranked_run.comparable_runs` returns them.
        prices: what a cost is computed from; without them there is none.
    """
    first = rows[0]
    definitions = newest_of(row.metric_definitions for row in rows)
    version = definitions.version if definitions else first.metric_definitions
    columns = _columns(definitions, rows)
    ranking = [column for column in columns if column.better]
    by = next((column for column in ranking if column.key == RANKED_BY), next(iter(ranking), None))
    ordered = sorted(rows, key=lambda row: _order(row, by))
    return Group(
        group_id=first.group_id,
        suite_id=first.suite_id or "",
        suite_version=first.suite_version or "",
        dataset_id=first.dataset_id or "",
        workload=first.workload or "",
        slo=first.slo,
        metric_definitions=version or FOREIGN_DEFINITIONS,
        columns=columns,
        ranked_by=by.key if by else None,
        rows=tuple(row.row_id for row in ordered),
        ranks=_ranks(ordered, by),
        fronts=() if definitions is None else fronts_of(ordered, definitions, prices),
    )


def group_order(group: Group) -> tuple[bool, str, str, str]:
    """Return the sort key of groups: those that say what their metrics mean come first."""
    foreign = group.metric_definitions == FOREIGN_DEFINITIONS
    return (foreign, group.suite_id, group.dataset_id, group.group_id)


def _ranks(rows: Sequence[RankedRun], by: Column | None) -> tuple[int | None, ...]:
    """Return each row's rank: one more than the number of runs that are better for sure.

    Better for sure is a run whose 95 % interval lies wholly on the better side of the row's; a run
    without an interval has no rank and takes none from another.
    """
    if by is None:
        return (None,) * len(rows)
    sign = -1.0 if by.better == "higher" else 1.0
    ends = [_interval(row, by.key, sign) for row in rows]
    worst = sorted(high for _, high in filter(None, ends))
    # It counts the runs whose worse end is still better than this one's better end.
    return tuple(None if end is None else 1 + bisect_left(worst, end[0]) for end in ends)


def _interval(row: RankedRun, key: str, sign: float) -> tuple[float, float] | None:
    """Return the ends of a metric's interval, the better one first and as if lower were better."""
    cell = row.metrics.get(key)
    if cell is None or cell.value is None or cell.low is None or cell.high is None:
        return None
    low, high = sorted((sign * cell.low, sign * cell.high))
    return low, high


def _columns(definitions: Definitions | None, rows: Sequence[RankedRun]) -> tuple[Column, ...]:
    """Return what a group's table shows: the metrics for the board, where their meaning is known.

    Of envelopes that state no definitions, the first few numbers are shown under their own keys,
    and nobody claims to know which direction is better.
    """
    present = dict.fromkeys(
        key for row in rows for key, cell in row.metrics.items() if cell.text is None
    )
    if definitions is not None:
        known = [
            Column(
                key=item.key,
                label=item.label,
                unit=item.unit,
                definition=item.definition,
                better=item.better,
            )
            for item in definitions.metrics.values()
            if "board" in item.shown_on and item.key in present
        ]
        if known:
            return tuple(known)
    return tuple(
        Column(key=key, label=key, unit=None, definition=None, better=None)
        for key in list(present)[:_FOREIGN_COLUMNS]
    )


def _order(row: RankedRun, by: Column | None) -> tuple[float, str]:
    """Return the sort key: the better value first, missing values last, ties by repository."""
    value = row.value(by.key) if by else None
    if value is None or by is None:
        return (math.inf, row.repo_id)
    return (-value if by.better == "higher" else value, row.repo_id)


def run_row(line: Row) -> RunRow:
    """Return the row of one line of the table of runs."""
    repo_id, revision = line["repo_id"], line["revision"]
    base = f"{line['endpoint']}/datasets/{quote(repo_id)}"
    return RunRow.model_validate(
        {name: line[name] for name in _COPIED}
        | {
            "dataset_url": f"{base}/tree/{quote(revision, safe='')}",
            "created_at": line["created_at"].isoformat(),
            "quantization": quantization(line["quantization_format"], line["quantization_method"]),
            "metrics": line["headline"] or (),
        }
    )
