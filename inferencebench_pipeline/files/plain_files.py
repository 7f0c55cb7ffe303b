"""Bounded reading of plain files, which may have been replaced or have grown since.

A file may have been replaced by a folder, a pipe or a device, or have grown beyond all measure.
Reading one never waits and costs no more than its bound; every failure is an ``OSError`` for the
caller to say in its own words.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

MOST_BYTES: Final = 1 << 30
"""No file that is read whole comes near it."""
_BLOCK_BYTES: Final = 1 << 20


@contextmanager
def opened_plain(path: Path) -> Iterator[IO[bytes]]:
    """Open a plain file for reading.

    Raises:
        OSError: there is none, it is no plain file, or the disk does not give it.
    """
    # A pipe must not be waited for, nor a device read without end.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    with os.fdopen(descriptor, "rb") as file:
        yield file


def read_plain(path: Path, *, max_bytes: int = MOST_BYTES) -> bytes:
    """Return the bytes of a plain file.

    Raises:
        OSError: as in :func:`opened_plain`, or it is larger than ``max_bytes``.
    """
    with opened_plain(path) as file:
        # It may grow between the two looks.
        data = file.read(max_bytes + 1) if size_of(file) <= max_bytes else None
        if data is None or len(data) > max_bytes:
            raise OSError(errno.EFBIG, f"larger than {max_bytes} bytes", str(path))
        return data


def size_of(file: IO[bytes]) -> int:
    """Return how many bytes an open file has now."""
    return os.fstat(file.fileno()).st_size


def sha256_of(path: Path, *, size_bytes: int | None = None) -> str:
    """Return the SHA-256 of a plain file.

    Args:
        path: the file.
        size_bytes: how large it must be; one of another size is not read.

    Raises:
        OSError: as in :func:`opened_plain`, or it is of another size.
    """
    digest = hashlib.sha256()
    with opened_plain(path) as file:
        if size_bytes is not None and size_of(file) != size_bytes:
            problem = f"has {size_of(file)} bytes, {size_bytes} were written"
            raise OSError(errno.EINVAL, problem, str(path))
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
