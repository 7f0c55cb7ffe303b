"""One repository: its settings, refs, commit chain, and the rules under which a commit is made.

A commit is on disk, fsynced, before its ref is replaced; the rename of the ref file is the moment
it exists. Killed before, nothing happened; killed after, everything did.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from inferencebench_pipeline.files import write_atomically
from inferencebench_pipeline.sandbox.hub.errors import HubError, revision_not_found
from inferencebench_pipeline.sandbox.hub.names import RepoId
from inferencebench_pipeline.sandbox.hub.objects import Commit, FileEntry, ObjectStore

MAIN = "refs/heads/main"
_COMMIT_OID = re.compile(r"[0-9a-f]{40}")
# The Hub's own words: clients tell a lock from a name that is taken by the text alone.
_STALE_PARENT = "The branch was updated since you opened this page. Please refresh and try again."
_BUSY = "Another commit operation is in progress for this repository. Please try again later."


@dataclass(frozen=True)
class RepoSettings:
    """The settings of a repository."""

    private: bool
    created_at: str
    created_by: str
    sdk: str | None = None
    benchmark: bool = False
    """True when a dataset is on the Hub's allow-list of benchmarks."""


@dataclass(frozen=True)
class Change:
    """One change of a commit: the new entry of ``path``, or its removal when there is none."""

    path: str
    entry: FileEntry | None
    is_folder: bool = False


@dataclass(frozen=True)
class CommitMessage:
    """The author and the message of a commit."""

    author: str
    title: str
    message: str = ""


def utc_now() -> str:
    """Return the current instant as the Hub writes it, with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Repository:
    """A repository on disk, under ``<hub>/repos/<kind>/<owner>/<name>``."""

    def __init__(self, repo_id: RepoId, folder: Path) -> None:
        self.id = repo_id
        self.folder = folder
        self.objects = ObjectStore(folder / "objects")
        self.settings = RepoSettings(**json.loads((folder / "repo.json").read_bytes()))
        self._refs = dict(_read_refs(folder))
        self._write_lock = threading.Lock()

    @staticmethod
    def initialise(
        folder: Path, settings: RepoSettings, files: Mapping[str, bytes], author: str
    ) -> None:
        """Write a new repository with an initial commit into ``folder``, which must be empty."""
        objects = ObjectStore(folder / "objects")
        commit = objects.add_commit(
            parents=(),
            author=author,
            created_at=settings.created_at,
            title="initial commit",
            message="",
            tree={path: objects.add_blob(content) for path, content in files.items()},
        )
        write_atomically(folder / MAIN, commit.oid.encode())
        write_atomically(folder / "repo.json", json.dumps(asdict(settings)).encode())

    def set_private(self, private: bool) -> None:
        """Hide the repository from strangers, or show it to everybody; durably."""
        self._change_settings(replace(self.settings, private=private))

    def set_benchmark(self, allowed: bool) -> None:
        """Put a dataset on the allow-list of benchmarks, or take it off; durably."""
        self._change_settings(replace(self.settings, benchmark=allowed))

    def _change_settings(self, settings: RepoSettings) -> None:
        write_atomically(self.folder / "repo.json", json.dumps(asdict(settings)).encode())
        self.settings = settings

    @property
    def head(self) -> Commit:
        """The newest commit of main."""
        return self.objects.commit(self._refs[MAIN])

    @property
    def refs(self) -> dict[str, str]:
        """Full ref names and the commit each points to."""
        return dict(self._refs)

    def full_ref(self, revision: str) -> str:
        """Return the full name of a branch or ref.

        Raises:
            HubError: RevisionNotFound.
        """
        for name in (revision, f"refs/heads/{revision}"):
            if name in self._refs:
                return name
        raise revision_not_found(revision)

    def resolve(self, revision: str) -> Commit:
        """Return the commit that a branch, a ref or a full commit id names.

        Raises:
            HubError: RevisionNotFound.
        """
        if _COMMIT_OID.fullmatch(revision) and self.objects.has_commit(revision):
            return self.objects.commit(revision)
        return self.objects.commit(self._refs[self.full_ref(revision)])

    def history(self, start: Commit) -> Iterator[Commit]:
        """Yield ``start`` and its first parents, newest first."""
        commit = start
        while True:
            yield commit
            if not commit.parents:
                return
            commit = self.objects.commit(commit.parents[0])

    def last_changes(self, head: Commit, paths: Sequence[str]) -> dict[str, Commit]:
        """Return, for each file or folder in ``paths``, the newest commit that changed it."""
        found: dict[str, Commit] = {}
        newer = head
        for older in self.history(head):
            if older is not newer:
                for path in paths:
                    if path not in found and _content(newer, path) != _content(older, path):
                        found[path] = newer
            newer = older
        return {path: found.get(path, newer) for path in paths}

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the repository for one write.

        Raises:
            HubError: 409 at once when another write is in progress, as the Hub does.
        """
        if not self._write_lock.acquire(blocking=False):
            raise HubError(409, _BUSY)
        try:
            yield
        finally:
            self._write_lock.release()

    def commit(
        self,
        ref: str,
        changes: Sequence[Change],
        message: CommitMessage,
        *,
        base: str | None = None,
        expected_parent: str | None = None,
    ) -> Commit:
        """Commit ``changes`` to the full ref name ``ref`` and return the new commit.

        Call it inside :meth:`writing`.

        Args:
            ref: moved to the new commit; created when ``base`` is given.
            changes: applied in order to the parent's tree.
            message: author and text.
            base: commit to start a new ref from.
            expected_parent: refuse when the ref has moved on from this commit.

        Raises:
            HubError: 412 when the ref moved on, 404 for deleting what is not there, 400 for a
                path that is both a file and a folder.
        """
        parent = self.objects.commit(base if base is not None else self._refs[ref])
        if expected_parent is not None and expected_parent != parent.oid:
            raise HubError(412, _STALE_PARENT)
        commit = self.objects.add_commit(
            parents=(parent.oid,),
            author=message.author,
            created_at=utc_now(),
            title=message.title,
            message=message.message,
            tree=_apply(parent, changes),
        )
        self.set_ref(ref, commit.oid)
        return commit

    def set_ref(self, ref: str, oid: str) -> None:
        """Point ``ref`` at ``oid``, durably. This is what makes a commit exist."""
        write_atomically(self.folder / ref, oid.encode())
        # A new mapping instead of a changed one, because readers hold no lock.
        self._refs = {**self._refs, ref: oid}


def changed_paths(before: Commit, after: Commit) -> dict[str, FileEntry | None]:
    """Return every path that differs, with its entry in ``after`` (none when deleted)."""
    return {
        path: after.tree.get(path)
        for path in sorted(before.tree.keys() | after.tree.keys())
        if before.tree.get(path) != after.tree.get(path)
    }


def _apply(parent: Commit, changes: Sequence[Change]) -> dict[str, FileEntry]:
    tree = dict(parent.tree)
    for change in changes:
        if change.entry is not None:
            tree[change.path] = change.entry
        elif change.is_folder:
            inside = [path for path in tree if path.startswith(f"{change.path}/")]
            if not inside:
                raise _nothing_to_delete(change.path, parent.oid)
            for path in inside:
                del tree[path]
        elif tree.pop(change.path, None) is None:
            raise _nothing_to_delete(change.path, parent.oid)
    for path in tree:
        for folder in _folders_above(path):
            if folder in tree:
                raise HubError(400, f"{folder!r} cannot be both a file and a folder")
    return tree


def _nothing_to_delete(path: str, commit: str) -> HubError:
    return HubError(
        404,
        f"A file with this name doesn't exist: {path}",
        code="EntryNotFound",
        headers={"X-Repo-Commit": commit},
    )


def _folders_above(path: str) -> Iterator[str]:
    end = path.rfind("/")
    while end > 0:
        yield path[:end]
        end = path.rfind("/", 0, end)


def _content(commit: Commit, path: str) -> object:
    entry = commit.tree.get(path)
    if entry is not None:
        return entry
    return {name: e for name, e in commit.tree.items() if name.startswith(f"{path}/")}


def _read_refs(folder: Path) -> Iterator[tuple[str, str]]:
    for path in (folder / "refs").rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            yield path.relative_to(folder).as_posix(), path.read_text().strip()
