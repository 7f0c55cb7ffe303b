"""Summary of each partition of runs: row states, digests of groups, and findings.

It is cached in ``standing.json``, so that a build scans new partitions only. That file is derived;
a build makes what it lacks.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec
from msgspec import Struct

from inferencebench_pipeline.files import read_plain, sealed, unsealed, write_changed
from inferencebench_pipeline.leaderboard.document import FindingRow
from inferencebench_pipeline.leaderboard.index.parquet.made_by import made_by
from inferencebench_pipeline.leaderboard.index.parquet.manifest import digest
from inferencebench_pipeline.leaderboard.index.parquet.tables import read_batches

STANDING_FILE: Final = "standing.json"

# The keys are put in order, because DuckDB gives rows in the order in which its threads finish.
_STANDING = """
SELECT filename, state, CASE WHEN state = 'verified' THEN group_id END AS ranked_in,
    sha256(string_agg(row_key, ',' ORDER BY row_key))[:32] AS key, count(*) AS rows
FROM read_parquet($files, hive_partitioning = false, filename = true)
GROUP BY filename, state, ranked_in ORDER BY filename, state, ranked_in
"""
_FINDINGS = """
SELECT filename, repo_id, row_id, f.kind AS kind, f.severity AS severity, f.revision AS revision,
    f.detail AS detail, f.seen_at AS seen_at
FROM (
    SELECT filename, repo_id, row_id, unnest(findings) AS f
    FROM read_parquet($files, hive_partitioning = false, filename = true)
    WHERE findings IS NOT NULL
)
WHERE f.severity IN ('error', 'warn')
ORDER BY filename, repo_id, kind, detail, seen_at
"""


class PartitionStanding(Struct, array_like=True, gc=False):
    """The summary of one partition."""

    states: dict[str, int] = {}
    """Number of rows in each state."""
    groups: dict[str, tuple[str, int]] = {}
    """The digest of the rows of each comparison group that rank, and their number."""
    findings: list[dict[str, str | None]] = []
    """The findings of severity ``error`` and ``warn``: fields of :class:`.document.FindingRow`."""


@dataclass
class GroupStanding:
    """The rows of one comparison group that rank."""

    partitions: list[str] = field(default_factory=list)
    """The partitions that hold them, oldest span first."""
    keys: list[str] = field(default_factory=list)
    """Digest of those rows in each of the partitions."""
    rows: int = 0

    @property
    def key(self) -> str:
        """Digest of all of the rows."""
        return digest(key.encode() for key in self.keys)


@dataclass(frozen=True)
class Standing:
    """The summary of all rows: their states, their comparison groups and the findings."""

    states: Mapping[str, int]
    """Number of rows in each state."""
    groups: Mapping[str, GroupStanding]
    findings: list[FindingRow]
    """Ordered by repository."""


class _Kept(Struct):
    made_by: str
    partitions: dict[str, PartitionStanding]


def load_standing(folder: Path) -> dict[str, PartitionStanding]:
    """Return what is known of partitions by their names; nothing when it cannot be used."""
    try:
        kept = msgspec.json.decode(unsealed(read_plain(folder / STANDING_FILE)), type=_Kept)
    except (OSError, msgspec.MsgspecError, ValueError):
        return {}
    return kept.partitions if kept.made_by == made_by() else {}


def save_standing(folder: Path, partitions: Mapping[str, PartitionStanding]) -> None:
    """Keep what is known of partitions for the next build.

    Raises:
        StoreError: the folder cannot be written.
    """
    kept = _Kept(made_by(), dict(sorted(partitions.items())))
    write_changed(folder / STANDING_FILE, sealed(msgspec.json.encode(kept)))


def look_into(
    known: Mapping[str, PartitionStanding],
    names: Iterable[str],
    folder: Path,
    connection: duckdb.DuckDBPyConnection,
) -> dict[str, PartitionStanding]:
    """Return how the rows of partitions stand, by their names; those that are not known are read.

    Args:
        known: partitions that were looked into.
        names: of partitions of runs; a name says what its file holds.
        folder: of the index.
        connection: to read with.
    """
    found = {name: known.get(name) for name in names}
    new = {str(folder / name): name for name, item in found.items() if item is None}
    read = _read(list(new), connection)
    return {name: item or read[str(folder / name)] for name, item in found.items()}


def _read(files: list[str], connection: duckdb.DuckDBPyConnection) -> dict[str, PartitionStanding]:
    """Return how the rows in each of these files stand; each has some."""
    if not files:
        return {}
    found: defaultdict[str, PartitionStanding] = defaultdict(PartitionStanding)
    lines = connection.execute(_STANDING, {"files": files}).fetchall()
    for file, state, group_id, key, count in lines:
        item = found[file]
        item.states[state] = item.states.get(state, 0) + count
        if group_id is not None:
            item.groups[group_id] = (key, count)
    for batch in read_batches(connection, _FINDINGS, {"files": files}):
        for line in batch.to_pylist():
            found[line.pop("filename")].findings.append(line)
    return dict(found)


def standing_of(partitions: Mapping[str, PartitionStanding]) -> Standing:
    """Return how all rows stand, given how those of each partition do, oldest span first."""
    states: Counter[str] = Counter()
    groups: defaultdict[str, GroupStanding] = defaultdict(GroupStanding)
    findings: list[dict[str, Any]] = []
    for name, item in partitions.items():
        states.update(item.states)
        for group_id, (key, count) in item.groups.items():
            group = groups[group_id]
            group.partitions.append(name)
            group.keys.append(key)
            group.rows += count
        findings.extend(item.findings)
    # Partitions follow each other by time, and the document is ordered by repository.
    findings.sort(key=itemgetter("repo_id", "kind", "detail", "seen_at"))
    return Standing(dict(sorted(states.items())), groups, [FindingRow(**line) for line in findings])
