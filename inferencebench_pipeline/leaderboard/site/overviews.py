"""A page per model and per kind of hardware, and the lists of both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

from inferencebench_pipeline.leaderboard.document import (
    Change,
    Column,
    Group,
    Leaderboard,
    MetricCell,
    RunRow,
    Variance,
)
from inferencebench_pipeline.leaderboard.site.data import GroupTable, comparable_cells
from inferencebench_pipeline.leaderboard.site.output_folder import Page
from inferencebench_pipeline.leaderboard.site.rendering import (
    hardware_page,
    model_page,
    render,
)
from inferencebench_pipeline.leaderboard.site.spread import drawn_spreads

MOST_ROWS = 100
"""Runs of one group that a page lists; the board shows the rest, filtered."""


@dataclass(frozen=True)
class GroupPart:
    """The part of one comparison group that one page shows."""

    group: Group
    columns: tuple[Column, ...]
    order: str
    lines: tuple[tuple[str, RunRow, tuple[MetricCell | None, ...]], ...]
    """Place in the whole group, run, and its cells in the order of ``columns``."""
    total: int
    """Ranked runs of the page's subject in the group, listed or not."""
    board_address: str
    """The board filtered to them."""


@dataclass(frozen=True)
class Overview:
    """One model or one kind of hardware."""

    name: str
    page: str
    rows: tuple[RunRow, ...]
    ranked: int
    measured: str | None
    """The latest run's day."""


def model_pages(board: Leaderboard) -> Iterator[Page]:
    """Yield each model's page, then the list of them."""
    changes: dict[str | None, list[Change]] = defaultdict(list)
    for change in board.changes:
        changes[change.model_id].append(change)
    spreads: dict[str, list[Variance]] = defaultdict(list)
    for variance in board.variances:
        spreads[variance.model_id].append(variance)
    overviews = _overviews(board, lambda row: row.model_id, model_page)
    index = _Index(board)
    for item in overviews:
        yield Page(
            item.page,
            render(
                "model.html",
                root="../",
                item=item,
                parts=index.parts(item.rows, "model", item.name),
                unranked=[row for row in item.rows if row.state != "verified"][:MOST_ROWS],
                changes=changes[item.name],
                spreads=drawn_spreads(spreads[item.name]),
            ),
        )
    yield Page(
        "models.html",
        render(
            "overviews.html", root="", at="models", title="Models", kind="Model", items=overviews
        ),
    )


def hardware_pages(board: Leaderboard) -> Iterator[Page]:
    """Yield each kind of hardware's page, then the list of them."""
    overviews = _overviews(board, lambda row: row.hardware, hardware_page)
    index = _Index(board)
    for item in overviews:
        yield Page(
            item.page,
            render(
                "hardware.html",
                root="../",
                item=item,
                parts=index.parts(item.rows, "hardware", item.name),
                unranked=[row for row in item.rows if row.state != "verified"][:MOST_ROWS],
            ),
        )
    yield Page(
        "hardware.html",
        render(
            "overviews.html",
            root="",
            at="hardware",
            title="Hardware",
            kind="Accelerators, or the processor",
            items=overviews,
        ),
    )


def board_address(group_id: str, facet: str, value: str) -> str:
    """Return the fragment that opens the board on one group, filtered by one property."""
    return "index.html#" + urlencode({"group": group_id, facet: value})


class _Index:
    """The board by group, so that a page costs its own rows only."""

    def __init__(self, board: Leaderboard) -> None:
        self._groups = {group.group_id: GroupTable.of(group) for group in board.groups}
        self._order = {group_id: at for at, group_id in enumerate(self._groups)}
        self._places = {
            row_id: (at, place)
            for table in self._groups.values()
            for at, (row_id, place) in enumerate(zip(table.group.rows, table.places, strict=True))
        }

    def parts(self, rows: Iterable[RunRow], facet: str, name: str) -> list[GroupPart]:
        """Return what ``rows`` did in each group they rank in, best first."""
        members: dict[str, list[RunRow]] = defaultdict(list)
        for row in rows:
            if row.group_id is not None and row.row_id in self._places:
                members[row.group_id].append(row)
        return [
            self._part(self._groups[group_id], members[group_id], facet, name)
            # In the order of the board, which begins with groups whose metrics have definitions.
            for group_id in sorted(members, key=self._order.__getitem__)
        ]

    def _part(self, table: GroupTable, rows: list[RunRow], facet: str, name: str) -> GroupPart:
        # By the position in the group, because places in words may be shared.
        rows.sort(key=lambda row: self._places[row.row_id][0])
        return GroupPart(
            group=table.group,
            columns=table.columns,
            order=table.order,
            lines=tuple(
                (self._places[row.row_id][1], row, cells_of(table, row)) for row in rows[:MOST_ROWS]
            ),
            total=len(rows),
            board_address=board_address(table.group.group_id, facet, name),
        )


def cells_of(table: GroupTable, row: RunRow) -> tuple[MetricCell | None, ...]:
    """Return a row's cells in the order of a table's columns."""
    cells = comparable_cells(table.group, row)
    return tuple(cells.get(column.key) for column in table.columns)


def _overviews(
    board: Leaderboard, name_of: Callable[[RunRow], str | None], page_of: Callable[[str], str]
) -> list[Overview]:
    """Return every name with its runs, those with most ranked runs first."""
    rows: dict[str, list[RunRow]] = defaultdict(list)
    for row in board.runs:
        name = name_of(row)
        if name is not None:
            rows[name].append(row)
    made = [
        Overview(
            name=name,
            page=page_of(name),
            rows=tuple(members),
            ranked=sum(row.state == "verified" for row in members),
            measured=max((row.timestamp for row in members if row.timestamp), default=None),
        )
        for name, members in rows.items()
    ]
    return sorted(made, key=lambda item: (-item.ranked, -len(item.rows), item.name))
