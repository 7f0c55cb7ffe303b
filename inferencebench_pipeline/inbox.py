"""The inbox: finished run directories that other hosts leave on a local path or an object store.

A delivery is a folder named by its run id. Its manifest, ``delivery.json``, is written last and
names every file with its size and SHA-256, so a half-copied folder is never mistaken for a run.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import fsspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inferencebench_pipeline.errors import PermanentError, RetryableError
from inferencebench_pipeline.measure.capture import Capture
from inferencebench_pipeline.measure.errors import CaptureError
from inferencebench_pipeline.runs import (
    RunDirectory,
    RunFile,
    RunIdError,
    RunStore,
    StoreError,
    validate_run_id,
)

PATIENCE: Final = timedelta(hours=1)
"""How long after its manifest a delivery may still lack bytes before it is put aside."""
QUARANTINE: Final = ".quarantine"
REASON: Final = "reason.txt"
_MOST_MANIFEST_BYTES: Final = 1 << 20
_BLOCK_BYTES: Final = 1 << 20
_DELIVERABLE: Final = frozenset(RunFile) - {RunFile.CAPTURE, RunFile.DELIVERY}
_CAPTURE_FILE: Final = re.compile(r"capture/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


class InboxError(PermanentError):
    """A delivery, or the inbox's address, cannot be used."""


class InboxUnreachableError(RetryableError):
    """The inbox's storage does not answer."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DeliveredFile(_Part):
    """What one file of a delivery must be."""

    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Manifest(_Part):
    """The content of ``delivery.json``: which run it is and every file of it, by relative path."""

    format: Literal["inferencebench-delivery/1"] = "inferencebench-delivery/1"
    run_id: str
    files: Annotated[dict[str, DeliveredFile], Field(min_length=1, max_length=1000)]


@dataclass(frozen=True)
class Delivery:
    """One folder of the inbox."""

    name: str
    reason: str | None = None
    """Why it still waits, or why it cannot be taken; None when it is all there."""


@dataclass(frozen=True)
class Taken:
    """What one look into the inbox did."""

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
        CaptureError: the run is not finished.
        InboxUnreachableError: the storage does not answer.
    """
    Capture(run).require_completion()
    files = {name: path for name, path in _files_of(run.path) if _may_be_delivered(name)}
    manifest = Manifest(
        run_id=run.run_id,
        files={
            name: DeliveredFile(size_bytes=path.stat().st_size, sha256=_sha256(path))
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

    def take_in(self, store: RunStore, *, now: datetime | None = None) -> Taken:
        """Move every complete delivery into ``store``, put bad ones aside, leave the others.

        A run is in the store whole or not at all, and leaves the inbox only after that. Taking the
        same run twice changes nothing; another run under a taken id is put aside. What was put
        aside lies in ``.quarantine`` with a ``reason.txt``; nothing is thrown away.

        Raises:
            InboxUnreachableError: the storage does not answer; the next look goes on.
            StoreError: the run store cannot be written.
        """
        now = now or datetime.now(tz=UTC)
        runs: list[str] = []
        waiting: list[Delivery] = []
        quarantined: list[Delivery] = []
        with self.reaching():
            for name in self._folders():
                try:
                    missing = self._take(name, store, now)
                except InboxError as error:
                    self._quarantine(name, str(error))
                    quarantined.append(Delivery(name, str(error)))
                    continue
                if missing is None:
                    runs.append(name)
                else:
                    waiting.append(Delivery(name, missing))
        return Taken(tuple(runs), tuple(waiting), tuple(quarantined))

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
        if self._fs.exists(f"{folder}/{RunFile.DELIVERY}"):
            self._fs.rm(f"{folder}/{RunFile.DELIVERY}")
        for relative, path in files.items():
            target = f"{folder}/{relative}"
            self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
            self._fs.put_file(str(path), target)
        self._fs.pipe_file(f"{folder}/{RunFile.DELIVERY}", manifest)

    def _folders(self) -> list[str]:
        """Return the names of the folders, oldest run first; hidden ones are somebody's own."""
        self._fs.invalidate_cache()
        if not self._fs.isdir(self._root):
            return []
        found = self._fs.ls(self._root, detail=True)
        names = (str(item["name"]).rpartition("/")[2] for item in found if _is_folder(item))
        return sorted(name for name in names if not name.startswith("."))

    def _take(self, name: str, store: RunStore, now: datetime) -> str | None:
        """Bring one delivery into the store; return what it still lacks, None when it is in.

        Raises:
            InboxError: it can never be taken.
        """
        folder = f"{self._root}/{name}"
        stated = f"{folder}/{RunFile.DELIVERY}"
        if not self._fs.exists(stated):
            return f"no {RunFile.DELIVERY} yet; `inferencebench deliver` writes it last"
        run, data = self._run_of(name, stated, store)
        if run.has(RunFile.DELIVERY) and run.read(RunFile.DELIVERY) == data:
            self._fs.rm(folder, recursive=True)
            return None
        if run.path.exists():
            raise InboxError(
                f"run {name} is in the store already, and not from this delivery; nothing was "
                "overwritten. A run that was measured again needs a run id of its own"
            )
        manifest = _parse_manifest(name, data)
        if (missing := self._missing(folder, manifest)) is not None:
            if now - self._fs.modified(stated) > PATIENCE:
                raise InboxError(f"{missing}, an hour after its manifest; deliver it again")
            return missing
        self._copy(folder, manifest, data, run)
        self._fs.rm(folder, recursive=True)
        return None

    def _run_of(self, name: str, stated: str, store: RunStore) -> tuple[RunDirectory, bytes]:
        try:
            run = store.run(validate_run_id(name))
        except RunIdError as error:
            raise InboxError(str(error)) from error
        if self._fs.size(stated) > _MOST_MANIFEST_BYTES:
            raise InboxError(f"{RunFile.DELIVERY} is larger than {_MOST_MANIFEST_BYTES:,} bytes")
        return run, self._fs.cat_file(stated)

    def _missing(self, folder: str, manifest: Manifest) -> str | None:
        for relative, expected in manifest.files.items():
            path = f"{folder}/{relative}"
            if not self._fs.exists(path):
                return f"{relative} is not there yet"
            facts = self._fs.info(path)
            if facts.get("islink") or facts["type"] != "file":
                raise InboxError(f"{relative} is not a plain file; deliver the file itself")
            if facts["size"] < expected.size_bytes:
                return f"{relative} has {facts['size']:,} of {expected.size_bytes:,} bytes"
        return None

    def _copy(self, folder: str, manifest: Manifest, data: bytes, run: RunDirectory) -> None:
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
                self._fs.get_file(f"{folder}/{relative}", str(target))
                if (found := _sha256(target)) != expected.sha256:
                    raise InboxError(
                        f"{relative} has SHA-256 {found}, its manifest says {expected.sha256}; "
                        "deliver it again"
                    )
            arrived = RunDirectory(run.run_id, incoming)
            _require_finished(arrived)
            arrived.write(RunFile.DELIVERY, data)
            incoming.chmod(0o755)
            incoming.rename(run.path)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def _quarantine(self, name: str, reason: str) -> None:
        """Move a delivery aside, its manifest last, so that a cut-off move is taken up again."""
        source, target = f"{self._root}/{name}", f"{self._root}/{QUARANTINE}/{name}"
        self._fs.makedirs(target, exist_ok=True)
        self._fs.pipe_file(f"{target}/{REASON}", reason.encode() + b"\n")
        paths = [str(path) for path in self._fs.find(source)]
        for path in sorted(paths, key=lambda path: path.endswith(f"/{RunFile.DELIVERY}")):
            relative = path.partition(f"/{name}/")[2]
            self._fs.makedirs(f"{target}/{relative}".rpartition("/")[0], exist_ok=True)
            self._fs.mv(path, f"{target}/{relative}")
        if self._fs.isdir(source):
            self._fs.rm(source, recursive=True)


def delivered_since(store: RunStore, *, since: datetime) -> list[str]:
    """Return the ids, oldest run first, of runs that came through the inbox after ``since``."""
    return [
        run_id
        for run_id in store.run_ids()
        if store.run(run_id).has(RunFile.DELIVERY)
        and store.run(run_id).file(RunFile.DELIVERY).stat().st_mtime >= since.timestamp()
    ]


def _parse_manifest(name: str, data: bytes) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the document"
        raise InboxError(f"{RunFile.DELIVERY}: {where}: {problem['msg']}") from error
    if manifest.run_id != name:
        raise InboxError(f"{RunFile.DELIVERY} is of run {manifest.run_id!r}, its folder is {name}")
    for relative in manifest.files:
        if not _may_be_delivered(relative):
            raise InboxError(f"{RunFile.DELIVERY} names {relative!r}, which is no file of a run")
    if RunFile.SPEC not in manifest.files:
        raise InboxError(f"{RunFile.DELIVERY} names no {RunFile.SPEC}")
    return manifest


def _require_finished(run: RunDirectory) -> None:
    """An unfinished run would be measured again here, on another host, under the same id."""
    try:
        completion = Capture(run).require_completion()
    except CaptureError as error:
        raise InboxError(f"the run was not finished where it was measured: {error}") from error
    if completion.run_id != run.run_id:
        raise InboxError(f"the capture is of run {completion.run_id}, its folder is {run.run_id}")


def _may_be_delivered(relative: str) -> bool:
    return relative in _DELIVERABLE or _CAPTURE_FILE.fullmatch(relative) is not None


def _files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path


def _is_folder(item: dict[str, Any]) -> bool:
    return item["type"] == "directory" and not item.get("islink")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
