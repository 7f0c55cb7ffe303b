"""The two kinds of storage that an inbox lies on: a folder of this machine, or an object store.

What lies there was named and written by others. A name is only ever the literal name of one file
or folder: no link is followed, no pattern expanded, no pipe waited for, and no more is read than
was asked for. Nothing here knows what a delivery is.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, Protocol

BLOCK_BYTES: Final = 1 << 20
LAST: Final = "delivery.json"
"""The file that tells that a folder is whole: written last, and moved last."""
MOST_MOVED: Final = 10_000
"""Objects of one folder that are moved or removed; a folder of more waits for a person."""


class UnusableFileError(OSError):
    """A file of a delivery is not a plain file of its own, or not of the size that was stated."""

    def __init__(self, problem: str) -> None:
        super().__init__(errno.EINVAL, problem)


@dataclass(frozen=True)
class Found:
    """A plain file of a delivery."""

    size_bytes: int
    modified: datetime


class Storage(Protocol):
    """The folders of an inbox, by name, and the files in them, by their relative path."""

    def folders(self) -> list[str]:
        """Return the names of the folders, hidden ones left out; none when there is no inbox."""
        ...

    def find(self, folder: str, relative: str) -> Found | None:
        """Return the size and date of a plain file; None when there is nothing of that name.

        Raises:
            UnusableFileError: it is something else: a link, a folder, a pipe, a device.
        """
        ...

    def read(self, folder: str, relative: str, *, max_bytes: int) -> bytes:
        """Return the bytes of a plain file, which may have so many."""
        ...

    def copy(self, folder: str, relative: str, target: Path, *, size_bytes: int) -> str:
        """Copy a plain file of this size to ``target``, and return its SHA-256."""
        ...

    def remove(self, folder: str, files: list[str]) -> None:
        """Remove these files, the last one last, and the folder when nothing else is in it."""
        ...

    def put_aside(self, folder: str, place: str, note: str, reason: bytes) -> None:
        """Move a folder to the path ``place``, with ``reason`` in it as a file called ``note``."""
        ...


class LocalFolder:
    """An inbox on a file system of this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folders(self) -> list[str]:
        """Return the names of the folders, hidden ones left out; none when there is no inbox."""
        try:
            with os.scandir(self._root) as entries:
                return sorted(
                    entry.name
                    for entry in entries
                    if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
                )
        except FileNotFoundError:
            return []

    def find(self, folder: str, relative: str) -> Found | None:
        """Return the size and date of a plain file; None when there is nothing of that name.

        Raises:
            UnusableFileError: it is something else: a link, a folder, a pipe, a device.
        """
        try:
            with self._opened(folder, relative) as file:
                facts = os.fstat(file.fileno())
        except FileNotFoundError:
            return None
        return Found(facts.st_size, datetime.fromtimestamp(facts.st_mtime, tz=UTC))

    def read(self, folder: str, relative: str, *, max_bytes: int) -> bytes:
        """Return the bytes of a plain file, which may have so many."""
        with self._opened(folder, relative) as file:
            return _read(file, max_bytes)

    def copy(self, folder: str, relative: str, target: Path, *, size_bytes: int) -> str:
        """Copy a plain file of this size to ``target``, and return its SHA-256."""
        with self._opened(folder, relative) as file:
            return _copy(file, target, size_bytes)

    def remove(self, folder: str, files: list[str]) -> None:
        """Remove these files, the last one last, and the folder when nothing else is in it."""
        with _directory(self._root) as root, _directory(folder, root) as inside:
            for relative in files:
                above, _, name = relative.rpartition("/")
                with suppress(FileNotFoundError), _below(inside, above) as parent:
                    os.unlink(name, dir_fd=parent)
            # What somebody else put into a folder keeps it, and is nobody's failure.
            for above in sorted({relative.rpartition("/")[0] for relative in files} - {""}):
                with suppress(OSError):
                    os.rmdir(above, dir_fd=inside)
            with suppress(OSError):
                os.rmdir(folder, dir_fd=root)

    def put_aside(self, folder: str, place: str, note: str, reason: bytes) -> None:
        """Move a folder to the path ``place``, with ``reason`` in it as a file called ``note``."""
        above, _, name = place.rpartition("/")
        with _directory(self._root) as root:
            with _directory(folder, root) as inside:
                # Written before the folder moves, which so never lies there without a reason.
                _write_new(inside, note, reason)
            with suppress(FileExistsError):
                os.mkdir(above, dir_fd=root)
            with _directory(above, root) as aside:
                os.rename(folder, _free_name(aside, name), src_dir_fd=root, dst_dir_fd=aside)

    @contextmanager
    def _opened(self, folder: str, relative: str) -> Iterator[IO[bytes]]:
        above, _, name = relative.rpartition("/")
        with (
            _directory(self._root) as root,
            _directory(folder, root) as inside,
            _below(inside, above) as parent,
        ):
            descriptor = _open_file(name, parent)
        if (problem := _problem(os.fstat(descriptor))) is not None:
            os.close(descriptor)
            raise UnusableFileError(problem)
        with os.fdopen(descriptor, "rb") as file:
            yield file


class ObjectFolder:
    """An inbox in a flat key space, through fsspec; its names are never taken for patterns."""

    def __init__(self, storage: Any, root: str) -> None:  # noqa: ANN401  (fsspec has no types)
        self._fs = storage
        self._root = root

    def folders(self) -> list[str]:
        """Return the names of the folders, hidden ones left out; none when there is no inbox."""
        # Others write here, and fsspec would answer from the list of an earlier look.
        self._fs.invalidate_cache()
        try:
            found = self._fs.ls(self._root, detail=True)
        except FileNotFoundError:
            return []
        names = {
            str(item["name"]).rstrip("/").rpartition("/")[2]
            for item in found
            if item["type"] == "directory"
        }
        return sorted(name for name in names if name and not name.startswith("."))

    def find(self, folder: str, relative: str) -> Found | None:
        """Return the size and date of a plain file; None when there is nothing of that name.

        Raises:
            UnusableFileError: it is something else: a folder.
        """
        path = self._path(folder, relative)
        try:
            facts = self._fs.info(path)
        except FileNotFoundError:
            return None
        if facts.get("islink") or facts["type"] != "file":
            raise UnusableFileError("is not a plain file; deliver the file itself")
        return Found(int(facts["size"]), self._fs.modified(path))

    def read(self, folder: str, relative: str, *, max_bytes: int) -> bytes:
        """Return the bytes of a plain file, which may have so many."""
        with self._fs.open(self._path(folder, relative), "rb") as file:
            return _read(file, max_bytes)

    def copy(self, folder: str, relative: str, target: Path, *, size_bytes: int) -> str:
        """Copy a plain file of this size to ``target``, and return its SHA-256."""
        with self._fs.open(self._path(folder, relative), "rb") as file:
            return _copy(file, target, size_bytes)

    def remove(self, folder: str, files: list[str]) -> None:
        """Remove these files, the last one last, and whatever else lies in the folder."""
        for relative in files:
            with suppress(FileNotFoundError):
                # Unlike rm, this takes a star in a name for a star.
                self._fs.rm_file(self._path(folder, relative))
        for relative in self._all(folder):
            self._fs.rm_file(self._path(folder, relative))
        self._forget(folder)

    def put_aside(self, folder: str, place: str, note: str, reason: bytes) -> None:
        """Move a folder to the path ``place``, with ``reason`` in it as a file called ``note``.

        One object after the other, the manifest last: a move that is cut off is taken up again.
        """
        self._write(f"{self._root}/{place}/{note}", reason)
        names = self._all(folder)
        for relative in sorted(names, key=lambda name: (name == LAST, name)):
            if relative != note:
                target = f"{self._root}/{place}/{relative}"
                self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
                self._fs.cp_file(self._path(folder, relative), target)
            self._fs.rm_file(self._path(folder, relative))
        self._forget(folder)

    def _write(self, path: str, data: bytes) -> None:
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._fs.pipe_file(path, data)

    def _all(self, folder: str) -> list[str]:
        """Return the relative names of what lies in a folder."""
        self._fs.invalidate_cache()
        above = f"{self._root}/{folder}/"
        found = [str(path) for path in self._fs.find(above.rstrip("/"))]
        names = [path[len(above) :] for path in found if path.startswith(above)]
        if len(names) > MOST_MOVED:
            raise UnusableFileError(f"holds more than {MOST_MOVED:,} files; remove it by hand")
        return names

    def _forget(self, folder: str) -> None:
        """Remove what a store with folders of its own keeps of an empty one."""
        with suppress(OSError, NotImplementedError):
            for path in (f"{self._root}/{folder}/capture", f"{self._root}/{folder}"):
                if self._fs.isdir(path):
                    self._fs.rmdir(path)

    def _path(self, folder: str, relative: str) -> str:
        return f"{self._root}/{folder}/{relative}"


def _read(file: IO[bytes], max_bytes: int) -> bytes:
    data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise UnusableFileError(f"is larger than {max_bytes:,} bytes")
    return data


def _copy(file: IO[bytes], target: Path, size_bytes: int) -> str:
    """Copy exactly ``size_bytes``, so that a file that grows fills no disk."""
    digest = hashlib.sha256()
    left = size_bytes
    with target.open("xb") as copy:
        while left and (block := file.read(min(left, BLOCK_BYTES))):
            copy.write(block)
            digest.update(block)
            left -= len(block)
        # One byte more shows that the file has grown.
        if left or file.read(1):
            raise UnusableFileError(f"does not have the {size_bytes:,} bytes of its manifest")
    return digest.hexdigest()


@contextmanager
def _directory(name: str | Path, above: int | None = None) -> Iterator[int]:
    """Open a folder; below the inbox itself, which may be a link of the operator's, no link is."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        descriptor = os.open(
            name, flags | (os.O_NOFOLLOW if above is not None else 0), dir_fd=above
        )
    except OSError as error:
        if above is not None and error.errno in (errno.ENOTDIR, errno.ELOOP):
            problem = "lies in what is not a plain file or folder; deliver the files themselves"
            raise UnusableFileError(problem) from error
        raise
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _below(inside: int, above: str) -> Iterator[int]:
    if not above:
        yield inside
        return
    # One level is enough: the only folder inside of a delivery is its capture.
    with _directory(above, inside) as parent:
        yield parent


def _open_file(name: str, parent: int) -> int:
    try:
        # Without O_NONBLOCK the opening of a pipe would wait for somebody who writes to it.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(name, flags, dir_fd=parent)
    except OSError as error:
        # These are the answers for a link, for a socket and for a device that is not there.
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV):
            raise UnusableFileError("is not a plain file; deliver the file itself") from error
        raise


def _problem(facts: os.stat_result) -> str | None:
    if not stat.S_ISREG(facts.st_mode):
        return "is not a plain file; deliver the file itself"
    # The other name may be that of a file that nobody meant to deliver.
    if facts.st_nlink > 1:
        return "has other names too (hard links); deliver a copy"
    return None


def _write_new(folder: int, name: str, data: bytes) -> None:
    """Write a file, whatever stood in its place; a link there is not followed."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    except OSError:
        os.rename(name, _free_name(folder, name), src_dir_fd=folder, dst_dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o644, dir_fd=folder), "wb") as file:
        file.write(data)


def _free_name(folder: int, name: str) -> str:
    """Return ``name``, or the first of ``name.2``, ``name.3`` that is not taken in a folder."""
    number, candidate = 1, name
    while True:
        try:
            os.stat(candidate, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return candidate
        number += 1
        candidate = f"{name}.{number}"


def free_bytes(folder: Path) -> int:
    """Return how many bytes may still be written where ``folder`` lies."""
    return shutil.disk_usage(folder).free
