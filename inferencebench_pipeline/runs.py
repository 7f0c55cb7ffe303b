"""Run ids, and the run directory with its files: the seam between the stages of a run's life.

Nothing here knows what the files mean; each stage reads its predecessor's file and writes its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from inferencebench_pipeline.errors import PermanentError

_SYNCING_AT_ONCE = 16
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class RunIdError(PermanentError):
    """A run id is not a canonical UUIDv7; it would become a path and a repository name."""


class MissingRunFileError(PermanentError):
    """A stage was asked to run before the stage that writes its input."""


class StoreError(PermanentError):
    """The run store cannot be read or written."""


class RunFile(StrEnum):
    """The files of a run directory, in the order the stages write them."""

    DELIVERY = "delivery.json"
    SPEC = "spec.json"
    CAPTURE = "capture"
    TRACES = "traces.parquet"
    TELEMETRY = "telemetry.parquet"
    MEASUREMENT = "measurement.json"
    UNSIGNED_ENVELOPE = "envelope.unsigned.json"
    SIGNATURE = "signature.json"
    """A signature on its way to the log: what to finish after a crash."""
    ENVELOPE = "envelope.json"
    VERDICT = "verdict.json"
    PUBLICATION = "publication.json"
    BACKLINK = "backlink.json"
    PARKED = "parked.json"
    """An outage keeps the run here until later; absent when nothing does."""


def new_run_id(*, unix_ms: int | None = None, entropy: bytes | None = None) -> str:
    """Return a UUIDv7 (RFC 9562 section 5.7): sortable by time, unique without coordination.

    Args:
        unix_ms: milliseconds since the epoch; now, when not given.
        entropy: 10 bytes to derive the random part from, for ids that a retried schedule tick
            must name again; random when not given.
    """
    milliseconds = time.time_ns() // 1_000_000 if unix_ms is None else unix_ms
    tail = secrets.token_bytes(10) if entropy is None else entropy
    value = bytearray(milliseconds.to_bytes(6, "big") + tail)
    if len(value) != 16:
        raise ValueError(f"entropy must be 10 bytes, got {len(tail)}")
    value[6] = 0x70 | (value[6] & 0x0F)
    value[8] = 0x80 | (value[8] & 0x3F)
    text = value.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def validate_run_id(run_id: str) -> str:
    """Return ``run_id`` unchanged when it is a canonical lower-case UUIDv7.

    Raises:
        RunIdError: otherwise. Nothing else checks: Dagster takes any string as partition key.
    """
    if not _UUID7.fullmatch(run_id):
        raise RunIdError(
            f"run id {run_id!r} is not a lower-case UUIDv7 such as {new_run_id()!r}; "
            "take one from `inferencebench run` or from the launch_benchmark job"
        )
    return run_id


def run_started_at(run_id: str) -> datetime:
    """Return the UTC instant, to the millisecond, that a run id was made at."""
    milliseconds = int(validate_run_id(run_id).replace("-", "")[:12], 16)
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader, or a crash, sees all of it or none.

    Raises:
        StoreError: the directory is not writable or the disk is full; nothing is left behind.
    """
    with _store_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_atomically(path) as temporary:
            temporary.write_bytes(data)


def write_changed(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` like :func:`write_atomically`, unless that is what it holds.

    Raises:
        StoreError: see :func:`write_atomically`.
    """
    try:
        same = path.stat().st_size == len(data) and path.read_bytes() == data
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
    with _store_errors(path):
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
        _store_errors(next(iter(folders))),
        ThreadPoolExecutor(_SYNCING_AT_ONCE, thread_name_prefix="sync") as pool,
    ):
        for _ in pool.map(_fsync, paths):
            pass
        for folder in folders:
            _fsync(folder)


@contextlib.contextmanager
def replaced_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success fsync it and rename it into place."""
    with _renamed_into_place(path) as temporary:
        yield temporary
        _fsync(temporary)
    _fsync(path.parent)


@contextlib.contextmanager
def _renamed_into_place(path: Path) -> Iterator[Path]:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
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
def _store_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; free space or fix the permissions "
            "of the store, then re-materialise this stage"
        ) from error


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run."""

    run_id: str
    path: Path

    def file(self, name: RunFile) -> Path:
        """Return where ``name`` lives, whether or not it exists yet."""
        return self.path / name.value

    def has(self, name: RunFile) -> bool:
        """Return whether ``name`` has been written."""
        return self.file(name).exists()

    def require(self, name: RunFile) -> Path:
        """Return where ``name`` lives.

        Raises:
            MissingRunFileError: the stage that writes it has not run.
        """
        if not self.has(name):
            raise MissingRunFileError(
                f"run {self.run_id} has no {name.value} in {self.path}; "
                "materialise the stage that writes it first"
            )
        return self.file(name)

    def read(self, name: RunFile) -> bytes:
        """Return the bytes of ``name``.

        Raises:
            MissingRunFileError: the stage that writes it has not run.
            StoreError: it exists but cannot be read.
        """
        try:
            return self.require(name).read_bytes()
        except OSError as error:
            raise StoreError(f"cannot read {self.file(name)}: {error.strerror or error}") from error

    def write(self, name: RunFile, data: bytes) -> Path:
        """Write ``name`` atomically and return its path."""
        write_atomically(self.file(name), data)
        return self.file(name)

    def remove(self, name: RunFile) -> None:
        """Remove ``name``, if it is there.

        Raises:
            StoreError: the directory is not writable.
        """
        try:
            self.file(name).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot remove {self.file(name)}: {error.strerror or error}"
            ) from error


@dataclass(frozen=True)
class RunStore:
    """A directory of run directories, ``<root>/runs/<run_id>/``."""

    root: Path

    def run(self, run_id: str) -> RunDirectory:
        """Return the directory of ``run_id``, which need not exist yet."""
        return RunDirectory(validate_run_id(run_id), self.root / "runs" / run_id)

    def run_ids(self) -> list[str]:
        """Return the ids of all runs in the store, oldest first."""
        runs = self.root / "runs"
        if not runs.is_dir():
            return []
        return sorted(entry.name for entry in runs.iterdir() if _UUID7.fullmatch(entry.name))
