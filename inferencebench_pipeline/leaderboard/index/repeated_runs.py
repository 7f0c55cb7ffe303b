"""Runs that were published more than once: the first publication ranks, the others say so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import duckdb
import pyarrow as pa

from inferencebench_pipeline.leaderboard.index.manifest import Manifest
from inferencebench_pipeline.leaderboard.index.partition_summary import (
    PartitionStanding,
    look_into,
    may_repeat,
)
from inferencebench_pipeline.leaderboard.index.partitions import read_partition
from inferencebench_pipeline.leaderboard.index.spans import span_of, write_span

_PATCHES = pa.schema([("repo_id", pa.string()), ("first", pa.string())])

# Runs with more than one verified publication, or with one that was said to repeat another.
_SUSPECTS = """
SELECT run_id FROM read_parquet($files, hive_partitioning = false)
WHERE state IN ('verified', 'duplicate')
GROUP BY run_id HAVING count(*) > 1 OR bool_or(state = 'duplicate')
"""
# Of several verified publications of one run the first ranks, ours before anybody else's; the
# others stay visible.
_REPEATED = """
SELECT repo_id, created_day, state, state_reason,
    CASE WHEN row_number() OVER same_run > 1 THEN first_value(repo_id) OVER same_run END AS first
FROM read_parquet($files, hive_partitioning = false)
WHERE state IN ('verified', 'duplicate') AND run_id IN (SELECT unnest($runs))
WINDOW same_run AS (PARTITION BY run_id ORDER BY (tier = 'community'), created_at, repo_id)
"""
_PATCHED = """
SELECT m.* REPLACE (
    CASE WHEN p.repo_id IS NULL THEN m.state WHEN p.first IS NULL THEN 'verified'
        ELSE 'duplicate' END AS state,
    CASE WHEN p.repo_id IS NULL THEN m.state_reason
        WHEN p.first IS NOT NULL THEN 'this run was published first as ' || p.first
        END AS state_reason
)
FROM span m LEFT JOIN patches p ON p.repo_id = m.repo_id
"""


def mark_repeated(
    folder: Path,
    manifest: Manifest,
    known: Mapping[str, PartitionStanding],
    connection: duckdb.DuckDBPyConnection,
) -> dict[str, PartitionStanding]:
    """Mark each verified publication of a run but the first as a repetition, and no other.

    Args:
        folder: of the index.
        manifest: of all partitions; it is changed with them.
        known: the summaries of the partitions of the last build.
        connection: to read with.

    Returns:
        The summary of each partition of runs, as it is now.

    Raises:
        StoreError: the folder cannot be written.
    """
    found = look_into(known, manifest.spans.values(), folder, connection)
    _mark(folder, manifest, may_repeat(known, found), connection)
    # A second time, because the marks were written into partitions with new names.
    return look_into(found, manifest.spans.values(), folder, connection)


def _mark(
    folder: Path, manifest: Manifest, among: Iterable[str], connection: duckdb.DuckDBPyConnection
) -> None:
    some = [str(folder / name) for name in among]
    found = connection.execute(_SUSPECTS, {"files": some}).fetchall() if some else []
    suspects = [run_id for (run_id,) in found]
    if not suspects:
        return
    # Suspects are sought in a few partitions, but the first publication may lie in any.
    files = manifest.run_files(folder)
    values = {"files": files, "runs": suspects}
    wrong = defaultdict(list)
    for repo_id, day, state, reason, first in connection.execute(_REPEATED, values).fetchall():
        said = f"this run was published first as {first}" if first else None
        if (state, reason) != ("duplicate" if first else "verified", said):
            wrong[span_of(day)].append({"repo_id": repo_id, "first": first})
    for span, patches in wrong.items():
        table = read_partition(folder, manifest.spans[span])
        connection.register("span", table)
        connection.register("patches", pa.Table.from_pylist(patches, schema=_PATCHES))
        patched = connection.sql(_PATCHED).to_arrow_table()
        if table is not None:
            # Columns and types as before, so that the same rows
            # give the same bytes and the same name.
            patched = patched.select(table.schema.names).cast(table.schema)
        manifest.spans[span] = write_span(folder, span, patched)
