"""One crawl's walk over a listing, which fetches new records and turns changes into findings."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from datetime import UTC, datetime

from inferencebench_pipeline.corpus.blobs import BlobError, BlobStore
from inferencebench_pipeline.corpus.entries import GONE, InventoryEntry, RepoState
from inferencebench_pipeline.corpus.findings import Finding, FindingKind, finding
from inferencebench_pipeline.corpus.source import CorpusSource
from inferencebench_pipeline.envelope import (
    TRACES_FILE,
    EnvelopeError,
    content_hash,
    parse_any_version,
)
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.hub import (
    CARD_FILE,
    CLAIMING_KEYS,
    ENVELOPE_FILE,
    PublishedRepo,
)
from inferencebench_pipeline.untrusted import printable


class Visit:
    """One crawl's walk over the listing: fetches what is new and collects findings."""

    def __init__(
        self, source: CorpusSource, organisation: str | None, blobs: BlobStore, now: datetime
    ) -> None:
        """Visit the repositories of ``organisation``; None is everybody else, each their own."""
        self._source = source
        self._organisation = organisation
        self._blobs = blobs
        self._now = now
        self.findings: list[Finding] = []
        self.examined: set[str] = set()
        """Repositories looked into by this crawl, whose earlier findings are thereby superseded."""
        self.fetched = 0

    def entry(self, listed: PublishedRepo, known: InventoryEntry | None) -> InventoryEntry:
        """Return the entry of a listed repository, fetching only when its commit is new to us."""
        if known is not None and self._unchanged(listed, known):
            entry = replace(known, last_modified=listed.last_modified.astimezone(UTC))
            # Bytes that are damaged here are fetched again, as those that are lost are.
            with contextlib.suppress(BlobError):
                return self._again(entry)
        self.fetched += 1
        self.examined.add(listed.repo_id)
        entry = self._fetched(listed)
        if known is None or known.state in GONE:
            return entry
        # The known digests stay, so that the crawl which can read it again notices a replacement.
        if entry.state is RepoState.UNREADABLE:
            return replace(
                entry,
                envelope_sha256=known.envelope_sha256,
                envelope_size_bytes=known.envelope_size_bytes,
                traces_sha256=known.traces_sha256,
                traces_size_bytes=known.traces_size_bytes,
            )
        self._note_change(known, entry)
        return entry

    def _again(self, entry: InventoryEntry) -> InventoryEntry:
        """Return an unchanged entry; one that was malformed may not be to a newer reader."""
        if entry.state is not RepoState.MALFORMED or entry.envelope_sha256 is None:
            return entry
        envelope = self._blobs.get(entry.envelope_sha256)
        self.examined.add(entry.repo_id)
        return self._described(replace(entry, state=RepoState.PUBLISHED), envelope)

    def _unchanged(self, listed: PublishedRepo, known: InventoryEntry) -> bool:
        stored = (
            (known.envelope_sha256, known.envelope_size_bytes),
            (known.traces_sha256, known.traces_size_bytes),
        )
        return (
            known.revision == listed.revision
            # The same name at another endpoint is another repository.
            and known.endpoint == self._source.endpoint
            and known.community == (self._organisation is None)
            and known.state in (RepoState.PUBLISHED, RepoState.MALFORMED)
            and known.card_sha256 is not None
            and self._blobs.has(known.card_sha256, size_bytes=None)
            and all(
                sha256 is None or self._blobs.has(sha256, size_bytes=size_bytes)
                for sha256, size_bytes in stored
            )
        )

    def _fetched(self, listed: PublishedRepo) -> InventoryEntry:
        created_at = listed.created_at.astimezone(UTC)
        entry = InventoryEntry(
            organisation=self._organisation or listed.repo_id.partition("/")[0],
            community=self._organisation is None,
            repo_id=listed.repo_id,
            endpoint=self._source.endpoint,
            revision=listed.revision,
            created_at=created_at,
            created_day=created_at.date().isoformat(),
            last_modified=listed.last_modified.astimezone(UTC),
            state=RepoState.PUBLISHED,
            card_json=_card_json(listed),
        )
        try:
            envelope = self._source.fetch(listed.repo_id, listed.revision, ENVELOPE_FILE)
            traces = self._source.fetch(listed.repo_id, listed.revision, TRACES_FILE)
            card = (
                None
                if envelope is None
                else self._source.fetch(listed.repo_id, listed.revision, CARD_FILE)
            )
        except PermanentError as error:
            self._note(FindingKind.UNREADABLE, entry, str(error))
            return replace(entry, state=RepoState.UNREADABLE)
        if envelope is None:
            self._note(FindingKind.NO_ENVELOPE, entry, f"the commit has no {ENVELOPE_FILE}")
            return replace(entry, state=RepoState.NO_ENVELOPE)
        entry = replace(
            entry,
            envelope_sha256=self._blobs.put(envelope),
            envelope_size_bytes=len(envelope),
            card_sha256=self._blobs.put(card or b""),
        )
        if traces is not None:
            entry = replace(
                entry, traces_sha256=self._blobs.put(traces), traces_size_bytes=len(traces)
            )
        return self._described(entry, envelope)

    def _described(self, entry: InventoryEntry, data: bytes) -> InventoryEntry:
        try:
            envelope = parse_any_version(data)
        except EnvelopeError as error:
            self._note(FindingKind.MALFORMED, entry, str(error))
            return replace(entry, state=RepoState.MALFORMED)
        return replace(
            entry,
            content_hash=content_hash(envelope),
            run_id=printable(envelope.run_id),
            suite_id=printable(envelope.suite_id),
            suite_version=printable(envelope.suite_version),
            model_id=printable(envelope.model.id),
            engine_name=printable(envelope.engine.name),
        )

    def _note_change(self, known: InventoryEntry, entry: InventoryEntry) -> None:
        came_from = f"as it was at commit {known.revision}"
        if known.envelope_sha256 is not None and known.envelope_sha256 != entry.envelope_sha256:
            self._note(
                FindingKind.ENVELOPE_REPLACED,
                entry,
                f"{ENVELOPE_FILE} is no longer {known.envelope_sha256} {came_from}",
            )
        elif known.traces_sha256 is not None and known.traces_sha256 != entry.traces_sha256:
            self._note(
                FindingKind.TRACES_REPLACED,
                entry,
                f"{TRACES_FILE} is no longer {known.traces_sha256} {came_from}",
            )
        elif known.revision != entry.revision:
            self._note(
                FindingKind.REVISION_CHANGED,
                entry,
                f"other files changed since commit {known.revision}",
            )

    def _note(self, kind: FindingKind, entry: InventoryEntry, detail: str) -> None:
        self.findings.append(finding(kind, entry.repo_id, entry.revision, detail, self._now))


def _card_json(listed: PublishedRepo) -> str:
    claims = {key: listed.card[key] for key in CLAIMING_KEYS if key in listed.card}
    # YAML has dates, which JSON does not know.
    return json.dumps(claims, sort_keys=True, default=str)
