"""The capture: what a run leaves on disk while it measures, readable however it ended.

``requests.jsonl`` grows by one line per ended request (the first line says whose it is). A run
that was killed leaves the lines it had flushed, perhaps a torn last one, and no ``complete.json``,
which is written last and holds the SHA-256 of ``spec.json``, of every other file of the capture and
of itself. Captures of version 1 hold the spool's alone; they are read as they always were.
"""

from __future__ import annotations

import base64
import heapq
import itertools
import os
import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, Final, Literal, TypeVar

import numpy as np
import orjson
from pydantic import AwareDatetime, BaseModel, ValidationError

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.files import StoreError, opened_plain, sha256_of, write_atomically
from inferencebench_pipeline.measure.client.completion import (
    COMPLETE,
    RESTORE,
    SPOOL,
    Completion,
    LoopFacts,
    load_document,
    read_completion,
    require_unchanged,
    write_completion,
)
from inferencebench_pipeline.measure.client.exchange import Exchange, Read
from inferencebench_pipeline.measure.errors import CaptureError, SpecError
from inferencebench_pipeline.measure.provenance.document import Provenance, Sha256Hex
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec
from inferencebench_pipeline.measure.spec.spec_file import parse_spec
from inferencebench_pipeline.runs import RunDirectory, RunFile, free_name

_D = TypeVar("_D", bound=BaseModel)

__all__ = [
    "CLIENT_LOG",
    "COMPLETE",
    "ENGINE_LOG",
    "PROVENANCE",
    "SPOOL",
    "Capture",
    "Completion",
    "LoopFacts",
    "SpoolHeader",
    "SpoolWriter",
    "client_report",
    "merge_spools",
    "read_spool",
    "read_spool_in_order",
]

PROVENANCE: Final = "provenance.json"
ENGINE_LOG: Final = "engine.log"
CLIENT_LOG: Final = "client.log"

_FLUSH_BUDGET_S: Final = 0.001
_INSTANTS: Final = ("scheduled_ns", "connect_started_ns", "connected_ns", "sent_ns", "end_ns")


def client_report(repeat: int) -> str:
    """Return the name of the file that holds the client's :class:`LoopFacts` of a repeat."""
    return f"client-{repeat}.json"


class SpoolHeader(DocumentPart):
    """The first line of the spool."""

    capture_version: Literal["1"] = "1"
    """The version of the form of the capture."""
    run_id: str
    """The run id, a UUIDv7."""
    begun_at: AwareDatetime
    """The time at which the run began."""
    workload_sha256: Sha256Hex
    """The SHA-256 of the recipe of the workload: the prompts and how to answer them, before salting
    and without the model."""
    schedule_sha256: Sha256Hex
    """The SHA-256 of the arrival offsets, or of the settings of a closed loop."""


class SpoolWriter:
    """Appends ended requests; what was written outlives a kill, what was only kept does not.

    The first repeat of a run makes the file and writes the header; the others append to it.
    """

    def __init__(self, path: Path, header: SpoolHeader, *, secret: str | None) -> None:
        self._path = path
        self._secret = secret.encode() if secret else None
        self._pending: deque[Exchange] = deque()
        try:
            self._file = path.open("ab")
            empty = os.fstat(self._file.fileno()).st_size == 0
        except OSError as error:
            raise _unwritable(path, error) from error
        if empty:
            self._write(header.model_dump_json().encode() + b"\n")

    def append(self, exchange: Exchange) -> None:
        """Keep an ended request until there is time to write it."""
        self._pending.append(exchange)

    def flush_some(self) -> None:
        """Write pending requests for about a millisecond: a burst of endings must not stall us.

        Raises:
            StoreError: the disk is full or not writable.
        """
        until = time.monotonic() + _FLUSH_BUDGET_S
        while self._pending and time.monotonic() < until:
            self._write(_line(self._pending.popleft(), self._secret))

    def close(self) -> None:
        """Write all that is pending and force it to the disk.

        Raises:
            StoreError: the disk is full or not writable.
        """
        while self._pending:
            self._write(_line(self._pending.popleft(), self._secret))
        try:
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
            # The kernel keeps what it was handed if this process is killed. Forcing it to the disk
            # would stall the window, so close() does that once.
            self._file.flush()
        except OSError as error:
            raise _unwritable(self._path, error) from error


def _unwritable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot write {path}: {error.strerror or error}; free space or fix the permissions of the "
        "store, then run again"
    )


def _line(exchange: Exchange, secret: bytes | None) -> bytes:
    """Return the spool line of a request; an API key that the engine echoed is blanked out."""
    body = b"".join(read.data for read in exchange.reads)
    if secret is not None:
        # As many stars as the key has bytes: the sizes of the reads must still add up. The reads
        # are joined first, because a key may lie across two of them.
        body = body.replace(secret, b"*" * len(secret))
    return orjson.dumps(
        {
            "index": exchange.index,
            "phase": exchange.phase,
            "prompt_id": exchange.prompt_id,
            "scheduled_ns": exchange.scheduled_ns,
            "repeat": exchange.repeat,
            "repeat_origin_ns": exchange.repeat_origin_ns,
            "attempt": exchange.attempt,
            "connect_started_ns": exchange.connect_started_ns,
            "connected_ns": exchange.connected_ns,
            "sent_ns": exchange.sent_ns,
            "end_ns": exchange.end_ns,
            "error_class": exchange.error_class,
            "error_detail": exchange.error_detail,
            "reads": [[read.seen_ns, read.kernel_ns, len(read.data)] for read in exchange.reads],
            # JSON holds text only, and an engine may send any bytes.
            "bytes": base64.b64encode(body).decode(),
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def _exchange(row: dict[str, Any]) -> Exchange:
    body = base64.b64decode(row.pop("bytes"), validate=True)
    shift = row.pop("repeat_origin_ns")
    reads: list[Read] = []
    start = 0
    for seen_ns, kernel_ns, size in row.pop("reads"):
        kernel_ns = None if kernel_ns is None else kernel_ns + shift
        reads.append(Read(seen_ns + shift, kernel_ns, body[start : start + size]))
        start += size
    instants = {name: row[name] + shift for name in _INSTANTS if row[name] is not None}
    return Exchange(reads=reads, **(row | instants))  # from the run's origin: nothing to add


def read_spool(path: Path) -> Iterator[Exchange]:
    """Yield the requests of a spool in the order they ended, up to a torn last line.

    Their instants count from the run's origin, whichever repeat they belong to.

    Raises:
        CaptureError: the spool is missing, or a line before the last one is damaged.
    """
    with _opened(path) as handle:
        offset = len(handle.readline())  # the header
        for line in handle:
            if not line.endswith(b"\n"):
                return  # torn by a kill: the request was never completely written
            yield _parsed(line, path, offset)
            offset += len(line)


def read_spool_in_order(path: Path) -> Iterator[Exchange]:
    """Yield the requests of a spool by repeat and index, holding one of them at a time.

    Raises:
        CaptureError: the spool is missing, or a line before the last one is damaged.
    """
    # Three numbers a request are held, and never its bytes: a spool may exceed the memory.
    repeats, indices, offsets = array("q"), array("q"), array("q")
    with _opened(path) as handle:
        offset = len(handle.readline())
        for line in handle:
            if line.endswith(b"\n"):
                exchange = _parsed(line, path, offset)
                repeats.append(exchange.repeat)
                indices.append(exchange.index)
                offsets.append(offset)
            offset += len(line)
        # lexsort takes its most significant key last: the repeat, then the index within it.
        for position in np.lexsort((indices, repeats)):
            handle.seek(offsets[position])
            yield _parsed(handle.readline(), path, offsets[position])


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise CaptureError(
            f"cannot read {path}: {error.strerror or error}; run the benchmark first"
        ) from error


def _parsed(line: bytes, path: Path, offset: int) -> Exchange:
    try:
        return _exchange(orjson.loads(line))
    except (ValueError, KeyError, TypeError) as error:
        raise CaptureError(
            f"the line at byte {offset} of {path} is damaged ({error}); the capture cannot be "
            "used, run again"
        ) from error


def merge_spools(path: Path, header: SpoolHeader, parts: Sequence[Path], *, planned: int) -> None:
    """Append the parts that several processes wrote to the spool, and remove them.

    Requests stand in the order in which they ended, whoever sent them. Those beyond the
    ``planned`` ones, of which each process made as many as it took, are numbered anew without a
    gap.

    Raises:
        StoreError: the disk is full or not writable.
    """
    drained = itertools.count(planned)
    # Each process wrote its requests as they ended, so its part is already in order.
    rows = heapq.merge(*(_rows(part) for part in parts), key=itemgetter("end_ns"))
    try:
        with path.open("ab") as spool:
            if spool.tell() == 0:
                spool.write(header.model_dump_json().encode() + b"\n")
            for row in rows:
                if row["phase"] == "drained":
                    row["index"] = next(drained)
                spool.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            spool.flush()
            # The parts may go only once the whole is on the disk.
            os.fsync(spool.fileno())
        for part in parts:
            part.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


def _rows(part: Path) -> Iterator[dict[str, Any]]:
    with part.open("rb") as handle:
        handle.readline()  # the header
        yield from map(orjson.loads, handle)


class Capture:
    """The capture of one run, as files."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.path = run.file(RunFile.CAPTURE)

    @property
    def spool(self) -> Path:
        """The file that ended requests are appended to."""
        return self.path / SPOOL

    def begin(self, *, why: str | None = None) -> None:
        """Make an empty capture; one that is there is kept aside under another name.

        Args:
            why: what was wrong with the one that is there; it is written beside it.

        Raises:
            StoreError: the run directory is not writable.
        """
        try:
            self.run.path.mkdir(parents=True, exist_ok=True)
            # A link that leads nowhere is in the way of a new folder, too.
            if os.path.lexists(self.path):
                aside = free_name(self.path, "incomplete")
                self.path.rename(aside)
                if why is not None:
                    aside.with_name(f"{aside.name}.reason.txt").write_text(f"{why}\n")
            self.path.mkdir()
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def write(self, name: str, document: BaseModel) -> None:
        """Write one of the capture's documents atomically."""
        write_atomically(self.path / name, document.model_dump_json(indent=2).encode() + b"\n")

    def complete(self, completion: Completion) -> None:
        """Write ``complete.json``: from here on the capture is complete.

        Raises:
            StoreError: the capture is not writable.
        """
        write_completion(self.run, completion)

    def completion(self) -> Completion | None:
        """Return the completion, or None when the run never ended.

        Raises:
            CaptureError: ``complete.json`` is damaged, or was written and is lost.
        """
        return read_completion(self.run)

    def require_completion(self) -> Completion:
        """Return the completion of a capture whose files are all still what it says.

        Raises:
            CaptureError: the run never ended, or a file changed since; it is named.
        """
        completion = self.completion()
        if completion is None:
            raise CaptureError(
                f"the capture of run {self.run.run_id} in {self.path} is incomplete; run it again"
            )
        require_unchanged(self.run, completion)
        return completion

    def provenance(self) -> Provenance:
        """Return the provenance document.

        Raises:
            CaptureError: it is missing or damaged.
        """
        return self._require(PROVENANCE, Provenance)

    def loop_facts(self, repeat: int = 1) -> LoopFacts:
        """Return what the client reported about itself after one repeat.

        Raises:
            CaptureError: the client never finished.
        """
        return self._require(client_report(repeat), LoopFacts)

    def spec(self) -> BenchmarkSpec:
        """Return the resolved spec that the run measured.

        Raises:
            SpecError: ``spec.json`` is damaged.
        """
        path = self.run.file(RunFile.SPEC)
        try:
            content = orjson.loads(self.run.read_as_written(RunFile.SPEC))
        except ValueError as error:
            raise SpecError(f"{path} is damaged: {error}; {RESTORE}") from error
        return parse_spec(content, where=str(path))

    def header(self) -> SpoolHeader:
        """Return the first line of the spool.

        Raises:
            CaptureError: the spool is missing or damaged.
        """
        try:
            with opened_plain(self.spool) as handle:
                return SpoolHeader.model_validate_json(handle.readline())
        except (OSError, ValidationError) as error:
            raise CaptureError(f"{self.spool} has no usable header: {error}") from error

    def spool_sha256(self) -> str:
        """Return the SHA-256 of the spool as it is now."""
        try:
            return sha256_of(self.spool)
        except OSError as error:
            raise CaptureError(f"cannot read {self.spool}: {error.strerror or error}") from error

    def _require(self, name: str, kind: type[_D]) -> _D:
        document = load_document(self.path / name, kind)
        if document is None:
            raise CaptureError(f"{self.path / name} is missing; run the benchmark again")
        return document
