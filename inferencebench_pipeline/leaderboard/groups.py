"""Comparison groups kept from build to build: a group is compared anew when its runs changed.

``groups.json`` says of each group where its parts lie in ``leaderboard.json``, the digest of the
rows they were made of, and what was tested in it. It is derived; a build makes what it lacks.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import duckdb
import orjson
import pyarrow as pa

from inferencebench_pipeline.leaderboard.assembly import Part
from inferencebench_pipeline.leaderboard.history import TestedChange, tested_changes
from inferencebench_pipeline.leaderboard.manifest import DOCUMENT_FILE, MADE_BY, file_state
from inferencebench_pipeline.leaderboard.prices import Prices
from inferencebench_pipeline.leaderboard.ranked import RANKED_COLUMNS, RankedRun, ranked_runs
from inferencebench_pipeline.leaderboard.ranking import group_of, group_order
from inferencebench_pipeline.leaderboard.tables import read_batches
from inferencebench_pipeline.leaderboard.variance import KeptVariance, group_variances
from inferencebench_pipeline.leaderboard.workers import Workers
from inferencebench_pipeline.runs import write_changed

GROUPS_FILE: Final = "groups.json"

_STANDING = """
SELECT state, CASE WHEN state = 'verified' THEN group_id END AS ranked_in,
    sha256(string_agg(row_key, ',' ORDER BY row_key))[:32], count(*)
FROM read_parquet($files, hive_partitioning = false)
GROUP BY state, ranked_in ORDER BY state
"""
_ROWS = f"""
SELECT {", ".join(RANKED_COLUMNS)}
FROM read_parquet($files, hive_partitioning = false)
WHERE group_id BETWEEN $first AND $last AND group_id IN (SELECT unnest($groups))
    AND state = 'verified'
ORDER BY group_id, repo_id
"""  # noqa: S608 - names of our own columns
_TABLES_IN_FLIGHT: Final = 2
_TABLE_ROWS: Final = 8192
"""Each table reads a row group of every span: so many rows are worth that."""


@dataclass(frozen=True)
class KeptGroup:
    """One group as it is kept."""

    group_id: str
    key: str
    """Digest of the rows it was made of, and of the prices."""
    order: str
    """Sorts groups as :func:`.ranking.group_order` does."""
    group: Part
    """JSON of the :class:`.document.Group`, without its default fields."""
    changes: tuple[TestedChange, ...]
    """What was tested in it, before all groups are looked at together."""
    variances: tuple[KeptVariance, ...]


def compare(
    group_id: str, key: str, rows: Sequence[RankedRun], prices: Prices | None = None
) -> KeptGroup:
    """Return a group made of its ranked rows, ordered by repository."""
    group = group_of(rows, prices)
    foreign, *names = group_order(group)
    return KeptGroup(
        group_id=group_id,
        key=key,
        order="\x1f".join((str(int(foreign)), *(_plain(str(name)) for name in names))),
        group=group.model_dump_json(exclude_defaults=True).encode(),
        changes=tested_changes(group, rows),
        variances=tuple(map(KeptVariance.of, group_variances(group, rows))),
    )


@dataclass(frozen=True)
class Standing:
    """Which rows there are, and which of them rank with which others."""

    states: Mapping[str, int]
    """How many rows are in each state."""
    groups: Mapping[str, tuple[str, int]]
    """Of each comparison group the digest of its ranked rows, and how many they are."""


def standing_of(files: list[str], connection: duckdb.DuckDBPyConnection) -> Standing:
    """Return how the rows in these partitions of runs stand."""
    states: Counter[str] = Counter()
    groups: dict[str, tuple[str, int]] = {}
    lines = connection.execute(_STANDING, {"files": files}).fetchall() if files else []
    for state, group_id, key, count in lines:
        states[state] += count
        if group_id is not None:
            groups[group_id] = (key, count)
    return Standing(states, groups)


def update_groups(
    kept: Iterable[KeptGroup],
    standing: Standing,
    files: list[str],
    workers: Workers,
    connection: duckdb.DuckDBPyConnection,
    prices: Prices | None = None,
) -> list[KeptGroup]:
    """Return all groups in order, those made anew whose rows or prices are not the last build's.

    Args:
        kept: of the last build.
        standing: of the rows now.
        files: the partitions of runs, in which the rows of a group are beside each other.
        workers: who compares.
        connection: to read the rows with.
        prices: what costs are computed from.
    """
    priced = f"/{prices.digest}" if prices else ""
    keys = {name: (key + priced, count) for name, (key, count) in standing.groups.items()}
    current = [group for group in kept if keys.get(group.group_id, ("",))[0] == group.key]
    stale = keys.keys() - {group.group_id for group in current}
    made = _compared(connection, files, {name: keys[name] for name in stale}, workers, prices)
    current.extend(made)
    return sorted(current, key=lambda group: group.order)


def save_groups(
    folder: Path, groups: Iterable[KeptGroup], starts: Mapping[tuple[str, ...], int]
) -> None:
    """Keep groups for the next build.

    Args:
        folder: of the index, which holds the document of this build.
        groups: to be kept.
        starts: where the document holds each group, by its id, and each spread, by its place.
    """
    rows = [
        [
            group.group_id, group.key, group.order, starts[group.group_id,], len(group.group),
            [
                item.p_value if item.change is None else item.model_dump()
                for item in group.changes
            ],
            [
                [item.p_values, item.place, starts[item.place], len(item.data)]
                for item in group.variances
            ],
        ]
        for group in groups
    ]  # fmt: skip
    content = {"made_by": MADE_BY, "document": file_state(folder / DOCUMENT_FILE), "groups": rows}
    write_changed(folder / GROUPS_FILE, orjson.dumps(content))


def _compared(
    connection: duckdb.DuckDBPyConnection,
    files: list[str],
    keys: dict[str, tuple[str, int]],
    workers: Workers,
    prices: Prices | None,
) -> list[KeptGroup]:
    """Return the groups of ``keys``, made from their rows."""
    if not keys:
        return []
    known = {group_id: key for group_id, (key, _) in keys.items()}
    workers.expect(sum(count for _, count in keys.values()))
    found: list[KeptGroup] = []
    waiting: deque[Future[list[KeptGroup]]] = deque()
    counts = sorted((group_id, count) for group_id, (_, count) in keys.items())
    for table in _tables(connection, files, counts):
        waiting.append(workers.submit(_compare_rows, table, known, prices))
        if len(waiting) > _TABLES_IN_FLIGHT:
            found.extend(waiting.popleft().result())
    for future in waiting:
        found.extend(future.result())
    return found


def _tables(
    connection: duckdb.DuckDBPyConnection, files: list[str], counts: list[tuple[str, int]]
) -> Iterator[pa.Table]:
    """Yield the rows of groups, whole groups at a time and a few thousand rows in memory.

    Args:
        connection: to run the queries in.
        files: the partitions of runs, in which the rows of a group are beside each other.
        counts: each group and how many rows it has, ordered by group.
    """
    names: list[str] = []
    rows = 0
    for at, (name, count) in enumerate(counts, start=1):
        names.append(name)
        rows += count
        if rows >= _TABLE_ROWS or at == len(counts):
            values = {"files": files, "groups": names, "first": names[0], "last": names[-1]}
            yield read_batches(connection, _ROWS, values).read_all()
            names, rows = [], 0


def _compare_rows(
    table: pa.Table, keys: Mapping[str, str], prices: Prices | None
) -> list[KeptGroup]:
    return [
        compare(group_id, keys[group_id], list(members), prices)
        for group_id, members in groupby(ranked_runs(table), key=lambda run: run.group_id)
    ]


def load_groups(folder: Path) -> list[KeptGroup]:
    """Return the groups of the last build; none when they are not those of the document there."""
    path = folder / DOCUMENT_FILE
    try:
        content: Any = orjson.loads((folder / GROUPS_FILE).read_bytes())
        if content["made_by"] != MADE_BY or content["document"] != file_state(path):
            return []
        document = memoryview(path.read_bytes())
        return [_kept(row, document) for row in content["groups"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _kept(row: list[Any], document: memoryview) -> KeptGroup:
    group_id, key, order, start, size, changes, spreads = row
    return KeptGroup(
        group_id, key, order, document[start : start + size],
        tuple(
            # Most are nothing but a p-value.
            TestedChange(p_value=item) if isinstance(item, float) else TestedChange(**item)
            for item in changes
        ),
        tuple(
            KeptVariance(tuple(p_values), tuple(place), document[at : at + length])
            for p_values, place, at, length in spreads
        ),
    )  # fmt: skip


def _plain(text: str) -> str:
    """Return text without what separates the parts of an order."""
    return "".join(" " if ord(character) < 32 else character for character in text)
