"""Building the index from the corpus, and checking a built one against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from inferencebench_pipeline.corpus.blobs import BlobError, BlobStore
from inferencebench_pipeline.corpus.inventory import Inventory, InventoryEntry, corpus_blobs
from inferencebench_pipeline.corpus.standing import standing_errors
from inferencebench_pipeline.corpus.verdicts import DayVerdicts, RepoVerdict
from inferencebench_pipeline.envelope.canonical import EnvelopeError, parse_envelope
from inferencebench_pipeline.envelope.models import Envelope
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.leaderboard.document import Leaderboard
from inferencebench_pipeline.leaderboard.facts import MetricFact, envelope_facts, metric_facts
from inferencebench_pipeline.leaderboard.ranking import build_document
from inferencebench_pipeline.leaderboard.tables import IndexTables
from inferencebench_pipeline.runs import write_atomically

_FACT_FIELDS = tuple(item.name for item in fields(MetricFact) if item.name != "envelope_sha256")


class LeaderboardError(PermanentError):
    """The stored index cannot be read; it is derived, so building it again replaces it."""


@dataclass(frozen=True)
class IndexInfo:
    """What was built, in numbers."""

    rows: int
    """Published repositories in the index, ranked or not."""
    ranked: int
    comparison_groups: int
    states: Mapping[str, int]
    """How many rows are in each state."""


def leaderboard_folder(store_root: Path) -> Path:
    """Return where the index lies."""
    return store_root / "leaderboard"


def build_index(store_root: Path) -> IndexInfo:
    """Build ``runs.parquet``, ``metrics.parquet`` and ``leaderboard.json`` from the corpus.

    Nothing but the inventory, its blobs and the verdicts is read, so a result that is not
    published cannot appear, and one that was not verified cannot rank. The same corpus gives the
    same ``leaderboard.json``, byte for byte. The document is written last: a reader of it finds
    tables that are as new.

    Raises:
        InventoryError, VerdictsError: the corpus on disk cannot be read.
    """
    inventory = Inventory.load(store_root)
    verdicts = stored_verdicts(store_root, inventory)
    envelopes = _envelopes(corpus_blobs(store_root), inventory)
    tables = IndexTables(
        inventory,
        verdicts.values(),
        (envelope_facts(envelope, sha256) for sha256, envelope in envelopes.items()),
        (fact for sha256, envelope in envelopes.items() for fact in metric_facts(envelope, sha256)),
        {
            repo_id: f"{item.kind}: {item.detail}"
            for repo_id, item in standing_errors(store_root, inventory).items()
        },
    )
    document = build_document(tables.runs(), tables.metrics())
    folder = leaderboard_folder(store_root)
    tables.write(folder)
    write_atomically(
        folder / "leaderboard.json", document.model_dump_json(exclude_none=True).encode() + b"\n"
    )
    return IndexInfo(
        rows=len(document.runs),
        ranked=sum(len(group.rows) for group in document.groups),
        comparison_groups=len(document.groups),
        states=document.states,
    )


def load_leaderboard(store_root: Path) -> Leaderboard:
    """Return the built index's document; an empty one before the first build.

    Raises:
        LeaderboardError: it exists but is not what this version writes.
    """
    path = leaderboard_folder(store_root) / "leaderboard.json"
    try:
        return Leaderboard.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Leaderboard(states={}, groups=(), runs=())
    except (OSError, ValidationError) as error:
        raise LeaderboardError(
            f"cannot read {path}: {error}; materialise leaderboard_index again"
        ) from error


def stored_verdicts(store_root: Path, inventory: Inventory) -> dict[str, RepoVerdict]:
    """Return the verdicts that hold for the bytes the inventory records, by ``repo_id``."""
    current = {_subject(entry): entry.repo_id for entry in inventory.entries}
    return {
        item.repo_id: item
        for day in inventory.days()
        for item in DayVerdicts.load(store_root, day).entries
        if _subject(item) in current
    }


def check_rows(store_root: Path) -> list[str]:
    """Return what is wrong with the built index; nothing, when it may be shown.

    Every published repository has exactly one row, every row of one has a verdict on its very
    bytes, and every row and metric says what the envelope says, read anew from the stored bytes.
    """
    inventory = Inventory.load(store_root)
    folder = leaderboard_folder(store_root)
    try:
        runs = pq.read_table(folder / "runs.parquet").to_pylist()
        metrics = pq.read_table(folder / "metrics.parquet").to_pylist()
        document = load_leaderboard(store_root)
    except (OSError, pa.ArrowException, LeaderboardError) as error:
        return [f"the index cannot be read: {error}"]
    verdicts = stored_verdicts(store_root, inventory)
    blobs = corpus_blobs(store_root)
    by_repo = {row["repo_id"]: row for row in runs}
    cells: dict[str, list[dict[str, Any]]] = {}
    for line in metrics:
        cells.setdefault(line["repo_id"], []).append(line)
    known = {entry.repo_id for entry in inventory.entries}
    problems = [f"{repo_id}: is not in the inventory" for repo_id in by_repo.keys() - known]
    if len(runs) != len(by_repo):
        problems.append(f"{len(runs) - len(by_repo)} repositories have more than one row")
    if [row.repo_id for row in document.runs] != [row["repo_id"] for row in runs]:
        problems.append("leaderboard.json and runs.parquet list different repositories")
    for entry in inventory.entries:
        row = by_repo.get(entry.repo_id)
        if row is None:
            problems.append(f"{entry.repo_id}: is published but has no row")
            continue
        if entry.envelope_sha256 is not None and entry.repo_id not in verdicts:
            problems.append(f"{entry.repo_id}: has no verdict; verify day {entry.created_day}")
        found = _differences(blobs, entry, row, cells.get(entry.repo_id, []))
        problems.extend(f"{entry.repo_id}: {problem}" for problem in found)
    return sorted(problems)


def _differences(
    blobs: BlobStore, entry: InventoryEntry, row: dict[str, Any], cells: list[dict[str, Any]]
) -> Iterator[str]:
    """Yield each way in which a row is not what the inventory and the envelope say."""
    if row["revision"] != entry.revision:
        yield f"revision is {row['revision']}, the inventory has {entry.revision}"
    if entry.envelope_sha256 is None:
        return
    try:
        envelope = parse_envelope(blobs.get(entry.envelope_sha256))
    except BlobError as error:
        yield str(error)
        return
    except EnvelopeError:
        if row["state"] == "verified":
            yield "ranks although its envelope is malformed"
        return
    for name, value in vars(envelope_facts(envelope, entry.envelope_sha256)).items():
        if row[name] != value:
            yield f"{name} is {row[name]!r}, the envelope says {value!r}"
    indexed = [tuple(cell[name] for name in _FACT_FIELDS) for cell in cells]
    stated = [
        tuple(getattr(fact, name) for name in _FACT_FIELDS)
        for fact in metric_facts(envelope, entry.envelope_sha256)
    ]
    if indexed != stated:
        yield "its metrics are not the envelope's"


def _envelopes(blobs: BlobStore, inventory: Inventory) -> dict[str, Envelope]:
    """Return the envelopes that can be read, by the SHA-256 of their bytes.

    One that cannot is malformed, or its blob is damaged; either way it has a finding, its row has
    no facts, and it does not rank.
    """
    envelopes: dict[str, Envelope] = {}
    for entry in inventory.entries:
        if entry.envelope_sha256 is None:
            continue
        try:
            envelopes[entry.envelope_sha256] = parse_envelope(blobs.get(entry.envelope_sha256))
        except (BlobError, EnvelopeError):
            continue
    return envelopes


def _subject(item: InventoryEntry | RepoVerdict) -> tuple[str, str, str | None, str | None]:
    return (item.repo_id, item.organisation, item.envelope_sha256, item.traces_sha256)
