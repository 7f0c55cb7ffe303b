"""The index as it is published: Parquet by the month, small tables, and ``leaderboard.json``.

A month's files are made when something in it changed; the same index gives the same bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from inferencebench_pipeline.files import (
    is_there,
    read_plain,
    remove,
    replaced_atomically,
    sealed,
    unsealed,
    write_changed,
)
from inferencebench_pipeline.leaderboard.document import EvaluationRow, TakedownRow, WithheldRow
from inferencebench_pipeline.leaderboard.index.build import (
    LeaderboardError,
    load_summary,
)
from inferencebench_pipeline.leaderboard.index.group_cache import document_is_sound
from inferencebench_pipeline.leaderboard.index.parquet.made_by import made_by
from inferencebench_pipeline.leaderboard.index.parquet.manifest import (
    DOCUMENT_FILE,
    Manifest,
    digest,
)
from inferencebench_pipeline.leaderboard.index.parquet.partitions import is_sound, read_partition
from inferencebench_pipeline.leaderboard.index.parquet.tables import parquet_bytes
from inferencebench_pipeline.leaderboard.store import LeaderboardStore

DATA_FOLDER: Final = "data"
"""The folder of the published dataset that holds nothing but this index."""
_KEYS_FILE: Final = "keys.json"

_RUNS = """
SELECT * EXCLUDE (findings, row_key)
FROM read_parquet($files, hive_partitioning = false) ORDER BY created_day, repo_id
"""
_FINDINGS = """
SELECT repo_id, row_id, f.source AS source, f.kind AS kind, f.severity AS severity,
    f.revision AS revision, f.detail AS detail, f.seen_at AS seen_at
FROM (
    SELECT repo_id, row_id, unnest(findings) AS f
    FROM read_parquet($files, hive_partitioning = false) WHERE findings IS NOT NULL
)
ORDER BY repo_id, source, kind, detail, seen_at
"""


def published_files(store: LeaderboardStore) -> dict[str, Path]:
    """Bring the published form of the index up to date; return its files by their path there.

    Before the first build there are none.

    Raises:
        LeaderboardError: the index cannot be read.
        StoreError: the files cannot be written.
    """
    folder = store.folder
    if not is_there(folder / DOCUMENT_FILE):
        return {}
    if not document_is_sound(folder):
        raise LeaderboardError(
            f"{folder / DOCUMENT_FILE} is not what the last build wrote; materialise "
            "leaderboard_index again"
        )
    manifest, out = Manifest.load(folder), folder / "published"
    damaged = sorted(name for name in manifest.partitions() if not is_sound(folder, name))
    if damaged:
        raise LeaderboardError(
            f"{folder / damaged[0]} is gone or damaged; materialise leaderboard_index again"
        )
    keys = _keys(manifest)
    made = _made(out)
    digests: dict[str, str] = {}
    for path, key in keys.items():
        known, there = made.get(path, ("", "")), _digest(out / path)
        # The digest of the file is compared too, so that one
        # which the disk has changed is made again.
        if there is None or known != (key, there):
            remove(out / path)
            _MAKERS[path.split("/")[1]](folder, manifest, out / path, path)
            there = _digest(out / path)
        digests[path] = there or ""
    for name, rows in _small(store).items():
        write_changed(out / f"{DATA_FOLDER}/{name}.parquet", parquet_bytes(rows))
    content = {"made_by": made_by(), "keys": {path: (keys[path], digests[path]) for path in keys}}
    # Written after the files that it names, so that what was cut off is made again.
    write_changed(out / _KEYS_FILE, sealed(orjson.dumps(content)))
    current = {*keys, *(f"{DATA_FOLDER}/{name}.parquet" for name in _SMALL)}
    _remove_others(out / DATA_FOLDER, {out / path for path in current})
    return {path: out / path for path in sorted(current)} | {DOCUMENT_FILE: folder / DOCUMENT_FILE}


def _keys(manifest: Manifest) -> dict[str, str]:
    """Return what each published table is made of, by its path."""
    keys = {f"{DATA_FOLDER}/findings.parquet": digest(_encoded(manifest.spans.values()))}
    for month in sorted({span[:7] for span in manifest.spans}):
        keys[_month_path("runs", month)] = digest(_encoded(_runs_of(manifest, month)))
        metrics = _metrics_of(manifest, month)
        if metrics:
            keys[_month_path("metrics", month)] = digest(_encoded(name for _, name in metrics))
    return keys


def _make_runs(folder: Path, manifest: Manifest, to: Path, path: str) -> None:
    files = [str(folder / name) for name in _runs_of(manifest, _month_in(path))]
    write_changed(to, parquet_bytes(_query(_RUNS, files)))


def _make_findings(folder: Path, manifest: Manifest, to: Path, _path: str) -> None:
    files = manifest.run_files(folder)
    table = (
        _query(_FINDINGS, files)
        if files
        else pa.table({name: pa.array([], pa.string()) for name in _FINDING_COLUMNS})
    )
    write_changed(to, parquet_bytes(table))


def _make_metrics(folder: Path, manifest: Manifest, to: Path, path: str) -> None:
    """Write a month's metrics, a day at a time: there are many."""
    days = _metrics_of(manifest, _month_in(path))
    with replaced_atomically(to) as temporary:
        first = _metrics_table(folder, *days[0])
        with pq.ParquetWriter(temporary, first.schema, compression="zstd") as writer:
            writer.write_table(first)
            for day, name in days[1:]:
                writer.write_table(_metrics_table(folder, day, name))


def _metrics_table(folder: Path, day: str, name: str) -> pa.Table:
    table = read_partition(folder, name)
    if table is None:
        raise LeaderboardError(
            f"{folder / name} is gone or damaged; materialise leaderboard_index again"
        )
    days = pa.array([day], pa.string()).take(pa.array([0] * len(table)))
    return table.add_column(0, "created_day", days).combine_chunks()


_MAKERS: Final = {
    "runs": _make_runs,
    "metrics": _make_metrics,
    "findings.parquet": _make_findings,
}
_FINDING_COLUMNS: Final = (
    "repo_id", "row_id", "source", "kind", "severity", "revision", "detail", "seen_at",
)  # fmt: skip
_SMALL: Final[Mapping[str, type[BaseModel]]] = {
    "evaluations": EvaluationRow,
    "withheld": WithheldRow,
    "takedowns": TakedownRow,
}
_TYPES: Final[Mapping[str, pa.DataType]] = {
    "value": pa.float64(),
    "ours": pa.bool_(),
    "outcome": pa.list_(pa.string()),
}


def _small(store: LeaderboardStore) -> dict[str, pa.Table]:
    """Return the tables of what others decided."""
    summary = load_summary(store)
    return {
        name: pa.Table.from_pylist(
            [item.model_dump() for item in getattr(summary, name)],
            schema=pa.schema(
                [pa.field(field, _TYPES.get(field, pa.string())) for field in row.model_fields]
            ),
        )
        for name, row in _SMALL.items()
    }


def _query(query: str, files: Sequence[str]) -> pa.Table:
    try:
        with duckdb.connect(":memory:") as connection:
            connection.execute("SET threads = 1")
            found: Any = connection.sql(query, params={"files": list(files)}).to_arrow_table()
    except duckdb.Error as error:
        raise LeaderboardError(
            f"cannot read the tables of the index: {error}; materialise leaderboard_index again"
        ) from error
    table: pa.Table = found
    return table


def _runs_of(manifest: Manifest, month: str) -> list[str]:
    """Return the names of a month's partitions of runs."""
    return [name for span, name in sorted(manifest.spans.items()) if span.startswith(month)]


def _metrics_of(manifest: Manifest, month: str) -> list[tuple[str, str]]:
    """Return the days of a month that have metrics, and the names of their partitions."""
    return [
        (day, record.metrics)
        for day, record in sorted(manifest.days.items())
        if day.startswith(month) and record.metrics is not None
    ]


def _month_path(table: str, month: str) -> str:
    return f"{DATA_FOLDER}/{table}/created_month={month}/{table}.parquet"


def _month_in(path: str) -> str:
    return path.split("/")[2].partition("=")[2]


def _encoded(names: Iterable[str]) -> Iterator[bytes]:
    return (name.encode() for name in names)


def _made(out: Path) -> dict[str, tuple[str, str]]:
    """Return what the files there were made of, and their own digests.

    Nothing when another version made them.
    """
    try:
        found: Any = orjson.loads(unsealed(read_plain(out / _KEYS_FILE)))
        if found["made_by"] != made_by():
            return {}
        return {path: (key, made) for path, (key, made) in found["keys"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _digest(path: Path) -> str | None:
    try:
        return digest([read_plain(path)])
    except OSError:
        return None


def _remove_others(folder: Path, current: set[Path]) -> None:
    for path in sorted(folder.rglob("*.parquet")):
        if path not in current:
            remove(path)
            if path.parent != folder and not any(path.parent.iterdir()):
                shutil.rmtree(path.parent, ignore_errors=True)
