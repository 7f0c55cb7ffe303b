"""Partitions of the index: some days' rows and metrics, made from what is new about those days.

A partition is an immutable Parquet file named by the digest of its bytes. Envelopes that an earlier
build has read are taken over from its partitions, whose digest is checked again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from inferencebench_pipeline.corpus import (
    BlobError,
    raw_lines,
    require_sound,
    unreadable,
)
from inferencebench_pipeline.files import (
    is_plain_file,
    read_plain,
    remove,
    sha256_of,
    write_unsynced,
)
from inferencebench_pipeline.leaderboard.column_ranges import UnfitError
from inferencebench_pipeline.leaderboard.index.parquet.columns import (
    METRICS_SCHEMA,
    FactColumns,
    headlines,
)
from inferencebench_pipeline.leaderboard.index.parquet.tables import (
    FINDINGS_SCHEMA,
    HEADLINE_TYPE,
    VERDICTS_SCHEMA,
    empty,
    finding_rows,
    parquet_bytes,
    parse_line,
    run_rows,
    verdict_row,
)
from inferencebench_pipeline.leaderboard.run_columns import FACTS_SCHEMA
from inferencebench_pipeline.leaderboard.store import LeaderboardStore

_NAME: Final = re.compile(r"(?:runs|metrics)/[a-z_]+=[0-9-]{7,10}/([0-9a-f]{32})\.parquet")
_NOT_A_LINE: Final = (
    ValueError, KeyError, TypeError, AttributeError, UnfitError,
)  # fmt: skip
_HEADLINES: Final = pa.schema([("repo_id", pa.string()), ("headline", HEADLINE_TYPE)])


class DayTask(NamedTuple):
    """Days to build together, and what an earlier build knows about them."""

    store: LeaderboardStore
    folder: Path
    """The folder of the index."""
    entries: pa.Table
    """The inventory of those days, ordered by repository."""
    noted: pa.Table
    """The findings about their repositories that are not in the days' verdicts."""
    known: pa.Table | None
    """Their rows in the last build."""
    metrics: Mapping[str, str]
    """Names of their partitions of metrics in the last build, by day."""


class BuiltDays(NamedTuple):
    """The result of :func:`build_days`."""

    rows: pa.Table
    metrics: dict[str, str]
    """Names of the partitions of metrics, by day."""
    extracted: int
    """Envelopes that were read."""


def build_days(task: DayTask) -> BuiltDays:
    """Write the days' metrics and return their rows.

    Raises:
        VerdictsError: a day's verdicts cannot be read.
        StoreError: the folder cannot be written.
    """
    known_facts, known_metrics = _known(task)
    columns = FactColumns()
    extracted = _extract(task, set(unique_texts(known_facts["repo_id"])), columns)
    facts, metrics = columns.tables()
    days = unique_texts(task.entries["created_day"])
    verdicts, findings = _judged(task.store, days)
    rows = run_rows(
        inventory=task.entries,
        facts=pa.concat_tables([known_facts.select(FACTS_SCHEMA.names), facts]),
        unfit=columns.unfit_table(),
        headlines=pa.concat_tables(
            [known_facts.select(_HEADLINES.names), headlines(metrics).cast(_HEADLINES)]
        ),
        verdicts=verdicts,
        findings=pa.concat_tables([task.noted, findings]),
    )
    written = _write_metrics(task.folder, rows, pa.concat_tables([known_metrics, metrics]))
    return BuiltDays(rows, written, extracted)


def write_partition(
    folder: Path, place: str, table: pa.Table, *, group_rows: int | None = None
) -> str:
    """Write a table under ``place`` (``runs/created_from=2026-05-11``) and return its name.

    Nothing is written when the file is there and sound: its name says what it holds. It is on disk
    for good when :func:`~inferencebench_pipeline.files.sync_files` was called with it.
    """
    data = parquet_bytes(table, compression="lz4", group_rows=group_rows)
    name = f"{place}/{hashlib.sha256(data).hexdigest()[:32]}.parquet"
    path = folder / name
    if not is_sound(folder, name):
        if path.is_dir():
            remove(path)
        write_unsynced(path, data)
    return name


def read_partition(folder: Path, name: str) -> pa.Table | None:
    """Return a partition's table; None when the file is gone or is not what its name says."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        data = read_plain(folder / name)
    except OSError:
        return None
    if hashlib.sha256(data).hexdigest()[:32] != match[1]:
        return None
    return pq.read_table(pa.BufferReader(data))


def is_sound(folder: Path, name: str) -> bool:
    """Return whether a partition is there and holds the bytes it was written with."""
    match, path = _NAME.fullmatch(name), folder / name
    if match is None or not is_plain_file(path):
        return False
    try:
        found = sha256_of(path)
    except OSError:
        return False
    return found[:32] == match[1]


def _known(task: DayTask) -> tuple[pa.Table, pa.Table]:
    """Return the facts and metrics of repositories whose envelope the last build has read."""
    nothing = pa.table(
        {item.name: pa.array([], item.type) for item in (*FACTS_SCHEMA, _HEADLINES.field(1))}
    )
    if task.known is None:
        return nothing, empty(METRICS_SCHEMA)
    partitions = [read_partition(task.folder, name) for name in task.metrics.values()]
    metrics = pa.concat_tables(
        [empty(METRICS_SCHEMA), *(part.select(METRICS_SCHEMA.names) for part in partitions if part)]
    )
    current = dict(
        zip(
            task.entries["repo_id"].to_pylist(),
            task.entries["envelope_sha256"].to_pylist(),
            strict=True,
        )
    )
    measured = set(unique_texts(metrics["repo_id"]))
    kept = [
        # A run whose metrics were lost with their partition is read from its envelope again.
        run_id is not None and repo_id in measured and current.get(repo_id) == sha256
        for repo_id, sha256, run_id in zip(
            *(task.known[name].to_pylist() for name in ("repo_id", "envelope_sha256", "run_id")),
            strict=True,
        )
    ]
    facts = task.known.filter(pa.array(kept, pa.bool_()))
    return (
        facts.select(nothing.schema.names).cast(nothing.schema),
        metrics.filter(pc.is_in(metrics["repo_id"], facts["repo_id"].combine_chunks())),
    )


def _extract(task: DayTask, known: set[str], columns: FactColumns) -> int:
    """Read the envelopes that are not known yet; one whose bytes are lost has a finding."""
    blobs = task.store.corpus.blobs()
    names = ("repo_id", "envelope_sha256", "content_hash")
    extracted = 0
    for repo_id, sha256, content_hash in zip(
        *(task.entries[name].to_pylist() for name in names), strict=True
    ):
        if sha256 is None or repo_id in known:
            continue
        try:
            data = blobs.get(sha256)
        except BlobError:
            continue
        columns.add(repo_id, data, sha256, content_hash)
        extracted += 1
    return extracted


def _judged(store: LeaderboardStore, days: list[str]) -> tuple[pa.Table, pa.Table]:
    """Return the stored verdicts and findings of days."""
    verdicts: list[dict[str, Any]] = []
    findings: list[dict[str, Any]] = []
    for day in days:
        for line in raw_lines(store.corpus, day):
            try:
                require_sound(line)
                document = parse_line(line)
                findings.extend(finding_rows(document, "verification"))
                if document["judged"] is not None:
                    verdicts.append(verdict_row(line, document))
            except _NOT_A_LINE as error:
                raise unreadable(store.corpus.verdicts_path(day), error) from error
    return (
        pa.Table.from_pylist(verdicts, schema=VERDICTS_SCHEMA),
        pa.Table.from_pylist(findings, schema=FINDINGS_SCHEMA),
    )


def _write_metrics(folder: Path, rows: pa.Table, metrics: pa.Table) -> dict[str, str]:
    """Write the metrics of each day that has any, with the names of the runs they are of."""
    at = pc.index_in(metrics["repo_id"], rows["repo_id"].combine_chunks()).to_numpy()
    # New ones come in the order of the rows; only those taken over have to be put in between.
    if np.any(at[1:] < at[:-1]):
        order = np.argsort(at, kind="stable")
        metrics, at = metrics.take(order), at[order]
    identity = rows.select(["row_id", "run_id", "created_day"]).take(at)
    table = pa.table(
        {
            "created_day": identity["created_day"],
            "row_id": identity["row_id"],
            "repo_id": metrics["repo_id"],
            "run_id": identity["run_id"],
            **{name: metrics[name] for name in METRICS_SCHEMA.names if name != "repo_id"},
        }
    )
    written: dict[str, str] = {}
    first = 0
    # The counts come in the order in which the days first appear, and each day is one stretch.
    runs: Any = table["created_day"].value_counts()
    for item in runs.to_pylist():
        day, count = str(item["values"]), int(item["counts"])
        # The day is in the name of the folder, so the file does not repeat it for each metric.
        part = table.slice(first, count).drop(["created_day"])
        written[day] = write_partition(folder, f"metrics/created_day={day}", part)
        first += count
    return written


def unique_texts(column: pa.ChunkedArray[Any]) -> list[str]:
    """Return the different texts of a column without nulls, in the order they first appear."""
    return [str(text) for text in pc.unique(column).to_pylist()]
