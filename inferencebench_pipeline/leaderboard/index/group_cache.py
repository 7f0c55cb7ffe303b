"""Comparison groups kept from build to build: a group is compared anew when its runs changed.

``groups.json`` says of each group where its parts lie in ``leaderboard.json``, the digest of the
rows they were made of, and what was tested in it. It is derived; a build makes what it lacks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import duckdb
import orjson
import pyarrow as pa

from inferencebench_pipeline.files import read_plain, sealed, store_errors, unsealed, write_changed
from inferencebench_pipeline.leaderboard.analysis.change_points import TestedChange, tested_changes
from inferencebench_pipeline.leaderboard.analysis.prices import Prices
from inferencebench_pipeline.leaderboard.analysis.ranked_run import (
    RANKED_COLUMNS,
    RankedRun,
    ranked_runs,
)
from inferencebench_pipeline.leaderboard.analysis.ranking import group_of, group_order
from inferencebench_pipeline.leaderboard.analysis.variance import KeptVariance, group_variances
from inferencebench_pipeline.leaderboard.index.manifest import DOCUMENT_FILE, MADE_BY, digest
from inferencebench_pipeline.leaderboard.index.partition_summary import GroupStanding, Standing
from inferencebench_pipeline.leaderboard.index.tables import read_batches
from inferencebench_pipeline.leaderboard.index.workers import Workers
from inferencebench_pipeline.leaderboard.json_assembly import Part

GROUPS_FILE: Final = "groups.json"

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


def update_groups(
    kept: Iterable[KeptGroup],
    standing: Standing,
    folder: Path,
    workers: Workers,
    connection: duckdb.DuckDBPyConnection,
    prices: Prices | None = None,
) -> list[KeptGroup]:
    """Return all groups in order, those made anew whose rows or prices are not the last build's.

    Args:
        kept: of the last build.
        standing: of the rows now.
        folder: of the index; in its partitions of runs the rows of a group are beside each other.
        workers: who compares.
        connection: to read the rows with.
        prices: what costs are computed from.
    """
    priced = f"/{prices.digest}" if prices else ""
    keys = {name: item.key + priced for name, item in standing.groups.items()}
    current = [group for group in kept if keys.get(group.group_id) == group.key]
    stale = sorted(keys.keys() - {group.group_id for group in current})
    workers.expect(sum(standing.groups[name].rows for name in stale))
    waiting: deque[Future[list[KeptGroup]]] = deque()
    for table in _tables(connection, folder, {name: standing.groups[name] for name in stale}):
        waiting.append(workers.submit(_compare_rows, table, keys, prices))
        if len(waiting) > _TABLES_IN_FLIGHT:
            current.extend(waiting.popleft().result())
    for future in waiting:
        current.extend(future.result())
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
    with store_errors(folder / DOCUMENT_FILE):
        document = digest([read_plain(folder / DOCUMENT_FILE)])
    content = {"made_by": MADE_BY, "document": document, "groups": rows}
    write_changed(folder / GROUPS_FILE, sealed(orjson.dumps(content)))


def _tables(
    connection: duckdb.DuckDBPyConnection, folder: Path, groups: Mapping[str, GroupStanding]
) -> Iterator[pa.Table]:
    """Yield the rows of groups, whole groups at a time and a few thousand rows in memory.

    Args:
        connection: to run the queries in.
        folder: of the index.
        groups: by their ids, in whose order the rows come.
    """
    names: list[str] = []
    files: set[str] = set()
    rows = 0
    for at, (name, group) in enumerate(groups.items(), start=1):
        names.append(name)
        files.update(str(folder / partition) for partition in group.partitions)
        rows += group.rows
        if rows >= _TABLE_ROWS or at == len(groups):
            values = {"files": sorted(files), "groups": names, "first": names[0], "last": name}
            yield read_batches(connection, _ROWS, values).read_all()
            names, files, rows = [], set(), 0


def _compare_rows(
    table: pa.Table, keys: Mapping[str, str], prices: Prices | None
) -> list[KeptGroup]:
    return [
        compare(group_id, keys[group_id], list(members), prices)
        for group_id, members in groupby(ranked_runs(table), key=lambda run: run.group_id)
    ]


def load_groups(folder: Path) -> list[KeptGroup]:
    """Return the groups of the last build; none when they are not those of the document there."""
    try:
        content: Any = orjson.loads(unsealed(read_plain(folder / GROUPS_FILE)))
        document = read_plain(folder / DOCUMENT_FILE)
        if content["made_by"] != MADE_BY or content["document"] != digest([document]):
            return []
        return [_kept(row, memoryview(document)) for row in content["groups"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def document_is_sound(folder: Path) -> bool:
    """Return whether the document is the one that the last build ended with."""
    try:
        content: Any = orjson.loads(unsealed(read_plain(folder / GROUPS_FILE)))
        return bool(content["document"] == digest([read_plain(folder / DOCUMENT_FILE)]))
    except (OSError, ValueError, KeyError, TypeError):
        return False


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
