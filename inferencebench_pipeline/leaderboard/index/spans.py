"""The table of runs, a partition for each span of days: only those that changed are made."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from inferencebench_pipeline.leaderboard.index.inputs import CorpusInputs
from inferencebench_pipeline.leaderboard.index.manifest import DayRecord, Manifest, span_of
from inferencebench_pipeline.leaderboard.index.partitions import (
    BuiltDays,
    DayTask,
    build_days,
    read_partition,
    unique_texts,
    write_partition,
)
from inferencebench_pipeline.leaderboard.index.tables import ROW_GROUP_ROWS
from inferencebench_pipeline.leaderboard.index.workers import Workers
from inferencebench_pipeline.leaderboard.store import LeaderboardStore

_TASK_ROWS: Final = 2500
_SPANS_IN_FLIGHT: Final = 2

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


def update_spans(
    store: LeaderboardStore,
    folder: Path,
    inputs: CorpusInputs,
    before: Manifest,
    sound: Collection[str],
    workers: Workers,
) -> tuple[Manifest, int]:
    """Write the partitions that are not up to date; return the manifest of all, and what it cost.

    Those of the last build that are not ``sound``, as what was written is, are made anew. The
    number counts the envelopes that had to be read. Whether a run was published more
    than once is for :func:`tell_repeated` to say.

    Raises:
        VerdictsError: a day's verdicts cannot be read.
        StoreError: the folder cannot be written.
    """
    changed = _changed_days(inputs, before, sound)
    manifest = Manifest(
        days={day: record for day, record in before.days.items() if day in inputs.inputs},
        spans={
            span: before.spans[span]
            for span in sorted({span_of(day) for day in inputs.inputs})
            if span in before.spans
        },
    )
    gone = {span_of(day) for day in before.days.keys() - inputs.inputs.keys()}
    spans = sorted({span_of(day) for day in changed} | (gone & manifest.spans.keys()))
    extracted = 0
    waiting: deque[_Span] = deque()
    workers.expect(sum(inputs.rows[day][1] for day in changed))
    for name in spans:
        days = sorted(day for day in inputs.inputs if span_of(day) == name)
        span = _Span(name, days, changed.intersection(days))
        span.start(store, folder, inputs, before, workers)
        waiting.append(span)
        if len(waiting) > _SPANS_IN_FLIGHT:
            extracted += waiting.popleft().finish(folder, inputs, manifest)
    for span in waiting:
        extracted += span.finish(folder, inputs, manifest)
    manifest.days = dict(sorted(manifest.days.items()))
    manifest.spans = dict(sorted(manifest.spans.items()))
    return manifest, extracted


def _changed_days(inputs: CorpusInputs, before: Manifest, sound: Collection[str]) -> set[str]:
    """Return the days whose inputs are new, or whose partitions are gone or damaged."""

    def is_current(day: str) -> bool:
        record, runs = before.days.get(day), before.spans.get(span_of(day))
        return (
            record is not None
            and record.inputs == inputs.inputs[day]
            and runs in sound
            and (record.metrics is None or record.metrics in sound)
        )

    return {day for day in inputs.inputs if not is_current(day)}


@dataclass
class _Span:
    """One span to be made: what stays of it, and the work on the rest."""

    name: str
    days: Sequence[str]
    changed: set[str]
    kept: pa.Table | None = None
    work: list[Future[BuiltDays]] = field(default_factory=list)

    def start(
        self,
        store: LeaderboardStore,
        folder: Path,
        inputs: CorpusInputs,
        before: Manifest,
        workers: Workers,
    ) -> None:
        """Begin the work on the days that changed."""
        old = read_partition(folder, before.spans.get(self.name, ""))
        if old is None:
            # Rows of days that did not change are lost with their partition.
            self.changed = set(self.days)
        else:
            stays = sorted(set(self.days) - self.changed)
            self.kept = old.filter(pc.is_in(old["created_day"], pa.array(stays, pa.string())))
        for days in _batches(sorted(self.changed), inputs):
            known = None
            if old is not None:
                known = old.filter(pc.is_in(old["created_day"], pa.array(days, pa.string())))
            records = {day: before.days.get(day) for day in days}
            metrics = {day: item.metrics for day, item in records.items() if item and item.metrics}
            task = DayTask(
                store, folder, inputs.of_days(days), inputs.noted_of(days), known, metrics
            )
            self.work.append(workers.submit(build_days, task))

    def finish(self, folder: Path, inputs: CorpusInputs, manifest: Manifest) -> int:
        """Write the span's partition, note it in the manifest, and return the envelopes read."""
        built = [future.result() for future in self.work]
        for part in built:
            for day in unique_texts(part.rows["created_day"]):
                manifest.days[day] = DayRecord(
                    inputs=inputs.inputs[day],
                    rows=inputs.rows[day][1],
                    metrics=part.metrics.get(day),
                )
        tables = [part.rows for part in built]
        if self.kept is not None:
            tables.append(self.kept.cast(tables[0].schema) if tables else self.kept)
        manifest.spans[self.name] = _write(folder, self.name, pa.concat_tables(tables))
        return sum(part.extracted for part in built)


def _batches(days: Iterable[str], inputs: CorpusInputs) -> Iterator[list[str]]:
    """Yield days that are worth one task together."""
    batch: list[str] = []
    rows = 0
    for day in days:
        batch.append(day)
        rows += inputs.rows[day][1]
        if rows >= _TASK_ROWS:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch


def tell_repeated(
    folder: Path, manifest: Manifest, among: Iterable[str], connection: duckdb.DuckDBPyConnection
) -> None:
    """Say of each verified publication of a run but the first that it repeats it, and no other.

    Args:
        folder: of the index.
        manifest: of all partitions; it is changed with them.
        among: the partitions of runs in which to look for what is published more than once.
        connection: to read with.
    """
    some = [str(folder / name) for name in among]
    found = connection.execute(_SUSPECTS, {"files": some}).fetchall() if some else []
    suspects = [run_id for (run_id,) in found]
    if not suspects:
        return
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
            patched = patched.select(table.schema.names).cast(table.schema)
        manifest.spans[span] = _write(folder, span, patched)


def _write(folder: Path, span: str, rows: pa.Table) -> str:
    place = f"runs/created_from={span}"
    return write_partition(folder, place, rows.sort_by(_ORDER), group_rows=ROW_GROUP_ROWS)


_PATCHES = pa.schema([("repo_id", pa.string()), ("first", pa.string())])
_ORDER: Final[list[tuple[str, Literal["ascending", "descending"]]]] = [
    ("group_id", "ascending"),
    ("repo_id", "ascending"),
]
"""Whoever compares a group reads the few row groups of each span that hold it."""
