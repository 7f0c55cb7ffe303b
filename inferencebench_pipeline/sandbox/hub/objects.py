"""Content-addressed storage: git-like blobs and commits of one repository, shared LFS objects.

Everything here is written once under the hash of its content, so a crash can leave an unused
object behind but never a wrong one. Which commits count is decided by refs, in ``repository``.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from inferencebench_pipeline.files import write_atomically


@dataclass(frozen=True)
class FileEntry:
    """One file of a commit."""

    oid: str
    """Git blob id (SHA-1): of the content, or of the pointer file when the file is in LFS."""
    size_bytes: int
    lfs_sha256: str | None = None

    @property
    def etag(self) -> str:
        """The ETag of the file, which identifies its content: the SHA-256 in LFS, else the oid."""
        return self.lfs_sha256 or self.oid


@dataclass(frozen=True)
class Commit:
    """A commit with its complete tree."""

    oid: str
    parents: tuple[str, ...]
    author: str
    created_at: str
    title: str
    message: str
    tree: Mapping[str, FileEntry]


def git_blob_oid(content: bytes) -> str:
    """Return the id git gives a blob (SHA-1 of a header with the size, then the content)."""
    return _git_oid("blob", content)


def lfs_pointer(sha256: str, size_bytes: int) -> bytes:
    """Return the pointer file that git keeps in place of an LFS object (git-lfs spec v1)."""
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size_bytes}\n"
    ).encode()


def lfs_entry(sha256: str, size_bytes: int) -> FileEntry:
    """Return the tree entry of a file whose content lives in LFS."""
    return FileEntry(git_blob_oid(lfs_pointer(sha256, size_bytes)), size_bytes, sha256)


class ObjectStore:
    """The blobs and commits of one repository."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # A cache of each store: one on the method would keep every store alive.
        self._read_commit = functools.lru_cache(maxsize=64)(self._load_commit)

    def add_blob(self, content: bytes) -> FileEntry:
        """Store ``content`` durably and return its tree entry."""
        oid = git_blob_oid(content)
        path = self.blob_path(oid)
        if not path.exists():
            write_atomically(path, content)
        return FileEntry(oid, len(content))

    def blob_path(self, oid: str) -> Path:
        """Return the path of the blob ``oid``."""
        return self._folder / "blobs" / oid[:2] / oid

    def add_commit(
        self,
        *,
        parents: tuple[str, ...],
        author: str,
        created_at: str,
        title: str,
        message: str,
        tree: Mapping[str, FileEntry],
    ) -> Commit:
        """Store a commit durably; it belongs to no branch until a ref names it."""
        body = json.dumps(
            {
                "parents": parents,
                "author": author,
                "created_at": created_at,
                "title": title,
                "message": message,
                # Sorted, because the id is a digest of this text.
                "tree": {path: asdict(tree[path]) for path in sorted(tree)},
            },
            ensure_ascii=False,
        ).encode()
        oid = _git_oid("commit", body)
        write_atomically(self._commit_path(oid), body)
        return self.commit(oid)

    def has_commit(self, oid: str) -> bool:
        """Return whether the commit ``oid`` is stored."""
        return self._commit_path(oid).is_file()

    def commit(self, oid: str) -> Commit:
        """Return the commit ``oid``, which must exist."""
        return self._read_commit(oid)

    def _load_commit(self, oid: str) -> Commit:
        document = json.loads(self._commit_path(oid).read_bytes())
        tree = {path: FileEntry(**entry) for path, entry in document.pop("tree").items()}
        parents = tuple(document.pop("parents"))
        return Commit(oid=oid, parents=parents, tree=tree, **document)

    def _commit_path(self, oid: str) -> Path:
        return self._folder / "commits" / oid[:2] / oid


class LfsStore:
    """Large files of all repositories, by SHA-256."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, sha256: str) -> Path:
        """Return the path of the object ``sha256``, which may not exist yet."""
        return self._folder / sha256[:2] / sha256[2:4] / sha256

    def has(self, sha256: str, size_bytes: int) -> bool:
        """Return whether the object is stored completely with that size."""
        path = self.path(sha256)
        return path.is_file() and path.stat().st_size == size_bytes

    def part_path(self, sha256: str, number: int) -> Path:
        """Return the path of part ``number`` (from 1) of an incomplete multipart upload."""
        return self._folder / "parts" / sha256 / f"{number:05d}"

    def parts(self, sha256: str) -> list[Path]:
        """Return the uploaded parts of ``sha256`` in order."""
        return sorted((self._folder / "parts" / sha256).glob("[0-9]*"))


def _git_oid(kind: str, content: bytes) -> str:
    header = f"{kind} {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
