"""Files of the store that are written with their digest, or twice, so that damage is noticed."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import Final

from inferencebench_pipeline.files.atomic_writes import (
    store_errors,
    write_atomically,
    write_changed,
)
from inferencebench_pipeline.files.plain_files import MOST_BYTES, read_plain

_DIGEST_CHARACTERS: Final = 64
_SEAL: Final = b'{"sha256":'
_HEADER_BYTES: Final = 65
"""Length of a copy's first line: the SHA-256 of what follows, in hexadecimal, and a line end."""


class DamageError(ValueError):
    """Stored bytes are not those that were written."""


class UnsealedError(DamageError):
    """A document names no digest of itself: an older version wrote it, or it is damaged."""


def is_plain_file(path: Path) -> bool:
    """Return whether ``path`` is a plain file, or leads to one; an unreadable folder has none."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def is_there(path: Path) -> bool:
    """Return whether anything lies at ``path``, as far as this process may know."""
    return os.path.lexists(path)


def file_state(path: Path) -> str:
    """Return what changes whenever a file that is only ever replaced does."""
    try:
        found = path.stat()
    except OSError:
        return "absent"
    # A replaced file has another inode, even where its size and its time are the same.
    return f"{found.st_size}:{found.st_mtime_ns}:{found.st_ino}"


def sealed(document: bytes) -> bytes:
    """Return a JSON object with a digest of itself as its first member, ``sha256``."""
    digest = hashlib.sha256(document).hexdigest().encode()
    return b'%s"%s",%s' % (_SEAL, digest, document.removeprefix(b"{"))


def unsealed(data: bytes) -> bytes:
    """Return the document that :func:`sealed` was given.

    Raises:
        UnsealedError: it names no digest of itself.
        DamageError: it is not what its digest promises.
    """
    document = without_seal(data)
    if document is data:
        raise UnsealedError("it names no digest of itself")
    if sealed(document) != data:
        raise DamageError("it is not what its digest promises")
    return document


def without_seal(data: bytes) -> bytes:
    """Return a document without its digest, true or not; one that names none as it is."""
    # Two quotes and a comma stand around the digits.
    start = len(_SEAL) + _DIGEST_CHARACTERS + 3
    return b"{" + data[start:] if data.startswith(_SEAL) and len(data) > start else data


def remove(path: Path) -> None:
    """Remove a file, or a folder that stands in the place of one; nothing there is fine.

    Raises:
        StoreError: the disk refuses.
    """
    with store_errors(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_twice(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` and, before that, to a second copy that names its digest.

    For what cannot be made again from anything else. :func:`read_twice` then knows damage when it
    sees some, and reads the other copy.

    Raises:
        StoreError: the disk is full or refuses; the file holds what it held.
    """
    digest = hashlib.sha256(data).hexdigest()
    # The copy comes first, so that a write that is cut off leaves one whole file of the two.
    write_atomically(copy_of(path), digest.encode() + b"\n" + data)
    write_atomically(path, data)


def read_twice(path: Path) -> bytes:
    """Return what :func:`write_twice` wrote last, from whichever of the two copies is sound.

    Without a second copy, or with one that is damaged itself, the file is taken as it is.

    Raises:
        OSError: the file cannot be read, and there is no sound copy of it.
    """
    copy = copy_of(path)
    try:
        data = read_plain(path)
    except OSError:
        if (other := _sound_copy(copy)) is None:
            raise
        return other
    if _promised(copy) != hashlib.sha256(data).hexdigest():
        other = _sound_copy(copy)
        # A write that was cut off leaves the newer bytes in the copy.
        return data if other is None else other
    return data


def restore(path: Path) -> bool:
    """Bring what :func:`write_twice` wrote back where it was damaged; return whether it is there.

    Raises:
        StoreError: the disk refuses.
    """
    try:
        data = read_twice(path)
    except OSError:
        return False
    write_changed(path, data)
    return True


def is_as_written(path: Path) -> bool:
    """Return whether ``path`` holds what :func:`write_twice` wrote, and its copy does too."""
    other = _sound_copy(copy_of(path))
    try:
        return other is not None and read_plain(path) == other
    except OSError:
        return False


def copy_of(path: Path) -> Path:
    """Return where the second copy of ``path`` lies."""
    return path.with_name(f".{path.name}.copy")


def _promised(copy: Path) -> str | None:
    """Return the digest in a copy's first line, without reading what follows."""
    try:
        if not is_plain_file(copy):
            return None
        with copy.open("rb") as file:
            return file.read(_HEADER_BYTES - 1).decode("ascii", "replace")
    except OSError:
        return None


def _sound_copy(copy: Path) -> bytes | None:
    try:
        whole = read_plain(copy, max_bytes=MOST_BYTES + _HEADER_BYTES)
    except OSError:
        return None
    header, data = whole[:_HEADER_BYTES], whole[_HEADER_BYTES:]
    sound = header == hashlib.sha256(data).hexdigest().encode() + b"\n"
    return data if sound else None
