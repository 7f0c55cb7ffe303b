"""Run ids, and the run directory with its files: the seam between the stages of a run's life.

Nothing here knows what the files mean; each stage reads its predecessor's file and writes its own.
Whoever writes holds the run's lock, and the digest of what is written is kept: the disk between two
stages is not trusted.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.files import (
    StoreError,
    read_plain,
    replaced_atomically,
    sha256_of,
    store_errors,
    write_atomically,
)
from inferencebench_pipeline.runs.run_digests import BrokenSealError, Digests
from inferencebench_pipeline.runs.run_lock import GRACE_S, run_lock

_LAST_MS = 253_402_300_799_000
"""The end of the year 9999."""
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


SHORT_WORK_S: Final = 20.0
"""Signing and publishing end within that, unless a service is slow: others wait for them."""


class RunIdError(PermanentError):
    """A run id is not a canonical UUIDv7; it would become a path and a repository name."""


class MissingRunFileError(PermanentError):
    """A stage was asked to run before the stage that writes its input."""


class DamagedRunFileError(StoreError):
    """A file of a run cannot be read, or is not what the stage wrote that made it."""


class RunFile(StrEnum):
    """The files of a run directory, in the order the stages write them."""

    DELIVERY = "delivery.json"
    DIGESTS = "digests.json"
    """Digests of the other files as they were written."""
    SPEC = "spec.json"
    CAPTURE = "capture"
    CAPTURE_COMPLETE = "capture/complete.json"
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
    # The version, 7, and the variant, binary 10 (RFC 9562 sections 4.1 and 4.2).
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
    """Return the UTC instant, to the millisecond, that a run id was made at.

    A run id has room for times that no clock of ours can name; such a one is as late as can be.
    """
    milliseconds = int(validate_run_id(run_id).replace("-", "")[:12], 16)
    return datetime.fromtimestamp(min(milliseconds, _LAST_MS) / 1000, tz=UTC)


_TO_DO: Final[dict[RunFile, str]] = {
    RunFile.DIGESTS: "`inferencebench run --run-id {run}` writes it again, or materialise `traces` "
    "and `envelope`",
    RunFile.SPEC: "restore it from a backup, or ask for the benchmark anew (`inferencebench run "
    "SPEC`, or the job launch_benchmark): nothing else says what was to be measured",
    RunFile.CAPTURE: "measure it with `inferencebench run --run-id {run}`, or materialise "
    "`benchmark_run`",
    RunFile.TRACES: "make it with `inferencebench run --run-id {run}`, or materialise `traces`",
    RunFile.TELEMETRY: "make it with `inferencebench run --run-id {run}`, or materialise `traces`",
    RunFile.MEASUREMENT: "make it with `inferencebench run --run-id {run}`, or materialise "
    "`traces`",
    RunFile.UNSIGNED_ENVELOPE: "make it with `inferencebench run --run-id {run}`, or materialise "
    "`envelope`",
    RunFile.SIGNATURE: "restore it from a backup: without it nobody knows whether the log holds "
    "the signature. Removing the file has the run signed anew, at the price of a second entry",
    RunFile.ENVELOPE: "`inferencebench sign {run}` signs, finishes or restores it, or materialise "
    "`signature`",
    RunFile.VERDICT: "materialise `signature`",
    RunFile.PUBLICATION: "`inferencebench publish {run}` publishes the run or finds where it is, "
    "or materialise `hub_dataset`",
    RunFile.BACKLINK: "`inferencebench publish {run} --update-model-card` makes it again, or "
    "materialise `model_card_backlink`",
}
"""Advice for each file that is not there, or is damaged."""


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

    @contextlib.contextmanager
    def writing(self, purpose: str, *, wait_s: float = GRACE_S) -> Iterator[None]:
        """Be the only writer of this run, in any process; the thread that is may ask again.

        Args:
            purpose: what is being done, such as ``measuring``; others are told.
            wait_s: how long to wait for another writer to end.

        Raises:
            RunBusyError: another process or thread writes to this run.
            StoreError: the lock cannot be made.
        """
        lock = self.path.parent.parent / ".locks" / f"{self.path.name}.lock"
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(
                    run_lock(lock, run_id=self.run_id, purpose=purpose, wait_s=wait_s)
                )
            except OSError as error:
                raise StoreError(
                    f"cannot write {lock}, the lock of {self.path}: {error.strerror or error}; "
                    "free space or fix the permissions of the store, then try again"
                ) from error
            yield

    def require(self, name: RunFile) -> Path:
        """Return where ``name`` lives.

        Raises:
            MissingRunFileError: the stage that writes it has not run.
        """
        if not self.has(name):
            raise MissingRunFileError(
                f"run {self.run_id} has no {name.value} in {self.path}; {self._to_do(name)}"
            )
        return self.file(name)

    def read(self, name: RunFile) -> bytes:
        """Return the bytes of ``name``, whoever wrote them.

        Raises:
            MissingRunFileError: the stage that writes it has not run.
            DamagedRunFileError: it exists but cannot be read.
        """
        path = self.require(name)
        try:
            return read_plain(path)
        except OSError as error:
            raise self._damaged(name, f"cannot be read: {error.strerror or error}") from error

    def read_as_written(self, name: RunFile) -> bytes:
        """Return the bytes of ``name`` when they are those that a stage wrote.

        Raises:
            MissingRunFileError: the stage that writes it has not run.
            DamagedRunFileError: it cannot be read, or has changed since.
        """
        data = self.read(name)
        self._require_known(name, hashlib.sha256(data).hexdigest())
        return data

    def require_as_written(self, name: RunFile) -> Path:
        """Return where ``name`` lives when it holds what a stage wrote; it is not kept in memory.

        Raises:
            MissingRunFileError: the stage that writes it has not run.
            DamagedRunFileError: it cannot be read, or has changed since.
        """
        path = self.require(name)
        try:
            self._require_known(name, sha256_of(path))
        except OSError as error:
            raise self._damaged(name, f"cannot be read: {error.strerror or error}") from error
        return path

    def was_written(self, name: str) -> bool:
        """Return whether a stage ever wrote the file ``name``, which may be lost since.

        Raises:
            DamagedRunFileError: the list of what was written is damaged.
        """
        return self._digests().knows(name)

    def write(self, name: RunFile, data: bytes) -> Path:
        """Write ``name`` atomically, keep its digest, and return its path.

        Raises:
            RunBusyError: another process or thread writes to this run.
            StoreError: the directory is not writable or the disk is full.
        """
        with self.replacing(name) as temporary:
            temporary.write_bytes(data)
        return self.file(name)

    @contextlib.contextmanager
    def replacing(self, name: RunFile) -> Iterator[Path]:
        """Yield a path to write ``name`` to; at the end it takes its place and its digest is kept.

        Raises:
            RunBusyError: another process or thread writes to this run.
            StoreError: the directory is not writable or the disk is full; nothing is left behind.
        """
        path = self.file(name)
        with self.writing(f"writing {name.value}"), store_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with replaced_atomically(path) as temporary:
                yield temporary
                # Kept before the rename: a crash in between must leave no file that is unknown.
                self.keep_digest(name.value, sha256_of(temporary))
                _move_folder_aside(path)

    def keep_digest(self, name: str, sha256: str) -> None:
        """Keep that the file ``name`` is about to hold what has this digest."""
        try:
            before = self._digests()
        except DamagedRunFileError:
            before = Digests()  # what is written from here on is known again
        after = before.with_file(name, sha256)
        if after != before:
            _move_folder_aside(self.file(RunFile.DIGESTS))
            write_atomically(self.file(RunFile.DIGESTS), after.serialise())

    def mend_digests(self) -> None:
        """Put a damaged ``digests.json`` aside; what is written from here on is known again.

        Raises:
            StoreError: the directory is not writable.
        """
        try:
            self._digests()
        except DamagedRunFileError:
            path = self.file(RunFile.DIGESTS)
            with self.writing("mending the digests"), store_errors(path):
                path.rename(free_name(path, "damaged"))

    def remove(self, name: RunFile) -> None:
        """Remove ``name``, if it is there.

        Raises:
            RunBusyError: another process or thread writes to this run.
            StoreError: the directory is not writable.
        """
        path = self.file(name)
        # A link that leads nowhere is to be removed as well.
        if not os.path.lexists(path):
            return
        with self.writing(f"removing {name.value}"), store_errors(path):
            _move_folder_aside(path)
            path.unlink(missing_ok=True)

    def _digests(self) -> Digests:
        if not self.has(RunFile.DIGESTS):
            return Digests()
        try:
            return Digests.parse(self.read(RunFile.DIGESTS))
        except BrokenSealError as error:
            raise self._damaged(RunFile.DIGESTS, f"is damaged: {error}") from error

    def _require_known(self, name: RunFile, sha256: str) -> None:
        if not self._digests().allows(name.value, sha256):
            raise self._damaged(
                name, f"has changed since it was written: its SHA-256 is {sha256} now"
            )

    def _damaged(self, name: RunFile, problem: str) -> DamagedRunFileError:
        return DamagedRunFileError(f"{self.file(name)} {problem}; {self._to_do(name)}")

    def _to_do(self, name: RunFile) -> str:
        return _TO_DO.get(name, "restore it from a backup").format(run=self.run_id)


def _move_folder_aside(path: Path) -> None:
    """Give a folder that stands where a file belongs another name; nothing in it is lost."""
    if path.is_dir() and not path.is_symlink():
        path.rename(free_name(path, "damaged"))


def free_name(path: Path, word: str) -> Path:
    """Return a path beside ``path`` that nothing has, such as ``capture.incomplete-1``."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.{word}-{number}")):
        number += 1
    return aside


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
        try:
            names = [entry.name for entry in runs.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise StoreError(
                f"cannot read {runs}: {error.strerror or error}; fix the permissions of the store"
            ) from error
        # What is still on its way in has another name, and is no run yet.
        return sorted(name for name in names if _UUID7.fullmatch(name))
