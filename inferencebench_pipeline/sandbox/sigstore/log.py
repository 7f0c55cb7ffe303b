"""An append-only log in one file: each entry is on the disk before anybody hears of it.

The file holds one JSON object a line, ``{"leaf": base64, "time_ms": int}``; the Merkle tree is
rebuilt from it at start.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from inferencebench_pipeline.errors import PermanentError, RetryableError
from inferencebench_pipeline.sandbox.sigstore.merkle import MerkleTree, leaf_hash


class LogCorruptError(PermanentError):
    """A line of a log file is not an entry: the file was edited or the disk lost data."""


class LogInUseError(PermanentError):
    """Another process serves from the same log file."""


class LogStorageError(RetryableError):
    """The entry could not be stored, and was not logged."""


class DuplicateEntryError(PermanentError):
    """The same leaf is in the log already."""

    def __init__(self, index: int) -> None:
        super().__init__(f"an equivalent entry is in the log already, at index {index}")
        self.index = index


@dataclass(frozen=True)
class LogEntry:
    """One leaf of a log."""

    index: int
    leaf: bytes
    time_ms: int
    """The time at which it was logged, in milliseconds since the epoch."""


@dataclass(frozen=True)
class Inclusion:
    """The proof that an entry is in the tree of a given size (RFC 6962 section 2.1.1)."""

    index: int
    tree_size: int
    root: bytes
    hashes: list[bytes]


class TransparencyLog:
    """A Merkle tree over the lines of a file; safe to use from many threads of one process."""

    def __init__(self, path: Path) -> None:
        """Open or create the log, dropping a last line that a crash cut short.

        Raises:
            LogInUseError: another process has it open.
            LogCorruptError: a complete line is not an entry.
        """
        self.path = path
        self.tree = MerkleTree()
        self._spans: list[tuple[int, int]] = []
        self._index_of: dict[bytes, int] = {}
        self._end = 0
        self._writing = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._lock_file()
            self._load()
        except BaseException:
            os.close(self._file)
            raise

    @property
    def size(self) -> int:
        """The number of entries."""
        return self.tree.size

    def append(self, leaf: bytes, *, time_ms: int | None = None) -> LogEntry:
        """Store a leaf durably and return it with its index.

        Raises:
            DuplicateEntryError: the same leaf was logged before.
            LogStorageError: the disk refused it; the log is as it was.
        """
        digest = leaf_hash(leaf)
        with self._writing:
            if digest in self._index_of:
                raise DuplicateEntryError(self._index_of[digest])
            stamp = time.time_ns() // 1_000_000 if time_ms is None else time_ms
            record = {"leaf": base64.b64encode(leaf).decode(), "time_ms": stamp}
            line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
            self._store(line)
            return LogEntry(self._admit(digest, len(line)), leaf, stamp)

    def entry(self, index: int) -> LogEntry:
        """Return the entry at ``index``.

        Raises:
            IndexError: there is none.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"no entry {index}; the log has {self.size}")
        offset, length = self._spans[index]
        # Reading at an offset leaves no position that threads would have to share.
        leaf, time_ms = self._decode(os.pread(self._file, length, offset), index)
        return LogEntry(index, leaf, time_ms)

    def entries(self, start: int, stop: int) -> Iterator[LogEntry]:
        """Yield the entries of ``range(start, stop)`` that exist."""
        for index in range(start, min(stop, self.size)):
            yield self.entry(index)

    def find(self, digest: bytes) -> int | None:
        """Return the index of the entry with this leaf hash, if there is one."""
        return self._index_of.get(digest)

    def inclusion(self, index: int) -> Inclusion:
        """Return the proof that entry ``index`` is in the tree as it is now."""
        size = self.size
        return Inclusion(index, size, self.tree.root(size), self.tree.inclusion(index, size))

    def close(self) -> None:
        """Release the file; the object is of no use afterwards."""
        with self._writing:
            os.close(self._file)

    def _lock_file(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LogInUseError(
                f"{self.path} is in use by another process; stop the other sandbox, or give this "
                "one a state folder of its own"
            ) from error

    def _load(self) -> None:
        # A duplicate, because closing the reader must not close the log.
        with os.fdopen(os.dup(self._file), "rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                leaf, _ = self._decode(line, self.size)
                self._admit(leaf_hash(leaf), len(line))
        self._drop_unfinished()

    def _decode(self, line: bytes, index: int) -> tuple[bytes, int]:
        try:
            record = json.loads(line)
            return base64.b64decode(record["leaf"], validate=True), int(record["time_ms"])
        except (ValueError, KeyError, TypeError) as error:
            raise LogCorruptError(
                f"{self.path} line {index + 1} is not a log entry; restore the file from a copy, "
                "or start again with an empty state folder (old bundles then lose their log)"
            ) from error

    def _admit(self, digest: bytes, length: int) -> int:
        self._spans.append((self._end, length))
        self._end += length
        index = self.tree.append(digest)
        self._index_of[digest] = index
        return index

    def _store(self, line: bytes) -> None:
        try:
            # An earlier attempt may have left half a line that could not be cut off then.
            self._drop_unfinished()
            written = 0
            # A write may take less than it was given.
            while written < len(line):
                written += os.pwrite(self._file, line[written:], self._end + written)
            os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._drop_unfinished()
            raise LogStorageError(
                f"cannot append to {self.path}: {error.strerror or error}; free space, then retry"
            ) from error

    def _drop_unfinished(self) -> None:
        """Cut what lies behind the last admitted entry: nobody was told of it."""
        if os.fstat(self._file).st_size != self._end:
            os.ftruncate(self._file, self._end)
            os.fsync(self._file)
