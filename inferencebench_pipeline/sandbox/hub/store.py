"""All repositories of the Hub: creating, finding, deleting, and finding them again after a restart.

A repository is built aside and renamed into place, and renamed away before it is deleted: it is
there completely or not at all, whenever the process is killed.
"""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path

from inferencebench_pipeline.sandbox.hub.attributes import DEFAULT_GITATTRIBUTES
from inferencebench_pipeline.sandbox.hub.names import RepoId, RepoKind
from inferencebench_pipeline.sandbox.hub.objects import LfsStore
from inferencebench_pipeline.sandbox.hub.repository import RepoSettings, Repository, utc_now


class HubStore:
    """The repositories and large files under ``<state>/hub``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lfs = LfsStore(root / "lfs")
        self._lock = threading.Lock()
        self._scratch = root / "scratch"
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)
        self._repositories = {repo.id: repo for repo in _load_all(root / "repos")}

    def find(self, repo_id: RepoId) -> Repository | None:
        """Return the repository, or None."""
        return self._repositories.get(repo_id)

    def all(self, kind: RepoKind | None = None) -> list[Repository]:
        """Return every repository (of one kind), in no particular order."""
        return [r for r in list(self._repositories.values()) if kind in (None, r.id.kind)]

    def scratch_file(self) -> Path:
        """Return a new path for an upload in progress; what is left there is gone at next start."""
        return self._scratch / uuid.uuid4().hex

    def create(
        self,
        repo_id: RepoId,
        *,
        author: str,
        private: bool = False,
        sdk: str | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> tuple[Repository, bool]:
        """Return the repository of that id and whether this call created it.

        Args:
            repo_id: kind, namespace and name, already validated.
            author: who the initial commit is by.
            private: hidden from everybody but members of its namespace.
            sdk: of a space.
            files: content of the initial commit beside ``.gitattributes``.
        """
        with self._lock:
            existing = self._repositories.get(repo_id)
            if existing is not None:
                return existing, False
            aside = self._scratch / uuid.uuid4().hex
            settings = RepoSettings(private, utc_now(), author, sdk)
            initial = {".gitattributes": DEFAULT_GITATTRIBUTES.encode(), **(files or {})}
            Repository.initialise(aside, settings, initial, author)
            folder = self._folder(repo_id)
            folder.parent.mkdir(parents=True, exist_ok=True)
            aside.rename(folder)
            repository = Repository(repo_id, folder)
            # A new mapping instead of a changed one, because readers hold no lock.
            self._repositories = {**self._repositories, repo_id: repository}
            return repository, True

    def delete(self, repository: Repository) -> None:
        """Remove ``repository`` for good; large files stay, others may share them."""
        with self._lock:
            aside = self._scratch / uuid.uuid4().hex
            repository.folder.rename(aside)
            self._repositories = {
                key: value for key, value in self._repositories.items() if key != repository.id
            }
        shutil.rmtree(aside, ignore_errors=True)

    def _folder(self, repo_id: RepoId) -> Path:
        return self.root / "repos" / repo_id.kind.value / repo_id.owner / repo_id.name


def _load_all(root: Path) -> list[Repository]:
    return [
        Repository(RepoId(kind, settings.parent.parent.name, settings.parent.name), settings.parent)
        for kind in RepoKind
        for settings in sorted((root / kind.value).glob("*/*/repo.json"))
    ]
