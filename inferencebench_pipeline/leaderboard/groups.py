"""Comparison groups kept from build to build: a group is compared anew when its runs changed.

``groups.tsv`` has a line for each group: its id, the digest of the rows it was made of, its order,
and as JSON the group itself and what was tested in it. It is derived; a build makes what it lacks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

import duckdb
import orjson
import pyarrow as pa
from pydantic import TypeAdapter

from inferencebench_pipeline.leaderboard.history import TestedChange, tested_changes
from inferencebench_pipeline.leaderboard.manifest import MADE_BY, Manifest
from inferencebench_pipeline.leaderboard.prices import Prices
from inferencebench_pipeline.leaderboard.ranked import RANKED_COLUMNS, RankedRun, ranked_runs
from inferencebench_pipeline.leaderboard.ranking import group_of, group_order
from inferencebench_pipeline.leaderboard.tables import read_batches
from inferencebench_pipeline.leaderboard.variance import KeptVariance, group_variances
from inferencebench_pipeline.leaderboard.workers import Workers
from inferencebench_pipeline.runs import write_atomically

GROUPS_FILE: Final = "groups.tsv"

_KEYS = """
SELECT group_id, sha256(string_agg(row_key, ',' ORDER BY row_key))[:32], count(*)
FROM read_parquet($files, hive_partitioning = false)
WHERE state = 'verified' AND group_id IS NOT NULL
GROUP BY group_id
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
"""Each table reads a row group of every month: so many rows are worth that."""
_CHANGES: Final = TypeAdapter(tuple[TestedChange, ...])


@dataclass(frozen=True)
class KeptGroup:
    """One group as ``groups.tsv`` has it."""

    group_id: str
    key: str
    """Digest of the rows it was made of, and of the prices."""
    order: str
    """Sorts groups as :func:`.ranking.group_order` does."""
    group: bytes
    """JSON of the :class:`.document.Group`, without its empty fields."""
    changes: tuple[TestedChange, ...]
    """What was tested in it, before all groups are looked at together."""
    variances: tuple[KeptVariance, ...]

    def line(self) -> bytes:
        """Return its line: JSON holds no tab, so each spread may be two fields of its own."""
        fields = [self.group_id.encode(), self.key.encode(), self.order.encode(), self.group]
        fields.append(_CHANGES.dump_json(self.changes, exclude_none=True))
        for item in self.variances:
            fields += (orjson.dumps([item.p_values, *item.place]), item.data)
        return b"\t".join(fields)

    @classmethod
    def of_line(cls, line: bytes) -> KeptGroup:
        """Return the group of a line.

        Raises:
            ValueError: it is not one that :meth:`line` makes.
        """
        group_id, key, order, group, changes, *spreads = line.split(b"\t")
        heads = map(orjson.loads, spreads[::2])
        return cls(
            group_id.decode(), key.decode(), order.decode(), group,
            _CHANGES.validate_json(changes),
            tuple(
                KeptVariance(tuple(chances), tuple(place), data)
                for (chances, *place), data in zip(heads, spreads[1::2], strict=True)
            ),
        )  # fmt: skip


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
    folder: Path,
    manifest: Manifest,
    workers: Workers,
    connection: duckdb.DuckDBPyConnection,
    prices: Prices | None = None,
) -> list[KeptGroup]:
    """Return all groups in order, those made anew whose rows or prices are not the last build's."""
    priced = f"/{prices.digest}" if prices else ""
    kept = {group.group_id: group for group in _load(folder)}
    if not manifest.months:
        return []
    files = manifest.run_files(folder)
    keys = {
        group_id: (key + priced, count)
        for group_id, key, count in connection.execute(_KEYS, {"files": files}).fetchall()
    }
    current = [
        group for group_id, group in kept.items() if keys.get(group_id, ("",))[0] == group.key
    ]
    stale = keys.keys() - {group.group_id for group in current}
    made = _compared(connection, files, {name: keys[name] for name in stale}, workers, prices)
    current.extend(made)
    return sorted(current, key=lambda group: group.order)


def save_groups(folder: Path, groups: Iterable[KeptGroup]) -> None:
    """Keep groups for the next build."""
    lines = [MADE_BY.encode(), *(group.line() for group in groups)]
    data = b"\n".join(lines) + b"\n"
    path = folder / GROUPS_FILE
    if not path.is_file() or path.read_bytes() != data:
        write_atomically(path, data)


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


def _load(folder: Path) -> Iterator[KeptGroup]:
    """Yield the groups of the last build; none when this version did not write them."""
    try:
        made_by, *lines = (folder / GROUPS_FILE).read_bytes().split(b"\n")
    except (OSError, ValueError):
        return
    if made_by != MADE_BY.encode():
        return
    for line in lines:
        try:
            yield KeptGroup.of_line(line)
        except (ValueError, TypeError):
            continue


def _plain(text: str) -> str:
    """Return text without what separates fields and lines; only its order matters."""
    return "".join(" " if ord(character) < 32 else character for character in text)
