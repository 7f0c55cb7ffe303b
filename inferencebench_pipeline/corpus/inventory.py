"""The inventory: every published repository of an organisation, pinned, fetched and hashed by us.

The crawl is incremental: a repository whose head commit is the one already recorded costs nothing
beyond its line in the listing. Nothing here judges a signature; see ``corpus.verification``.

What vanished or was replaced is remembered nowhere else, so both files are kept twice: damage to
one copy costs nothing, and the next crawl writes both anew.
"""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from inferencebench_pipeline.corpus.crawl_visit import Visit
from inferencebench_pipeline.corpus.entries import GONE, InventoryEntry, RepoState
from inferencebench_pipeline.corpus.findings import (
    Finding,
    FindingKind,
    finding,
    keep_first_seen,
)
from inferencebench_pipeline.corpus.source import CorpusSource, HubSource
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.files import (
    copy_of,
    is_as_written,
    is_there,
    read_twice,
    store_errors,
    write_twice,
)
from inferencebench_pipeline.hub import Hub, PublishedRepo

__all__ = [
    "GONE",
    "INVENTORY_SCHEMA_VERSION",
    "SAVED_EVERY",
    "SCHEMA",
    "Inventory",
    "InventoryEntry",
    "InventoryError",
    "RepoState",
    "community_repos",
    "crawl",
    "crawl_others",
    "crawl_source",
    "created_days",
    "entries_of_days",
    "inventory_is_damaged",
    "inventory_table",
    "load_findings",
]

INVENTORY_SCHEMA_VERSION = "2"
SAVED_EVERY = 1_000
"""A crawl writes down what it has after so many repositories. A kill can cost no more."""

_FINDINGS = TypeAdapter(list[Finding])
_LOG = logging.getLogger(__name__)


class InventoryError(PermanentError):
    """The stored inventory cannot be read; it is derived, so a fresh crawl replaces it."""


_ABSENCES = frozenset({FindingKind.VANISHED, FindingKind.MOVED})
_REPLACEMENTS = frozenset({FindingKind.ENVELOPE_REPLACED, FindingKind.TRACES_REPLACED})


@dataclass(frozen=True)
class Inventory:
    """All entries, ordered by repository, and the crawl's findings about them."""

    entries: tuple[InventoryEntry, ...] = ()
    findings: tuple[Finding, ...] = ()
    fetched: int = 0
    """Repositories whose bytes this crawl had to fetch; 0 for one that was only loaded."""

    @classmethod
    def load(cls, store: CorpusStore) -> Inventory:
        """Return the inventory of the last crawl; an empty one before the first.

        Raises:
            InventoryError: the files exist but cannot be read.
        """
        entries = _entries(store, inventory_table(store))
        if not entries:
            return cls()
        findings = store.findings_path
        # An empty list would be silent about everything that was replaced in the past.
        if not (is_there(findings) or is_there(copy_of(findings))):
            raise _unreadable(findings, FileNotFoundError("it is gone"))
        return cls(entries=entries, findings=tuple(load_findings(store)))

    def table(self) -> pa.Table:
        """Return the entries as a table, the content of ``inventory.parquet``."""
        return pa.Table.from_pylist([vars(entry) for entry in self.entries], schema=SCHEMA)

    def days(self) -> list[str]:
        """Return the days (UTC, ISO 8601) on which a repository was created, oldest first."""
        return sorted({entry.created_day for entry in self.entries})


_TIME = pa.timestamp("us", tz="UTC")
_COLUMN_TYPES: dict[str, pa.DataType] = {
    "created_at": _TIME,
    "last_modified": _TIME,
    "envelope_size_bytes": pa.int64(),
    "traces_size_bytes": pa.int64(),
    "community": pa.bool_(),
}
SCHEMA = pa.schema(
    [(item.name, _COLUMN_TYPES.get(item.name, pa.string())) for item in fields(InventoryEntry)],
    metadata={"inventory_schema_version": INVENTORY_SCHEMA_VERSION},
)


def entries_of_days(store: CorpusStore, days: Sequence[str]) -> list[InventoryEntry]:
    """Return the entries whose repositories were created on ``days``, ordered by repository.

    Raises:
        InventoryError: the inventory exists but cannot be read.
    """
    table = inventory_table(store)
    wanted = pc.is_in(table["created_day"], pa.array(list(days), pa.string()))
    return list(_entries(store, table.filter(wanted)))


def created_days(store: CorpusStore) -> list[str]:
    """Return the days (UTC, ISO 8601) on which a known repository was created, oldest first.

    Raises:
        InventoryError: the inventory exists but cannot be read.
    """
    return sorted({str(day) for day in inventory_table(store)["created_day"].to_pylist()})


def load_findings(store: CorpusStore) -> list[Finding]:
    """Return the findings of the last crawl; none before the first.

    Raises:
        InventoryError: the file exists but cannot be read.
    """
    path = store.findings_path
    try:
        return _FINDINGS.validate_json(read_twice(path))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def community_repos(store: CorpusStore) -> frozenset[str]:
    """Return the repositories of others: what is wrong with those is no failure of ours.

    Raises:
        InventoryError: the inventory exists but cannot be read.
    """
    rows = inventory_table(store).select(["repo_id", "community"]).to_pylist()
    return frozenset(row["repo_id"] for row in rows if row["community"])


def inventory_table(store: CorpusStore, schema: pa.Schema | None = None) -> pa.Table:
    """Return the inventory as it is stored; no rows before the first crawl.

    Args:
        store: the store.
        schema: the columns that are wanted; all of them when None.

    Raises:
        InventoryError: the inventory exists but cannot be read.
    """
    wanted = SCHEMA if schema is None else schema
    path = store.inventory_path
    try:
        return pq.read_table(pa.BufferReader(read_twice(path)), schema=wanted)
    except FileNotFoundError:
        return pa.Table.from_pylist([], schema=wanted)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error


def inventory_is_damaged(store: CorpusStore) -> bool:
    """Return whether the inventory or its findings are not what the last crawl wrote.

    Readers may not notice, since each is kept twice; the next crawl writes them anew.
    """
    paths = (store.inventory_path, store.findings_path)
    crawled = any(is_there(path) or is_there(copy_of(path)) for path in paths)
    return crawled and not all(map(is_as_written, paths))


def crawl(hub: Hub, organisation: str, store: CorpusStore) -> Inventory:
    """Bring the stored inventory up to date with what ``organisation`` has on the Hub.

    Returns the whole inventory, other organisations' entries included. Repositories that were there
    last time and are not now stay as entries with a state of their own, and become findings.

    Raises:
        HubUnavailableError: the Hub stopped answering. What had been fetched until then is kept,
            so that the next crawl goes on from there; nothing is declared vanished. After a kill
            it goes on from the last :data:`SAVED_EVERY` repositories.
    """
    return crawl_source(HubSource(hub), organisation, store)


def crawl_source(source: CorpusSource, organisation: str, store: CorpusStore) -> Inventory:
    """Do what ``crawl`` does, from any source."""
    with store.crawling():
        before = _known(store)
        mine = {
            entry.repo_id
            for entry in before.entries
            if entry.organisation == organisation and not entry.community
        }
        listing = source.listed(organisation)
        return _take_in(source, listing, before, mine, organisation, store)


def crawl_others(
    source: CorpusSource,
    listing: Iterable[PublishedRepo],
    passed_over: Collection[str],
    store: CorpusStore,
) -> Inventory:
    """Take in what others published; each entry's organisation is the namespace it is in.

    Args:
        source: reads the files.
        listing: the repositories to look into.
        passed_over: those that exist and are not in ``listing``, which adds to it as it goes.
        store: the store.

    Raises:
        HubUnavailableError: as :func:`crawl`.
    """
    with store.crawling():
        before = _known(store)
        mine = {entry.repo_id for entry in before.entries if entry.community}
        return _take_in(source, listing, before, mine, None, store, passed_over)


def _known(store: CorpusStore) -> Inventory:
    """Return what earlier crawls found; what cannot be read any more is put aside, and told.

    All that is on the Hub is then taken in anew. What is lost is the memory of what was gone or
    replaced before, which is why the damaged files stay for whoever can read them.
    """
    try:
        return Inventory.load(store)
    except InventoryError as error:
        _LOG.error("%s; it is put aside as *.damaged, and this crawl begins anew", error)
    for path in (store.inventory_path, store.findings_path):
        for damaged in (path, copy_of(path)):
            aside = damaged.with_name(f"{damaged.name}.damaged")
            with store_errors(aside), contextlib.suppress(FileNotFoundError):
                if aside.is_dir() and not aside.is_symlink():
                    shutil.rmtree(aside)
                damaged.replace(aside)
    return Inventory()


def _take_in(
    source: CorpusSource,
    listing: Iterable[PublishedRepo],
    before: Inventory,
    mine: set[str],
    organisation: str | None,
    store: CorpusStore,
    passed_over: Collection[str] = (),
) -> Inventory:
    """Bring the entries of ``mine`` and what is new in ``listing`` up to date, and store them."""
    known = {entry.repo_id: entry for entry in before.entries}
    now = datetime.now(UTC)
    blobs = store.blobs()
    visit = Visit(source, organisation, blobs, now)
    seen: dict[str, InventoryEntry] = {}

    def save_so_far() -> None:
        # Nothing is declared gone yet, and entries that were not reached stay as they were.
        noticed = keep_first_seen([*before.findings, *visit.findings], before.findings)
        # The bytes first: no name may be on disk for good before them.
        blobs.sync()
        _save(store, {**known, **seen}.values(), noticed)

    try:
        for listed in listing:
            fetched = visit.fetched
            seen[listed.repo_id] = visit.entry(listed, known.get(listed.repo_id))
            # Right after a fetch only, or each unchanged repository after it would save once more.
            if visit.fetched > fetched and visit.fetched % SAVED_EVERY == 0:
                save_so_far()
    except BaseException:
        # For Ctrl-C and for an outage as well: what was fetched once is not fetched again.
        save_so_far()
        raise
    # Decided only after the whole listing was read: half a listing would make the rest vanish.
    absent = mine - seen.keys() - set(passed_over)
    gone = _gone((known[repo_id] for repo_id in absent), seen.values())
    entries = {**known, **seen, **gone}
    lasting = _lasting(before.findings, entries, visit.examined)
    noticed = keep_first_seen(
        [*lasting, *visit.findings, *_gone_findings(gone, now)], before.findings
    )
    blobs.sync()
    kept = _save(store, entries.values(), noticed)
    return Inventory(entries=kept.entries, findings=kept.findings, fetched=visit.fetched)


def _gone(
    missing: Iterable[InventoryEntry], seen: Iterable[InventoryEntry]
) -> dict[str, InventoryEntry]:
    """Return the entries of repositories no longer listed; a move is the same bytes elsewhere."""
    homes = {entry.envelope_sha256: entry.repo_id for entry in seen if entry.envelope_sha256}
    gone: dict[str, InventoryEntry] = {}
    for entry in missing:
        # A move that was seen once stays a move, also when the new home is gone later.
        moved_to = homes.get(entry.envelope_sha256 or "") or entry.moved_to
        state = RepoState.VANISHED if moved_to is None else RepoState.MOVED
        gone[entry.repo_id] = replace(entry, state=state, moved_to=moved_to)
    return gone


def _gone_findings(gone: dict[str, InventoryEntry], now: datetime) -> Iterator[Finding]:
    for entry in gone.values():
        if entry.moved_to is not None:
            detail = f"the same envelope is now at {entry.moved_to}"
            yield finding(FindingKind.MOVED, entry.repo_id, entry.revision, detail, now)
        else:
            detail = "listed by an earlier crawl, absent now: deleted, private, renamed or untagged"
            yield finding(FindingKind.VANISHED, entry.repo_id, entry.revision, detail, now)


def _lasting(
    findings: Iterable[Finding], entries: dict[str, InventoryEntry], examined: set[str]
) -> Iterator[Finding]:
    """Yield the earlier findings that still stand.

    A replaced record stays on file for good: a later commit does not undo it. Anything else lasts
    while the commit it was seen at is the recorded one and nobody has looked again.
    """
    for item in findings:
        entry = entries.get(item.repo_id)
        if entry is None:
            continue
        same = entry.revision == item.revision and (
            (item.kind in _ABSENCES) == (entry.state in GONE)
        )
        if item.kind in _REPLACEMENTS or (same and item.repo_id not in examined):
            yield item


def _save(
    store: CorpusStore, entries: Iterable[InventoryEntry], findings: Iterable[Finding]
) -> Inventory:
    ordered = tuple(sorted(entries, key=lambda entry: entry.repo_id))
    found = tuple(findings)
    inventory = Inventory(entries=ordered, findings=found)
    with io.BytesIO() as buffer:
        pq.write_table(inventory.table(), buffer, compression="zstd")
        table = buffer.getvalue()
    # The findings first, because an inventory without its findings is read as a damaged one.
    write_twice(store.findings_path, _FINDINGS.dump_json(list(found), indent=2) + b"\n")
    write_twice(store.inventory_path, table)
    return inventory


_UNREADABLE = (OSError, ValueError, TypeError, pa.ArrowException)


def _unreadable(path: Path, error: Exception) -> InventoryError:
    return InventoryError(
        f"cannot read the inventory {path}: {error}; move it aside and crawl again "
        f"(with {copy_of(path).name}, its second copy)"
    )


def _entries(store: CorpusStore, table: pa.Table) -> tuple[InventoryEntry, ...]:
    try:
        return tuple(map(_entry, table.to_pylist()))
    except _UNREADABLE as error:
        raise _unreadable(store.inventory_path, error) from error


def _entry(values: dict[str, Any]) -> InventoryEntry:
    community = bool(values["community"])  # null in the files of versions before
    return InventoryEntry(**{**values, "state": RepoState(values["state"]), "community": community})
