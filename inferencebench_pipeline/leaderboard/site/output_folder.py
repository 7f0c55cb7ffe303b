"""The folder of the site: only what changed is rendered and written, what left is removed last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import orjson

from inferencebench_pipeline.files import (
    file_state,
    read_plain,
    remove,
    sealed,
    store_errors,
    sync_files,
    unsealed,
    write_atomically,
    write_unsynced,
)


class Page(NamedTuple):
    """One file of the site."""

    name: str
    """Path below the folder."""
    data: bytes


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

    def keep_current(self, keys: Mapping[str, str]) -> set[str]:
        """Leave pages that are as they were rendered; return the names of all others.

        Args:
            keys: what decides the content of each page, by its name.
        """
        known = _load_keys(self._keys_file)
        # Each key stands beside the state of its file: a page that somebody or the disk has changed
        # is rendered again.
        current = {
            name
            for name, key in keys.items()
            if name in self._there and known.get(name) == [key, self._state(name)]
        }
        self._current |= current
        return set(keys) - current

    def remember(self, keys: Mapping[str, str]) -> None:
        """Remember the pages by what decided their content, for :meth:`keep_current`.

        Called after they were written, so that a render that was cut off is done again.

        Raises:
            StoreError: the keys cannot be written.
        """
        made = {name: [key, self._state(name)] for name, key in keys.items()}
        if made != _load_keys(self._keys_file):
            data = orjson.dumps(made, option=orjson.OPT_SORT_KEYS)
            write_atomically(self._keys_file, sealed(data) if made else data)

    def write(self, pages: Iterable[Page]) -> None:
        """Write files that are new or different, and bring them to disk.

        Most files of a growing site are neither.

        Raises:
            StoreError: the folder cannot be written.
        """
        for page in pages:
            self._current.add(page.name)
            path = self.folder / page.name
            if page.name in self._there and _holds(path, page.data):
                continue
            write_unsynced(path, page.data)
            self._unsynced.append(path)
            self.written += 1
        sync_files(self._unsynced)
        self._unsynced = []

    def remove_stale(self) -> None:
        """Remove what was there before and is no longer part of the site."""
        for name in self._there - self._current:
            remove(self.folder / name)

    @property
    def _keys_file(self) -> Path:
        """The file of the keys. It lies beside the folder, since it is no part of the site."""
        return self.folder.with_name("pages.json")

    def _state(self, name: str) -> str:
        """Return what changes whenever the file of that name does."""
        return file_state(self.folder / name)


def _holds(path: Path, data: bytes) -> bool:
    try:
        # The size is asked first, because most files that differ differ in it and need not be read.
        return path.stat().st_size == len(data) and read_plain(path) == data
    except OSError:
        return False


def _load_keys(path: Path) -> dict[str, list[str]]:
    """Return the keys of the pages that lie there; none when nobody knows, which renders anew."""
    try:
        keys = orjson.loads(unsealed(read_plain(path)))
    except (OSError, ValueError):
        return {}
    return keys if isinstance(keys, dict) else {}
