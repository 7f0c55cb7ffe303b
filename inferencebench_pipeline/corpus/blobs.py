"""The bytes of published files, stored once under their SHA-256.

Blobs are brought to disk together, before anything that names them is written: one lost to a crash
before that was promised to nobody, and the next crawl fetches it again.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.files import (
    StoreError,
    is_plain_file,
    is_there,
    read_plain,
    sha256_of,
    store_errors,
    sync_files,
    write_unsynced,
)

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_IN_MEMORY = 2**25
"""A larger blob is a traces file, which is read part by part."""


class BlobError(PermanentError):
    """A stored blob is missing, or its bytes are no longer those its name promises."""


@dataclass(frozen=True)
class BlobStore:
    """Content-addressed files, ``<store>/corpus/blobs/<sha256>``."""

    folder: Path
    _unsynced: dict[Path, None] = field(default_factory=dict, repr=False, compare=False)
    """The blobs that were put since the last :meth:`sync`, in that order."""

    def path(self, sha256: str) -> Path:
        """Return where the blob ``sha256`` lives.

        Raises:
            BlobError: ``sha256`` is not 64 lower-case hex digits; it would become a path.
        """
        if not _SHA256.fullmatch(sha256):
            raise BlobError(f"blob name {sha256!r} is not a lower-case SHA-256; re-crawl the Hub")
        return self.folder / sha256

    def put(self, data: bytes) -> str:
        """Store ``data`` and return its SHA-256; a damaged blob of that name is replaced.

        It can be read at once; it outlasts a loss of power after :meth:`sync`.

        Raises:
            StoreError: it cannot be written.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.path(sha256)
        if not self._holds(path, data):
            if path.is_dir():
                self._move_aside(path)
            write_unsynced(path, data)
        # Also one that was there: a crawl that was cut off may have left it unsynced.
        self._unsynced[path] = None
        return sha256

    def sync(self) -> None:
        """Bring everything that was put to disk; call it before writing down any of its names.

        Raises:
            StoreError: the disk refused.
        """
        sync_files(self._unsynced)
        self._unsynced.clear()

    def has(self, sha256: str, *, size_bytes: int | None) -> bool:
        """Return whether the blob is stored with the size it should have (a cheap look)."""
        path = self.path(sha256)
        try:
            return is_plain_file(path) and size_bytes in (None, path.stat().st_size)
        except OSError:
            return False

    def get(self, sha256: str) -> bytes:
        """Return the blob's bytes, hashed anew.

        Raises:
            BlobError: absent, unreadable, or damaged on disk. Verification puts a damaged file
                aside, so that the next crawl fetches it again.
        """
        path = self.path(sha256)
        try:
            data = read_plain(path)
        except OSError as error:
            raise _unreadable(path, error) from error
        _require(hashlib.sha256(data).hexdigest(), sha256, path)
        return data

    def checked(self, sha256: str) -> Path | bytes:
        """Return the blob, hashed anew: its bytes, or its path where they are many.

        Whoever takes the path hashes what is read from there, since a file may change.

        Raises:
            BlobError: as in :meth:`get`.
        """
        path = self.path(sha256)
        try:
            if path.stat().st_size <= _MOST_IN_MEMORY:
                return self.get(sha256)
        except OSError as error:
            raise _unreadable(path, error) from error
        self.check(sha256)
        return path

    def check(self, sha256: str) -> None:
        """Hash the blob anew, whose bytes are not wanted.

        Raises:
            BlobError: as in :meth:`get`.
        """
        path = self.path(sha256)
        try:
            actual = sha256_of(path)
        except OSError as error:
            raise _unreadable(path, error) from error
        _require(actual, sha256, path)

    def put_aside_if_damaged(self, sha256: str) -> Path | None:
        """Rename a blob that is not what its name promises; return where it lies now.

        The next crawl then fetches it again. A name that nothing lies under is left alone, and so
        is a blob on a disk that refuses.
        """
        path = self.path(sha256)
        try:
            self.check(sha256)
        except BlobError:
            with contextlib.suppress(StoreError):
                return self._move_aside(path) if is_there(path) else None
        return None

    @staticmethod
    def _holds(path: Path, data: bytes) -> bool:
        try:
            return path.stat().st_size == len(data) and read_plain(path) == data
        except OSError:
            return False

    @staticmethod
    def _move_aside(path: Path) -> Path:
        """Rename what lies at ``path`` to a name that is no blob's; the last such one is lost.

        Raises:
            StoreError: the disk refuses.
        """
        # A rename replaces a file by a file only, so a folder on either side has to go first.
        aside = path.with_name(f"{path.name}.damaged")
        with store_errors(aside):
            if aside.is_dir() and not aside.is_symlink():
                shutil.rmtree(aside)
            if path.is_dir() and not path.is_symlink():
                aside.unlink(missing_ok=True)
            path.replace(aside)
        return aside


def _require(actual: str, sha256: str, path: Path) -> None:
    if actual != sha256:
        raise BlobError(f"blob {path} now hashes to {actual}; delete it and crawl again")


def _unreadable(path: Path, error: OSError) -> BlobError:
    return BlobError(
        f"cannot read blob {path}: {error.strerror or error}; crawl again to restore it"
    )
