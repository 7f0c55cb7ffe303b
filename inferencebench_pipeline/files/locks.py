"""Locks on files, one writer at a time, which end with the process that holds them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import filelock

from inferencebench_pipeline.errors import RetryableError
from inferencebench_pipeline.files.atomic_writes import store_errors

LONGEST_WAIT_S: Final = 1800.0
"""Whoever works on the same files has this long to finish before others give up waiting."""


class LockedError(RetryableError):
    """Another process works on the same files and has not finished in time."""


@contextmanager
def file_lock(path: Path, *, what: str, wait_s: float = LONGEST_WAIT_S) -> Iterator[None]:
    """Be the only one on this host, in any process or thread, who holds the lock at ``path``.

    The kernel frees it when its holder dies. The file stays, empty; its folder is made.

    Args:
        path: the lock file; nothing else may be kept in it.
        what: says in the error what the other one is at, such as ``a crawl into /store``.
        wait_s: how long to wait for the other one.

    Raises:
        LockedError: somebody else held it for all of ``wait_s``.
        StoreError: the lock file cannot be made.
    """
    with store_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path, timeout=wait_s)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise LockedError(
                f"{what} is going on in another process, which holds {path}; waited {wait_s:.0f} s "
                "for it, try again when it has finished"
            ) from error
    try:
        yield
    finally:
        lock.release()
