"""The folder the site lies in: only what changed is written, what left is removed last."""

from __future__ import annotations

from pathlib import Path

from inferencebench_pipeline.files import (
    file_state,
    read_plain,
    remove,
    store_errors,
    sync_files,
    write_unsynced,
)


class SiteFolder:
    """Collects which files make up the site while they are written.

    A page is written before the pages that link to it, and files that nothing links to any more are
    removed by :meth:`remove_stale`, last: at no moment does a link lead nowhere.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with store_errors(folder):
            self._there = {
                path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
            }
        self._current: set[str] = set()
        self._unsynced: list[Path] = []
        self.written = 0
        """Files that were new or different."""

    def has(self, name: str) -> bool:
        """Return whether a file of that name lay there before."""
        return name in self._there

    def state(self, name: str) -> str:
        """Return what changes whenever the file of that name does."""
        return file_state(self.folder / name)

    def keep(self, name: str) -> None:
        """Leave a file as it is."""
        self._current.add(name)

    def write(self, name: str, data: bytes) -> None:
        """Write a file that is new or different; most files of a growing site are neither.

        Raises:
            StoreError: the folder cannot be written.
        """
        self._current.add(name)
        path = self.folder / name
        if name in self._there and self._holds(path, data):
            return
        write_unsynced(path, data)
        self._unsynced.append(path)
        self.written += 1

    def sync(self) -> None:
        """Bring what was written to disk, before something else links to it.

        Raises:
            StoreError: the disk is full or gone.
        """
        sync_files(self._unsynced)
        self._unsynced = []

    def remove_stale(self) -> None:
        """Remove what was there before and is no longer part of the site."""
        for name in self._there - self._current:
            remove(self.folder / name)

    @staticmethod
    def _holds(path: Path, data: bytes) -> bool:
        try:
            return path.stat().st_size == len(data) and read_plain(path) == data
        except OSError:
            return False
