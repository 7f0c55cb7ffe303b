"""Check of a built index against the corpus: all rows are counted, new ones are read again.

What was found right is remembered by the names of a day's partitions and by what decided them, so
that a row is read again when it, its envelope or its verdict changed, and not on every build.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from inferencebench_pipeline.corpus import BlobError, BlobStore, inventory_table
from inferencebench_pipeline.envelope import EnvelopeError, parse_envelope
from inferencebench_pipeline.files import is_plain_file, read_plain, sealed, unsealed, write_changed
from inferencebench_pipeline.leaderboard.column_ranges import UnfitError
from inferencebench_pipeline.leaderboard.database import session
from inferencebench_pipeline.leaderboard.document import Summary
from inferencebench_pipeline.leaderboard.facts import METRIC_FIELDS, stated_facts
from inferencebench_pipeline.leaderboard.index.build import (
    LeaderboardError,
    load_summary,
    plain_run_files,
    unreadable_runs,
)
from inferencebench_pipeline.leaderboard.index.parquet.columns import HEADLINE_FIELDS
from inferencebench_pipeline.leaderboard.index.parquet.inputs import CorpusInputs, read_inputs
from inferencebench_pipeline.leaderboard.index.parquet.made_by import made_by
from inferencebench_pipeline.leaderboard.index.parquet.manifest import (
    DOCUMENT_FILE,
    Manifest,
)
from inferencebench_pipeline.leaderboard.index.parquet.partitions import (
    is_sound,
    read_partition,
    unique_texts,
)
from inferencebench_pipeline.leaderboard.index.parquet.spans import span_of
from inferencebench_pipeline.leaderboard.index.parquet.workers import workers
from inferencebench_pipeline.leaderboard.store import LeaderboardStore

CHECKED_FILE: Final = "checked.json"

# The hash over a day's rows only tells rows that were checked from others; it proves nothing.
_DAYS = """
SELECT created_day, count(*), count(DISTINCT repo_id), bit_xor(hash(r))
FROM read_parquet($files, hive_partitioning = false) r GROUP BY created_day
"""
_UNJUDGED = """
SELECT repo_id, created_day, coalesce(i.last_modified, created_at) AS changed_at
FROM read_parquet($files, hive_partitioning = false)
LEFT JOIN (SELECT repo_id, last_modified FROM known) i USING (repo_id)
WHERE envelope_sha256 IS NOT NULL AND verdict_sha256 IS NULL ORDER BY changed_at, repo_id
"""
_NAMES = """
SELECT repo_id FROM read_parquet($files, hive_partitioning = false)
WHERE created_day IN (SELECT unnest($days))
"""
_RANKED = """
SELECT row_id, group_id FROM read_parquet($files, hive_partitioning = false)
WHERE state = 'verified' AND group_id IS NOT NULL
"""


class _Task(NamedTuple):
    """Days of one span to read anew."""

    store: LeaderboardStore
    folder: Path
    runs: str
    metrics: Mapping[str, str | None]
    """Name of each day's partition of metrics."""
    revisions: Mapping[str, str]
    """The revision of each repository, as the inventory has it."""


def check_rows(store: LeaderboardStore) -> list[str]:
    """Return what is wrong with the built index; nothing, when it may be shown.

    Every published repository has exactly one row, every ranked row is in its group of the document
    once, and every row and metric that is new says what the envelope says, read anew from the
    stored bytes by the full parser.
    """
    folder = store.folder
    inputs, manifest = read_inputs(store), Manifest.load(folder)
    if not is_plain_file(folder / DOCUMENT_FILE):
        return ["the index cannot be read: it was not built yet"]
    damaged = [name for name in manifest.partitions() if not is_sound(folder, name)]
    if damaged:
        return sorted(f"{name}: is not what was written; build the index again" for name in damaged)
    try:
        summary = load_summary(store)
        problems = [*_missing(folder, inputs, manifest), *_ungrouped(folder, manifest, summary)]
        days = _days(folder, manifest)
    except (LeaderboardError, duckdb.Error) as error:
        return [f"the index cannot be read: {error}"]
    problems.extend(_uncounted(inputs, manifest, days))
    done = _checked(folder)
    keys = {day: key for day, (_, _, key) in days.items()}
    new = sorted(day for day, key in keys.items() if done.get(day) != key)
    wrong = _read_anew(_tasks(store, folder, inputs, manifest, new))
    problems.extend(problem for found in wrong.values() for problem in found)
    # A day with a problem is left out, so that it is read again until it has none.
    _keep(folder, {day: key for day, key in keys.items() if day not in wrong})
    return sorted(problems)


@dataclass(frozen=True)
class Unjudged:
    """A row that waits for a verdict on its very bytes; until then it does not rank."""

    repo_id: str
    day: str
    """The day whose records have to be verified."""
    changed_at: datetime
    """Instant of the repository's last change on the Hub, as the last crawl has it."""


def unjudged_rows(store: LeaderboardStore) -> list[Unjudged]:
    """Return the rows of the built index that have no verdict yet, the longest unchanged first.

    Raises:
        LeaderboardError: the table of runs cannot be read.
        InventoryError: the inventory cannot be read.
    """
    folder = store.folder
    files = plain_run_files(folder)
    if not files:
        return []
    try:
        with session() as connection:
            connection.register("known", inventory_table(store.corpus))
            found = connection.execute(_UNJUDGED, {"files": files}).fetchall()
    except duckdb.Error as error:
        raise unreadable_runs(folder, error) from error
    return [Unjudged(*line) for line in found]


def _missing(folder: Path, inputs: CorpusInputs, manifest: Manifest) -> Iterator[str]:
    """Yield what is in the corpus and not in the index, and the other way round."""
    changed = [
        day
        for day in inputs.inputs.keys() | manifest.days.keys()
        if day not in manifest.days
        or day not in inputs.inputs
        or manifest.days[day].inputs.inventory != inputs.inputs[day].inventory
    ]
    if not changed:
        return
    known = inputs.of_days(day for day in changed if day in inputs.rows)
    published = set(unique_texts(known["repo_id"]))
    indexed: set[str] = set()
    if manifest.spans:
        values = {"files": manifest.run_files(folder), "days": changed}
        with session() as connection:
            indexed.update(name for (name,) in connection.execute(_NAMES, values).fetchall())
    for repo_id in published - indexed:
        yield f"{repo_id}: is published but has no row"
    for repo_id in indexed - published:
        yield f"{repo_id}: is not in the inventory"
    for day in changed:
        yield f"day {day}: the inventory has changed since the index was built"


def _uncounted(
    inputs: CorpusInputs, manifest: Manifest, days: Mapping[str, tuple[int, int, str]]
) -> Iterator[str]:
    for day, record in manifest.days.items():
        rows, repositories, _ = days.get(day, (0, 0, ""))
        expected = inputs.rows.get(day, (0, 0))[1]
        if not rows == repositories == record.rows:
            yield (f"day {day}: {rows} rows of {repositories} repositories, expected {record.rows}")
        elif rows != expected:
            yield f"day {day}: {rows} rows, the inventory has {expected} repositories"


def _ungrouped(folder: Path, manifest: Manifest, summary: Summary) -> Iterator[str]:
    """Yield rows that the document ranks wrongly or not at all."""
    if not manifest.spans:
        return
    files = {"files": manifest.run_files(folder)}
    with session() as connection:
        # Counters and no sets, so that a row which stands twice is found as well.
        ranked = Counter(connection.execute(_RANKED, files).fetchall())
    listed = Counter((row_id, group.group_id) for group in summary.groups for row_id in group.rows)
    for row_id, group_id in (ranked - listed) + (listed - ranked):
        yield f"row {row_id} is not once in group {group_id} of the document and of the tables"


def _days(folder: Path, manifest: Manifest) -> dict[str, tuple[int, int, str]]:
    """Return of each day its rows, its repositories, and what its rows are recognised by."""
    if not manifest.spans:
        return {}
    with session() as connection:
        found = connection.execute(_DAYS, {"files": manifest.run_files(folder)}).fetchall()
    return {
        day: (rows, repositories, f"{rows}:{mixed}:{record.metrics if record else None}")
        for day, rows, repositories, mixed in found
        for record in [manifest.days.get(day)]
    }


def _tasks(
    store: LeaderboardStore, folder: Path, inputs: CorpusInputs, manifest: Manifest, days: list[str]
) -> Iterator[_Task]:
    # The days come in order, so those of one span are beside each other.
    for span, members in groupby(days, key=span_of):
        names = [day for day in members if day in manifest.days and day in inputs.rows]
        entries = inputs.of_days(names)
        yield _Task(
            store,
            folder,
            manifest.spans[span],
            {day: manifest.days[day].metrics for day in names},
            {
                str(entry["repo_id"]): str(entry["revision"])
                for entry in entries.select(["repo_id", "revision"]).to_pylist()
            },
        )


def _read_anew(tasks: Iterable[_Task]) -> dict[str, list[str]]:
    """Return what is wrong in each day that something is wrong in."""
    todo = list(tasks)
    with workers() as pool:
        pool.announce(sum(len(task.revisions) for task in todo))
        found = [pool.submit(_check_days, task) for task in todo]
        return {day: wrong for future in found for day, wrong in future.result().items()}


def _check_days(_: None, task: _Task) -> dict[str, list[str]]:
    """Compare every row of some days with its envelope; return the problems by day."""
    runs = read_partition(task.folder, task.runs)
    if runs is None:
        return {day: [f"{task.runs}: is gone; build the index again"] for day in task.metrics}
    blobs = task.store.corpus.blobs()
    wrong: dict[str, list[str]] = {}
    for day, name in task.metrics.items():
        rows = runs.filter(pc.is_in(runs["created_day"], pa.array([day]))).to_pylist()
        metrics = read_partition(task.folder, name) if name else None
        cells: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for line in metrics.to_pylist() if metrics else ():
            cells[line["repo_id"]].append(line)
        problems = [
            f"{row['repo_id']}: {problem}"
            for row in rows
            for problem in _differences(blobs, task.revisions, row, cells[row["repo_id"]])
        ]
        if problems:
            wrong[day] = problems
    return wrong


def _differences(
    blobs: BlobStore, revisions: Mapping[str, str], row: dict[str, Any], cells: list[dict[str, Any]]
) -> Iterator[str]:
    """Yield each way in which a row is not what the inventory and the envelope say."""
    revision = revisions.get(row["repo_id"])
    if row["revision"] != revision:
        yield f"revision is {row['revision']}, the inventory has {revision}"
    if row["envelope_sha256"] is None:
        return
    try:
        envelope = parse_envelope(blobs.get(row["envelope_sha256"]))
    except BlobError as error:
        # Of what no crawl can bring back, such as a record that has vanished, the finding tells.
        if row["state"] == "verified":
            yield str(error)
        return
    except EnvelopeError:
        if row["state"] == "verified":
            yield "ranks although its envelope is malformed"
        return
    try:
        facts, metrics = stated_facts(envelope, row["envelope_sha256"])
    except UnfitError as error:
        if row["run_id"] is not None or cells:
            yield f"is shown although {error}"
        return
    for name, value in facts.items():
        if row[name] != value:
            yield f"{name} is {row[name]!r}, the envelope says {value!r}"
    named = [dict(zip(METRIC_FIELDS, metric, strict=True)) for metric in metrics]
    stated = {metric["key"]: metric for metric in named}
    if [{name: cell[name] for name in METRIC_FIELDS} for cell in cells] != [*stated.values()]:
        yield "its metrics are not the envelope's"
    for cell in row["headline"] or ():
        if cell != {name: stated[cell["key"]][name] for name in HEADLINE_FIELDS}:
            yield f"{cell['key']} in its row is not the envelope's"


def _checked(folder: Path) -> dict[str, str]:
    """Return what was found right, by day; nothing when another version checked it."""
    try:
        found: Any = orjson.loads(unsealed(read_plain(folder / CHECKED_FILE)))
        days = found["days"] if found["made_by"] == made_by() else {}
        return {str(day): str(key) for day, key in days.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _keep(folder: Path, days: dict[str, str]) -> None:
    data = orjson.dumps({"made_by": made_by(), "days": days}, option=orjson.OPT_SORT_KEYS)
    write_changed(folder / CHECKED_FILE, sealed(data))
