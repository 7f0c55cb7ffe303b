"""The build of the index from the corpus: partitions of Parquet, and ``leaderboard.json``."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
from pydantic import ValidationError

from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.files import (
    is_plain_file,
    read_plain,
    remove,
    sync_files,
    write_changed,
)
from inferencebench_pipeline.leaderboard.analysis.prices import Prices
from inferencebench_pipeline.leaderboard.analysis.ranking import ROW_COLUMNS, run_row
from inferencebench_pipeline.leaderboard.database import session
from inferencebench_pipeline.leaderboard.document import (
    Leaderboard,
    RunRow,
    Summary,
)
from inferencebench_pipeline.leaderboard.index.document_json import document_json
from inferencebench_pipeline.leaderboard.index.group_cache import (
    save_groups,
    update_groups,
)
from inferencebench_pipeline.leaderboard.index.parquet.inputs import read_inputs
from inferencebench_pipeline.leaderboard.index.parquet.manifest import DOCUMENT_FILE, Manifest
from inferencebench_pipeline.leaderboard.index.parquet.partition_summary import (
    load_standing,
    look_into,
    save_standing,
    standing_of,
)
from inferencebench_pipeline.leaderboard.index.parquet.spans import update_spans
from inferencebench_pipeline.leaderboard.index.parquet.tables import read_batches
from inferencebench_pipeline.leaderboard.index.parquet.workers import workers
from inferencebench_pipeline.leaderboard.store import LeaderboardStore

_RUNS = f"""
SELECT {", ".join(ROW_COLUMNS)} FROM read_parquet($files, hive_partitioning = false)
"""  # noqa: S608 - names of our own columns


class LeaderboardError(PermanentError):
    """The stored index cannot be read; it is derived, so building it again replaces it."""


@dataclass(frozen=True)
class IndexInfo:
    """The result of a build, in numbers."""

    rows: int
    """Published repositories in the index, ranked or not."""
    ranked: int
    comparison_groups: int
    states: Mapping[str, int]
    """Number of rows in each state."""
    extracted: int = 0
    """Envelopes that had to be read; the others were known from the last build."""


def build_index(store: LeaderboardStore, prices: Prices | None = None) -> IndexInfo:
    """Bring the index up to date with the corpus; what did not change costs nothing.

    Nothing but the inventory, its blobs, the verdicts and the two public registers is read, so a
    result that is not published cannot appear, and one that was not verified cannot rank. The same
    corpus gives the same partitions and the same ``leaderboard.json``, byte for byte, whether it
    came at once or bit by bit. Partitions are written first, each under a name of its own, then the
    manifest that names them, then the document; those of the last build are removed after that. A
    build that was killed leaves the last index whole, and the next one finishes.

    Args:
        store: root of the store that holds corpus and index.
        prices: what costs are computed from; without them no cost is shown.

    Raises:
        InventoryError, VerdictsError, LogStateError: the corpus on disk cannot be read.
        TakedownError, EvaluationRegisterError: a register cannot be read.
        StoreError: the index cannot be written.
        LockedError: another build is not finished yet.
    """
    folder = store.folder
    with store.building(), _readable(folder):
        return _build(store, folder, prices)


def _build(store: LeaderboardStore, folder: Path, prices: Prices | None) -> IndexInfo:
    inputs, before = read_inputs(store), Manifest.load(folder, to_build_upon=True)
    known = load_standing(folder)
    with workers() as pool, session() as connection:
        manifest, extracted, sound = update_spans(store, folder, inputs, before, pool)
        partitions = look_into(known, manifest.spans.values(), folder, connection)
        # On disk for good before the manifest names them.
        sync_files([folder / name for name in manifest.partitions() - sound])
        standing = standing_of(partitions)
        groups = update_groups(standing, folder, pool, connection, prices)
        document = document_json(store, groups, standing, inputs.unplaced)
    manifest.save(folder)
    write_changed(folder / DOCUMENT_FILE, document)
    save_groups(folder, groups, document)
    save_standing(folder, partitions)
    _remove_others(folder, manifest.partitions())
    return IndexInfo(
        rows=sum(standing.states.values()),
        ranked=sum(group.rows for group in standing.groups.values()),
        comparison_groups=len(groups),
        states=standing.states,
        extracted=extracted,
    )


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Say what to do when a partition is damaged between two looks at it."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException) as error:
        raise unreadable_runs(folder, error) from error


def load_summary(store: LeaderboardStore) -> Summary:
    """Return the content of ``leaderboard.json``; an empty one before the first build.

    Raises:
        LeaderboardError: it exists but is not what this version writes.
    """
    path = store.document_path
    try:
        return Summary.model_validate_json(read_plain(path))
    except FileNotFoundError:
        return Summary(states={}, groups=())
    except (OSError, ValidationError) as error:
        raise LeaderboardError(
            f"cannot read {path}: {error}; materialise leaderboard_index again"
        ) from error


def load_leaderboard(store: LeaderboardStore) -> Leaderboard:
    """Return the built index, its rows ordered by repository; an empty one before the first build.

    Raises:
        LeaderboardError: it exists but is not what this version writes.
    """
    summary = load_summary(store)
    rows = sorted(load_rows(store), key=lambda row: row.repo_id)
    # Nothing is validated again, since the summary and the rows have just been.
    return Leaderboard.model_construct(**vars(summary), runs=tuple(rows))


def load_rows(store: LeaderboardStore, repo_ids: Collection[str] | None = None) -> Iterator[RunRow]:
    """Yield the rows of these repositories, or of all, as the index has them.

    Raises:
        LeaderboardError: the table of runs cannot be read.
    """
    folder = store.folder
    files = plain_run_files(folder)
    if not files:
        return
    query, values = _RUNS, {"files": files}
    if repo_ids is not None:
        query += "WHERE repo_id IN (SELECT unnest($wanted))"
        values["wanted"] = sorted(repo_ids)
    try:
        with session() as connection:
            for batch in read_batches(connection, query, values):
                yield from map(run_row, batch.to_pylist())
    except (duckdb.Error, ValidationError) as error:
        raise unreadable_runs(folder, error) from error


def plain_run_files(folder: Path) -> list[str]:
    """Return the paths of the partitions of runs, oldest span first; each is a plain file.

    Raises:
        LeaderboardError: something else is in the place of one.
    """
    files = Manifest.load(folder).run_files(folder)
    for file in files:
        if not is_plain_file(Path(file)):
            raise unreadable_runs(folder, FileNotFoundError(f"{file} is not a plain file"))
    return files


def unreadable_runs(folder: Path, error: Exception) -> LeaderboardError:
    """Return what to raise when the table of runs in ``folder`` cannot be read."""
    return LeaderboardError(
        f"cannot read the runs in {folder}: {error}; materialise leaderboard_index again"
    )


def _remove_others(folder: Path, current: set[str]) -> None:
    """Remove the partitions that the manifest does not name any more."""
    for kind in ("runs", "metrics"):
        for path in (folder / kind).glob("*/*.parquet"):
            if str(path.relative_to(folder)) not in current:
                remove(path)
