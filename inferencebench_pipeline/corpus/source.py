"""The source of a crawl: a narrow protocol, and the Hub behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from inferencebench_pipeline.hub import (
    Hub,
    HubNotFoundError,
    PublishedRepo,
    fetch_file,
    list_published,
)


class CorpusSource(Protocol):
    """The questions that a crawl asks. The Hub answers them, and in tests a folder does."""

    @property
    def endpoint(self) -> str:
        """Base URL that links to the repositories start with."""

    def listed(self, organisation: str) -> Iterable[PublishedRepo]:
        """Yield every published repository of ``organisation``, each with its head commit."""

    def fetch(self, repo_id: str, revision: str, path: str) -> bytes | None:
        """Return a file's bytes at exactly ``revision``, or None when that commit has none."""


@dataclass(frozen=True)
class HubSource:
    """The Hub: datasets tagged ``inferencebench``, read at pinned commits past every cache."""

    hub: Hub
    _files: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict, repr=False)
    """The files at a commit, by the list. One that is not among them need not be asked for."""

    @property
    def endpoint(self) -> str:
        """Base URL of the Hub."""
        return self.hub.endpoint

    def listed(self, organisation: str) -> Iterator[PublishedRepo]:
        """Yield the organisation's tagged datasets, read as they are iterated over."""
        for repo in list_published(self.hub, organisation):
            if repo.files is not None:
                self._files[repo.repo_id, repo.revision] = repo.files
            yield repo

    def fetch(self, repo_id: str, revision: str, path: str) -> bytes | None:
        """Return a file's bytes at ``revision``; a file the commit lacks is None, not an error."""
        # Without a list of the files, the commit is asked for the file itself.
        if path not in self._files.get((repo_id, revision), (path,)):
            return None
        try:
            return fetch_file(self.hub, repo_id, revision, path)
        except HubNotFoundError:
            return None
