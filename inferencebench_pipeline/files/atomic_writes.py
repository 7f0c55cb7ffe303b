"""Atomic writes: a file is written to a temporary name, synced, and renamed into place."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from inferencebench_pipeline.errors import PermanentError

_SYNCING_AT_ONCE = 16


class StoreError(PermanentError):
    """The run store cannot be read or written."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader, or a crash, sees all of it or none.

    Raises:
        StoreError: the directory is not writable or the disk is full; nothing is left behind.
    """
    with replaced_atomically(path) as temporary:
        temporary.write_bytes(data)


def write_changed(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` like :func:`write_atomically`, unless that is what it holds.

    Raises:
        StoreError: see :func:`write_atomically`.
    """
    try:
        same = path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        same = False
    if not same:
        write_atomically(path, data)


def write_unsynced(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader sees all of it or none.

    For many files of which none is promised yet: a loss of power may take them until
    :func:`sync_files` has returned.

    Raises:
        StoreError: the directory is not writable or the disk is full; nothing is left behind.
    """
    with store_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _renamed_into_place(path) as temporary:
            temporary.write_bytes(data)


def sync_files(paths: Collection[Path]) -> None:
    """Bring files written by :func:`write_unsynced` to disk, their names included.

    Many wait at once, so that the file system commits them together: a hundredth of the time that
    one after the other takes (``benchmarks/crawl.py``).

    Raises:
        StoreError: the disk refused, or a file is gone.
    """
    if not paths:
        return
    folders = {path.parent for path in paths}
    with (
        store_errors(next(iter(folders))),
        ThreadPoolExecutor(_SYNCING_AT_ONCE, thread_name_prefix="sync") as pool,
    ):
        # Going through the results raises what a thread has met.
        for _ in pool.map(_fsync, paths):
            pass
        for folder in folders:
            _fsync(folder)


@contextlib.contextmanager
def replaced_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success fsync it and rename it into place.

    The one road to a file that is written in pieces: whoever fills it raises ``OSError`` when the
    disk refuses, and what was there before stays.

    Raises:
        StoreError: the directory is not writable or the disk is full; nothing is left behind.
    """
    with store_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _renamed_into_place(path) as temporary:
            yield temporary
            # Synced before it has its name, which a loss of power must not leave without content.
            _fsync(temporary)
        # The new name is content of the folder, which is synced apart from the file.
        _fsync(path.parent)


@contextlib.contextmanager
def _renamed_into_place(path: Path) -> Iterator[Path]:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        # Temporary files begin as readable by their owner only.
        temporary.chmod(0o644)
        temporary.replace(path)
    # An interrupt from the keyboard must leave nothing behind either.
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Say of an ``OSError`` in the body that ``path`` cannot be written, and what to do.

    Raises:
        StoreError: instead of the ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; free space or fix the permissions "
            "of the store, then re-materialise this stage"
        ) from error
