"""One repository in the inventory, as the last crawl saw it at a commit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class RepoState(StrEnum):
    """The state in which the last crawl saw a repository."""

    PUBLISHED = "published"
    MALFORMED = "malformed"
    NO_ENVELOPE = "no_envelope"
    UNREADABLE = "unreadable"
    VANISHED = "vanished"
    MOVED = "moved"


GONE = frozenset({RepoState.VANISHED, RepoState.MOVED})
"""States of repositories that the organisation's listing no longer shows."""


@dataclass(frozen=True)
class InventoryEntry:
    """One repository at one commit. Hashes are ours, taken over the bytes we were served."""

    organisation: str
    repo_id: str
    endpoint: str
    revision: str
    created_at: datetime
    created_day: str
    last_modified: datetime
    state: RepoState
    envelope_sha256: str | None = None
    envelope_size_bytes: int | None = None
    traces_sha256: str | None = None
    traces_size_bytes: int | None = None
    content_hash: str | None = None
    run_id: str | None = None
    suite_id: str | None = None
    suite_version: str | None = None
    model_id: str | None = None
    engine_name: str | None = None
    card_json: str = "{}"
    """The part of the card's front matter that says something about the record, at this commit."""
    card_sha256: str | None = None
    """The digest of the card; of nothing where the commit has none. Null in entries of a version
    that did not read cards, until the next crawl."""
    moved_to: str | None = None
    community: bool = False
    """True when it was found outside our namespace. ``organisation`` then names its owner."""
