"""Comparison groups kept from build to build: a group is compared anew when its runs changed.

``groups.json`` holds the JSON of each group as it goes into ``leaderboard.json``, the digest of the
rows it was made of, and what was tested in it. It is derived; a build makes what it lacks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

import duckdb
import msgspec
import pyarrow as pa
from msgspec import Raw, Struct

from inferencebench_pipeline.files import read_plain, sealed, sha256_of, unsealed, write_changed
from inferencebench_pipeline.leaderboard.analysis.change_points import tested_changes
from inferencebench_pipeline.leaderboard.analysis.prices import Prices
from inferencebench_pipeline.leaderboard.analysis.ranked_run import (
    RANKED_COLUMNS,
    RankedRun,
    comparable_runs,
    ranked_runs,
)
from inferencebench_pipeline.leaderboard.analysis.ranking import group_of, group_order
from inferencebench_pipeline.leaderboard.analysis.variance import KeptVariance, group_variances
from inferencebench_pipeline.leaderboard.index.parquet.made_by import made_by
from inferencebench_pipeline.leaderboard.index.parquet.manifest import DOCUMENT_FILE
from inferencebench_pipeline.leaderboard.index.parquet.partition_summary import (
    GroupStanding,
    Standing,
)
from inferencebench_pipeline.leaderboard.index.parquet.tables import read_batches
from inferencebench_pipeline.leaderboard.index.parquet.workers import Workers

GROUPS_FILE: Final = "groups.json"

# The range of ids lets DuckDB skip row groups by their statistics, before it looks into the list.
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


class KeptGroup(Struct, array_like=True, frozen=True):
    """One group as it is kept."""

    group_id: str
    key: str
    """Digest of the rows it was made of, and of the prices."""
    order: str
    """Sorts groups as :func:`group_order` does."""
    group: Raw
    """JSON of the :class:`.document.Group`, without its default fields; nobody parses it again."""
    changes: tuple[Raw, ...]
    """JSON of each change that was tested in it, before all groups are looked at together: of most
    nothing but the p-value, a number."""
    variances: tuple[KeptVariance, ...]


class _KeptGroups(Struct):
    made_by: str
    document: str
    """Digest of the ``leaderboard.json`` that was made of them."""
    groups: list[KeptGroup]


def compare(
    group_id: str, key: str, rows: Sequence[RankedRun], prices: Prices | None = None
) -> KeptGroup:
    """Return a group made of its ranked rows, ordered by repository."""
    # Before anything is compared: what is left under one key means the same in all runs.
    rows = comparable_runs(rows)
    group = group_of(rows, prices)
    foreign, *names = group_order(group)
    return KeptGroup(
        group_id=group_id,
        key=key,
        # The separator sorts before all that may stand in a name,
        # so a name sorts before its continuations.
        order="\x1f".join((str(int(foreign)), *(_plain(str(name)) for name in names))),
        group=Raw(group.model_dump_json(exclude_defaults=True).encode()),
        changes=tuple(item.kept() for item in tested_changes(group, rows)),
        variances=tuple(map(KeptVariance.of, group_variances(group, rows))),
    )


def update_groups(
    standing: Standing,
    folder: Path,
    workers: Workers,
    connection: duckdb.DuckDBPyConnection,
    prices: Prices | None = None,
) -> list[KeptGroup]:
    """Return all groups in order, those made anew whose rows or prices are not the last build's.

    Args:
        standing: of the rows now.
        folder: of the index; in its partitions of runs the rows of a group are beside each other.
        workers: who compares.
        connection: to read the rows with.
        prices: what costs are computed from.
    """
    priced = f"/{prices.digest}" if prices else ""
    # Prices are part of the key, because a group's fronts hold costs.
    keys = {name: item.key + priced for name, item in standing.groups.items()}
    current = [group for group in load_groups(folder) if keys.get(group.group_id) == group.key]
    stale = sorted(keys.keys() - {group.group_id for group in current})
    rows = {name: standing.groups[name] for name in stale}
    tasks = (_Task(table, keys, prices) for table in _tables(connection, folder, rows))
    workers.announce(sum(group.rows for group in rows.values()))
    for compared in workers.results(_compare_rows, tasks, in_flight=_TABLES_IN_FLIGHT):
        current.extend(compared)
    return sorted(current, key=lambda group: group.order)


def save_groups(folder: Path, groups: Iterable[KeptGroup], document: bytes) -> None:
    """Keep groups for the next build.

    Args:
        folder: of the index.
        groups: to be kept.
        document: the ``leaderboard.json`` that was made of them.

    Raises:
        StoreError: the folder cannot be written.
    """
    kept = _KeptGroups(made_by(), hashlib.sha256(document).hexdigest(), list(groups))
    write_changed(folder / GROUPS_FILE, sealed(msgspec.json.encode(kept)))


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


class _Task(NamedTuple):
    """Groups to be compared: their rows, the key of each group, and the prices."""

    rows: pa.Table
    keys: Mapping[str, str]
    prices: Prices | None


def _compare_rows(_: None, task: _Task) -> list[KeptGroup]:
    return [
        compare(group_id, task.keys[group_id], list(members), task.prices)
        for group_id, members in groupby(ranked_runs(task.rows), key=lambda run: run.group_id)
    ]


def load_groups(folder: Path) -> list[KeptGroup]:
    """Return the groups of the last build; none when another version made or damaged them."""
    kept = _load(folder)
    return [] if kept is None or kept.made_by != made_by() else kept.groups


def document_is_sound(folder: Path) -> bool:
    """Return whether the document is the one that the last build ended with."""
    kept = _load(folder)
    try:
        return kept is not None and kept.document == sha256_of(folder / DOCUMENT_FILE)
    except OSError:
        return False


def _load(folder: Path) -> _KeptGroups | None:
    try:
        return msgspec.json.decode(unsealed(read_plain(folder / GROUPS_FILE)), type=_KeptGroups)
    except (OSError, ValueError):
        return None


def _plain(text: str) -> str:
    """Return text without what separates the parts of an order."""
    return "".join(" " if ord(character) < 32 else character for character in text)
