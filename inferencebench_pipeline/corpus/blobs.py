"""The bytes of published files, stored once under their SHA-256.

Blobs are brought to disk together, before anything that names them is written: one lost to a crash
before that was promised to nobody, and the next crawl fetches it again.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.runs import sync_files, write_unsynced

_SHA256 = re.compile(r"[0-9a-f]{64}")


class BlobError(PermanentError):
    """A stored blob is missing, or its bytes are no longer those its name promises."""


@dataclass(frozen=True)
class BlobStore:
    """Content-addressed files, ``<store>/corpus/blobs/<sha256>``."""

    folder: Path
    _unsynced: dict[Path, None] = field(default_factory=dict, repr=False, compare=False)
    """What was put since the last :meth:`sync`, in that order."""

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
        if not path.is_file() or path.read_bytes() != data:
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
        try:
            stored_bytes = self.path(sha256).stat().st_size
        except FileNotFoundError:
            return False
        return size_bytes is None or stored_bytes == size_bytes

    def get(self, sha256: str) -> bytes:
        """Return the blob's bytes, hashed anew.

        Raises:
            BlobError: absent, unreadable, or damaged on disk. The damaged file is left for
                inspection; deleting it makes the next crawl fetch it again.
        """
        path = self.path(sha256)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BlobError(
                f"cannot read blob {path}: {error.strerror or error}; crawl again to restore it"
            ) from error
        actual = hashlib.sha256(data).hexdigest()
        if actual != sha256:
            raise BlobError(f"blob {path} now hashes to {actual}; delete it and crawl again")
        return data
