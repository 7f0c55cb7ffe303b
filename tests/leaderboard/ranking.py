"""Rows of the leaderboard as the comparison of a group takes them."""

from __future__ import annotations

from inferencebench_pipeline.leaderboard.analysis.ranked_run import Cell, RankedRun
from inferencebench_pipeline.leaderboard.document import RunRow


def ranked(row: RunRow) -> RankedRun:
    """Return what the comparison sees of a row."""
    facts = {
        name: getattr(row, name)
        for name in RankedRun._fields
        if name not in ("metrics", "group_id")
    }
    cells = {cell.key: Cell(cell.value, cell.low, cell.high, cell.text) for cell in row.metrics}
    return RankedRun(**facts, group_id=row.group_id or "", metrics=cells)
