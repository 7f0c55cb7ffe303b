"""The inbox: finished run directories that other hosts leave on a local path or an object store.

A delivery is a folder named by its run id. Its manifest, ``delivery.json``, is written last and
names every file with its size and SHA-256, so a half-copied folder is never mistaken for a run.
Whoever may write there is a stranger: a delivery that is wrong, in whatever way, holds up no other.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

import fsspec
from pydantic import Field, ValidationError

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.errors import PermanentError, RetryableError
from inferencebench_pipeline.files import StoreError, sha256_of, write_atomically
from inferencebench_pipeline.inbox.storage import (
    Found,
    LocalFolder,
    ObjectFolder,
    Storage,
    UnusableFileError,
    free_bytes,
)
from inferencebench_pipeline.measure import Capture, CaptureError
from inferencebench_pipeline.runs import (
    RunBusyError,
    RunDirectory,
    RunFile,
    RunIdError,
    RunStore,
    validate_run_id,
)
from inferencebench_pipeline.untrusted import JsonDocumentError, parse_json, printable, problems_of

PATIENCE: Final = timedelta(hours=1)
"""Time after its manifest for which a delivery may lack bytes before it is put aside."""
QUARANTINE: Final = ".quarantine"
REASON: Final = "reason.txt"
MOST_DELIVERED_BYTES: Final = 64 << 30
"""Bound on all files of a delivery together."""
_MOST_MANIFEST_BYTES: Final = 1 << 20
_SPARE_BYTES: Final = 1 << 30
"""Bytes that a delivery must leave free on the store's disk."""
_LONGEST_NAME: Final = 120
_OUTAGES: Final = (ConnectionError, TimeoutError)
"""Errors of a storage that does not answer, which are nobody's delivery's fault."""
# A capture is a folder of files, each with a name of its own, and no manifest names itself.
_DELIVERABLE: Final = frozenset(RunFile) - {RunFile.CAPTURE, RunFile.DELIVERY}
_CAPTURE_FILE: Final = re.compile(r"capture/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


class InboxError(PermanentError):
    """A delivery, or the inbox's address, cannot be used."""


class InboxUnreachableError(RetryableError):
    """The inbox's storage does not answer."""


class DeliveredFile(DocumentPart):
    """The size and the digest that one file of a delivery must have."""

    size_bytes: Annotated[int, Field(ge=0)]
    """The size of the file, in bytes."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """The SHA-256 of the file."""


class DeliveryManifest(DocumentPart):
    """The content of ``delivery.json``: which run it is and every file of it, by relative path."""

    format: Literal["inferencebench-delivery/1"] = "inferencebench-delivery/1"
    """The name and the version of the form of the document."""
    run_id: str
    """The run id of the delivery."""
    files: Annotated[dict[str, DeliveredFile], Field(min_length=1, max_length=1000)]
    """Every file of the run by its relative path."""


_TAKEN: Final = "it is in the store"


@dataclass(frozen=True)
class Delivery:
    """One folder of the inbox."""

    name: str
    reason: str | None = None
    """Reason why it still waits or cannot be taken; None when it is all there."""


@dataclass(frozen=True)
class Taken:
    """The outcome of one look into the inbox."""

    runs: tuple[str, ...] = ()
    """Run ids that are in the store now, this time or from a look that was cut off."""
    waiting: tuple[Delivery, ...] = ()
    quarantined: tuple[Delivery, ...] = ()


def deliver(run: RunDirectory, url: str) -> None:
    """Copy a finished run into the inbox at ``url``, the manifest last.

    Delivering the same run again replaces what is there, which mends a copy that was cut off.

    Args:
        run: a run whose capture is complete.
        url: a local path, or what fsspec understands (``s3://bucket/inbox``).

    Raises:
        CaptureError: the run is not finished, or a file of its capture has changed since.
        RunBusyError: another process works on the run.
        InboxUnreachableError: the storage does not answer.
    """
    with run.writing("delivering"):
        Capture(run).require_completion()
        files = {name: path for name, path in _files_of(run.path) if _may_be_delivered(name)}
        manifest = DeliveryManifest(
            run_id=run.run_id,
            files={
                name: DeliveredFile(size_bytes=path.stat().st_size, sha256=sha256_of(path))
                for name, path in files.items()
            },
        )
        inbox = Inbox(url)
        with inbox.reaching():
            inbox.put(run.run_id, files, manifest.model_dump_json(indent=1).encode() + b"\n")


class Inbox:
    """The folder that deliveries arrive in."""

    def __init__(self, url: str) -> None:
        """Open the inbox at ``url``.

        Raises:
            InboxError: no such kind of storage is installed.
        """
        self.url = url
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise InboxError(
                f"INFERENCEBENCH_INBOX={url!r} cannot be opened: {error}; give a local path, or "
                "install the fsspec package of that storage"
            ) from error
        self._storage: Storage = (
            LocalFolder(Path(self._root))
            if isinstance(self._fs, fsspec.implementations.local.LocalFileSystem)
            else ObjectFolder(self._fs, self._root)
        )

    def take_in(self, store: RunStore, *, now: datetime | None = None) -> Taken:
        """Move every complete delivery into ``store``, put bad ones aside, leave the others.

        A run is in the store whole or not at all, and leaves the inbox only after that. Taking the
        same run twice changes nothing; another run under a taken id is put aside. What was put
        aside lies in ``.quarantine`` with a ``reason.txt``; nothing is thrown away. A delivery that
        can be neither taken nor put aside now waits, and those after it are looked at all the same.

        Raises:
            InboxUnreachableError: the storage does not answer; the next look goes on.
            StoreError: the run store cannot be written.
        """
        now = now or datetime.now(tz=UTC)
        runs: list[str] = []
        waiting: list[Delivery] = []
        quarantined: list[Delivery] = []
        outage: OSError | None = None
        with self.reaching():
            names = self._storage.folders()
        for name in names:
            try:
                missing = self._looked_at(name, store, now, quarantined)
            # A delivery that cannot be read is no outage, which would hold up all others.
            except OSError as error:
                outage = error if isinstance(error, _OUTAGES) else outage
                missing = f"it cannot be read: {printable(error)}"
            if missing == _TAKEN:
                runs.append(name)
            elif missing is not None:
                waiting.append(Delivery(printable(name), missing))
        # What was taken must be told. The next look meets the outage again, if it lasts.
        if outage is not None and not runs:
            with self.reaching():
                raise outage
        return Taken(tuple(runs), tuple(waiting), tuple(quarantined))

    def _looked_at(
        self, name: str, store: RunStore, now: datetime, quarantined: list[Delivery]
    ) -> str | None:
        """Take one delivery, or put it aside; return what it waits for, when it does."""
        try:
            return self._take(name, store, now)
        except (InboxError, UnusableFileError) as error:
            reason = str(error) if isinstance(error, InboxError) else str(error.strerror)
            self._quarantine(name, reason)
            quarantined.append(Delivery(printable(name), reason))
            return None

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Say which inbox it was that did not answer."""
        try:
            yield
        except OSError as error:
            raise InboxUnreachableError(
                f"copying from or to the inbox {self.url} failed: {error}; nothing is lost, the "
                "next attempt goes on"
            ) from error

    def put(self, name: str, files: dict[str, Path], manifest: bytes) -> None:
        """Write a delivery; what tells that it is whole comes last."""
        folder = f"{self._root}/{name}"
        # Under the old manifest a folder would pass for whole while it is being replaced.
        if self._fs.exists(f"{folder}/{RunFile.DELIVERY}"):
            self._fs.rm_file(f"{folder}/{RunFile.DELIVERY}")
        for relative, path in files.items():
            target = f"{folder}/{relative}"
            self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
            self._fs.put_file(str(path), target)
        self._fs.pipe_file(f"{folder}/{RunFile.DELIVERY}", manifest)

    def _take(self, name: str, store: RunStore, now: datetime) -> str:
        """Bring one delivery into the store; return what it still lacks, or that it is in.

        Raises:
            InboxError: it can never be taken.
            UnusableFileError: a file of it is not what a delivery may hold.
        """
        try:
            # Before the folder is touched, because its name becomes a path of the store.
            run = store.run(validate_run_id(name))
        except RunIdError as error:
            raise InboxError(
                f"the folder {printable(name)} is no delivery: its name is not a lower-case "
                "UUIDv7, the id of a run"
            ) from error
        stated = self._storage.find(name, RunFile.DELIVERY)
        if stated is None:
            return f"no {RunFile.DELIVERY} yet; `inferencebench deliver` writes it last"
        data = self._storage.read(name, RunFile.DELIVERY, max_bytes=_MOST_MANIFEST_BYTES)
        manifest = _parse_manifest(name, data)
        try:
            with run.writing("taking in a delivery"):
                return self._take_into(run, stated, manifest, data, now)
        except RunBusyError as error:
            return str(error)

    def _take_into(
        self,
        run: RunDirectory,
        stated: Found,
        manifest: DeliveryManifest,
        data: bytes,
        now: datetime,
    ) -> str:
        name = run.run_id
        if run.path.exists():
            # From this very delivery: an earlier look was cut off before it removed the folder.
            if not _is_from(run, data):
                raise InboxError(
                    f"run {name} is in the store already, and not from this delivery; nothing was "
                    "overwritten. A run that was measured again needs a run id of its own"
                )
        elif (missing := self._missing(name, manifest)) is not None:
            if now - stated.modified > PATIENCE:
                raise InboxError(f"{missing}, an hour after its manifest; deliver it again")
            return missing
        elif (reason := _no_room(run.path.parent, manifest)) is not None:
            return reason
        else:
            self._copy(name, manifest, data, run)
        # The manifest goes last: while it is there, a removal that was cut off is taken up again.
        self._storage.remove(name, [*manifest.files, RunFile.DELIVERY])
        return _TAKEN

    def _missing(self, name: str, manifest: DeliveryManifest) -> str | None:
        for relative, expected in manifest.files.items():
            try:
                found = self._storage.find(name, relative)
            except UnusableFileError as error:
                raise InboxError(f"{relative} {error.strerror}") from error
            if found is None:
                return f"{relative} is not there yet"
            if found.size_bytes > expected.size_bytes:
                raise InboxError(
                    f"{relative} has {found.size_bytes:,} bytes, its manifest says "
                    f"{expected.size_bytes:,}; deliver it again"
                )
            if found.size_bytes < expected.size_bytes:
                return f"{relative} has {found.size_bytes:,} of {expected.size_bytes:,} bytes"
        return None

    def _copy(self, name: str, manifest: DeliveryManifest, data: bytes, run: RunDirectory) -> None:
        """Copy what the manifest names, check the copy, and give it its name in the store."""
        try:
            run.path.parent.mkdir(parents=True, exist_ok=True)
            incoming = Path(tempfile.mkdtemp(prefix=".incoming-", dir=run.path.parent))
        except OSError as error:
            raise StoreError(f"cannot write {run.path.parent}: {error.strerror}") from error
        try:
            for relative, expected in manifest.files.items():
                target = incoming / relative
                target.parent.mkdir(exist_ok=True)
                try:
                    found = self._storage.copy(
                        name, relative, target, size_bytes=expected.size_bytes
                    )
                except UnusableFileError as error:
                    raise InboxError(f"{relative} {error.strerror}") from error
                if found != expected.sha256:
                    raise InboxError(
                        f"{relative} has SHA-256 {found}, its manifest says {expected.sha256}; "
                        "deliver it again"
                    )
            _require_finished(RunDirectory(run.run_id, incoming))
            write_atomically(incoming / RunFile.DELIVERY, data)
            # Temporary folders begin as open to their owner only.
            incoming.chmod(0o755)
            incoming.rename(run.path)
        finally:
            # After the rename there is nothing left to remove.
            shutil.rmtree(incoming, ignore_errors=True)

    def _quarantine(self, name: str, reason: str) -> None:
        """Move a delivery aside, under a name that is a literal one everywhere."""
        place = quote(name, safe=" ", errors="surrogateescape")
        if len(place) > _LONGEST_NAME:
            digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
            place = f"{place[:_LONGEST_NAME]}-{digest[:16]}"
        note = f"{printable(reason, 2000)}\n".encode()
        self._storage.put_aside(name, f"{QUARANTINE}/{place}", REASON, note)


def delivered_since(store: RunStore, *, since: datetime) -> list[str]:
    """Return the ids, oldest run first, of runs that came through the inbox after ``since``."""
    return [
        run_id
        for run_id in store.run_ids()
        if store.run(run_id).has(RunFile.DELIVERY)
        and store.run(run_id).file(RunFile.DELIVERY).stat().st_mtime >= since.timestamp()
    ]


def _is_from(run: RunDirectory, data: bytes) -> bool:
    """Return whether a run of the store came from the delivery with this manifest."""
    try:
        return run.has(RunFile.DELIVERY) and run.read(RunFile.DELIVERY) == data
    except StoreError:
        return False


def _no_room(folder: Path, manifest: DeliveryManifest) -> str | None:
    """Return why a delivery has to wait for room on the store's disk; None when there is enough."""
    needed = sum(file.size_bytes for file in manifest.files.values())
    try:
        # Before the first run the folder itself is not there.
        free = free_bytes(next(above for above in folder.parents if above.exists()))
    except (OSError, StopIteration):
        return None  # writing says what is wrong
    if needed + _SPARE_BYTES <= free or needed == 0:
        return None
    return f"it has {needed:,} bytes, and the store's disk has {free:,} left; free space"


def _parse_manifest(name: str, data: bytes) -> DeliveryManifest:
    what = RunFile.DELIVERY.value
    try:
        document = parse_json(data, what=what, max_bytes=_MOST_MANIFEST_BYTES)
        # Within bounds by now. This second reading only looks for what is said twice.
        json.loads(data, object_pairs_hook=_require_distinct)
        manifest = DeliveryManifest.model_validate(document)
    except JsonDocumentError as error:
        raise InboxError(str(error)) from error
    except ValidationError as error:
        raise InboxError(f"{what}: {problems_of(error)}") from error
    if manifest.run_id != name:
        raise InboxError(f"{what} is of run {printable(manifest.run_id)}, its folder is {name}")
    for relative in manifest.files:
        if not _may_be_delivered(relative):
            raise InboxError(f"{what} names {printable(repr(relative))}, which is no file of a run")
    # On a file system that ignores case the second would overwrite the first.
    if len({relative.casefold() for relative in manifest.files}) < len(manifest.files):
        raise InboxError(f"{what} names two files that differ in upper and lower case only")
    if RunFile.SPEC not in manifest.files:
        raise InboxError(f"{what} names no {RunFile.SPEC}")
    total = sum(file.size_bytes for file in manifest.files.values())
    if total > MOST_DELIVERED_BYTES:
        raise InboxError(
            f"{what} names {total:,} bytes; at most {MOST_DELIVERED_BYTES:,} are taken"
        )
    return manifest


def _require_distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InboxError(f"{RunFile.DELIVERY} says something twice")
    return found


def _require_finished(run: RunDirectory) -> None:
    """An unfinished run would be measured again here, on another host, under the same id."""
    try:
        completion = Capture(run).require_completion()
    except CaptureError as error:
        said = str(error).replace(str(run.path), run.run_id)  # no longer there when it is read
        raise InboxError(f"the run was not finished where it was measured: {said}") from error
    if completion.run_id != run.run_id:
        raise InboxError(f"the capture is of run {completion.run_id}, its folder is {run.run_id}")


def _may_be_delivered(relative: str) -> bool:
    return relative in _DELIVERABLE or _CAPTURE_FILE.fullmatch(relative) is not None


def _files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path
