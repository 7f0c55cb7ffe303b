"""The table of runs, a partition for each span of days: only those that changed are made."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from inferencebench_pipeline.leaderboard.index.parquet.inputs import CorpusInputs
from inferencebench_pipeline.leaderboard.index.parquet.manifest import DayRecord, Manifest
from inferencebench_pipeline.leaderboard.index.parquet.partitions import (
    BuiltDays,
    DayTask,
    build_days,
    is_sound,
    read_partition,
    unique_texts,
    write_partition,
)
from inferencebench_pipeline.leaderboard.index.parquet.tables import ROW_GROUP_ROWS
from inferencebench_pipeline.leaderboard.index.parquet.workers import Workers
from inferencebench_pipeline.leaderboard.store import LeaderboardStore

_TASK_ROWS: Final = 2500
# It bounds the rows that are in memory at a time, however many spans have changed.
_SPANS_IN_FLIGHT: Final = 2


class UpdatedSpans(NamedTuple):
    """The table of runs as a build leaves it."""

    manifest: Manifest
    extracted: int
    """Envelopes that had to be read."""
    sound: set[str]
    """Names of the partitions that were there already, whole."""


def update_spans(
    store: LeaderboardStore,
    folder: Path,
    inputs: CorpusInputs,
    before: Manifest,
    workers: Workers,
) -> UpdatedSpans:
    """Write the partitions that are not up to date, and those of the last build that are damaged.

    Raises:
        VerdictsError: a day's verdicts cannot be read.
        StoreError: the folder cannot be written.
    """
    sound = {name for name in before.partitions() if is_sound(folder, name)}
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
    workers.announce(sum(inputs.rows[day][1] for day in changed))
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
    return UpdatedSpans(manifest, extracted, sound)


def span_of(day: str) -> str:
    """Return the span of days that share a partition of runs: a third of a month, by its first day.

    All of ``2026-05-11`` to ``2026-05-20`` are in the span ``2026-05-11``. Smaller ones would make
    many files to look through, larger ones more to write again for each run that comes.
    """
    first = "01" if day[8:] <= "10" else "11" if day[8:] <= "20" else "21"
    return f"{day[:7]}-{first}"


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
            self.work.append(workers.submit(_build, task))

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
            # The kept rows were read from a file, where a list's
            # items have another name than in a query.
            tables.append(self.kept.cast(tables[0].schema) if tables else self.kept)
        manifest.spans[self.name] = write_span(folder, self.name, pa.concat_tables(tables))
        return sum(part.extracted for part in built)


def _build(_: None, task: DayTask) -> BuiltDays:
    return build_days(task)


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


def write_span(folder: Path, span: str, rows: pa.Table) -> str:
    """Write the partition of a span and return its name.

    Raises:
        StoreError: the folder cannot be written.
    """
    place = f"runs/created_from={span}"
    return write_partition(folder, place, rows.sort_by(_ORDER), group_rows=ROW_GROUP_ROWS)


_ORDER: Final[list[tuple[str, Literal["ascending", "descending"]]]] = [
    ("group_id", "ascending"),
    ("repo_id", "ascending"),
]
"""The rows of a group lie together, so that a comparison reads few row groups of each span."""
