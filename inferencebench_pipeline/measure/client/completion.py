"""The closing record of a capture, ``complete.json``: what the run left, file by file.

It is written last, and names the size and SHA-256 of ``spec.json`` and of every other file of the
capture, and its own: whoever reads the capture later finds out which file is not what was measured.
Version 1 named the spool's digest alone; such captures are read as they always were.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, Literal, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    Field,
    ValidationError,
    model_validator,
)

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.files import read_plain, sha256_of, write_atomically
from inferencebench_pipeline.measure.errors import CaptureError
from inferencebench_pipeline.measure.provenance.document import Sha256Hex
from inferencebench_pipeline.runs import BrokenSealError, RunDirectory, RunFile, seal, unseal

SPOOL: Final = "requests.jsonl"
COMPLETE: Final = "complete.json"
RESTORE: Final = (
    "restore it from a backup, or measure again under a new run id: only what was measured is "
    "signed"
)
_FOLDER: Final = f"{RunFile.CAPTURE.value}/"
_D = TypeVar("_D", bound=BaseModel)


class LoopFacts(DocumentPart):
    """The client's report about itself after the last request (``client-N.json``)."""

    origin_unix_ns: int
    """The client's origin of time, in nanoseconds of Unix time."""
    origin_monotonic_ns: int
    """The same instant on the monotonic clock, in nanoseconds. It tells how far apart two repeats
    began."""
    processes: int = Field(ge=1)
    """The number of processes that shared the load."""
    window_cpu_ns: int = Field(ge=0)
    """The CPU time of the busiest process in the window, in nanoseconds."""
    window_wall_ns: int = Field(ge=0)
    """The length of the window, in nanoseconds."""
    clock_step_ns: int = Field(ge=0)
    """The largest step of the wall clock against the monotonic one, in nanoseconds."""
    clock_offset_ns: int
    """The wall clock minus the monotonic clock at the origin, in nanoseconds. The kernel stamps by
    the wall clock."""
    clock_drift_ns: int
    """The change of that offset until the last answer had ended, in nanoseconds."""


class BoundFile(DocumentPart):
    """A file of a run as it was when its capture was completed."""

    size_bytes: int = Field(ge=0)
    """The size of the file, in bytes."""
    sha256: Sha256Hex
    """The SHA-256 of the file."""


class Completion(DocumentPart):
    """The content of ``complete.json``, which states that the run ended and which files it left."""

    capture_version: Literal["1", "2"] = "2"
    """The version of the form of the capture."""
    run_id: str
    """The run id, a UUIDv7."""
    started_at: AwareDatetime
    """The time at which the run started."""
    finished_at: AwareDatetime
    """The time at which the run ended."""
    spool_sha256: Sha256Hex
    """The SHA-256 of the spool of requests."""
    workload_sha256: Sha256Hex
    """The SHA-256 of the recipe of the workload: the prompts and how to answer them, before salting
    and without the model."""
    schedule_sha256: Sha256Hex
    """The SHA-256 of the arrival offsets, or of the settings of a closed loop."""
    requests: int = Field(ge=0)
    """The number of all requests, those that are not measured included."""
    succeeded: int = Field(ge=0)
    """The number of measured requests that succeeded."""
    failed: int = Field(ge=0)
    """The number of measured requests that failed."""
    loop: LoopFacts
    """The client's report about itself."""
    files: dict[str, BoundFile] = Field(default_factory=dict)
    """Every file of the capture and ``spec.json``, by its path in the run directory, from version 2
    on."""

    @model_validator(mode="after")
    def _binds_its_files(self) -> Completion:
        bound = {RunFile.SPEC.value, _FOLDER + SPOOL} <= self.files.keys()
        if self.capture_version != "1" and not bound:
            raise ValueError("names no digests of the spec and the spool")
        return self


def write_completion(run: RunDirectory, completion: Completion) -> None:
    """Write ``complete.json`` of ``run``: from here on its capture is complete.

    Raises:
        StoreError: the capture is not writable.
    """
    data = seal(completion.model_dump_json(indent=2).encode() + b"\n")
    # The digest is kept before the file is there, so that a completion which is lost later is
    # told from a run that never ended.
    run.keep_digest(RunFile.CAPTURE_COMPLETE.value, hashlib.sha256(data).hexdigest())
    write_atomically(_path(run), data)


def read_completion(run: RunDirectory) -> Completion | None:
    """Return the completion of ``run``, or None when it never ended.

    Raises:
        CaptureError: ``complete.json`` is damaged, or was written and is lost.
    """
    path = _path(run)
    data = _bytes_of(path)
    if data is None:
        # A folder that is gone was put aside, to measure again. A file that is gone from its folder
        # was lost.
        if run.was_written(RunFile.CAPTURE_COMPLETE.value) and path.parent.exists():
            raise CaptureError(
                f"the capture of run {run.run_id} is incomplete: {path} was written and is lost; "
                f"{RESTORE}"
            )
        return None
    try:
        return _parsed(data)
    except (BrokenSealError, ValidationError) as error:
        raise CaptureError(f"{path} is damaged: {error}; {RESTORE}") from error


def _parsed(data: bytes) -> Completion:
    document = unseal(data)
    completion = Completion.model_validate_json(data if document is None else document)
    if document is None and completion.capture_version != "1":
        raise BrokenSealError("it does not begin with its own digest")
    return completion


def require_unchanged(run: RunDirectory, completion: Completion) -> None:
    """Require that every file which ``completion`` binds is what it was, and that none came since.

    Raises:
        CaptureError: names the first file that is not.
    """
    for name, file in completion.files.items():
        _require_unchanged(run.path / name, file.sha256, file.size_bytes)
    # A capture of version 1 lists no files, so nobody can tell which came later.
    if completion.files and (added := set(_names(run)) - completion.files.keys()):
        raise CaptureError(
            f"{run.path / min(added)} came into the capture after the run had ended; remove it"
        )
    if (spool := completion.files.get(_FOLDER + SPOOL)) is None:
        _require_unchanged(run.path / _FOLDER / SPOOL, completion.spool_sha256, None)
    elif spool.sha256 != completion.spool_sha256:
        raise CaptureError(f"{_path(run)} names two digests of {SPOOL}; {RESTORE}")


def load_document(path: Path, kind: type[_D]) -> _D | None:
    """Return a document of a capture; None when there is no such file.

    Raises:
        CaptureError: it is damaged.
    """
    data = _bytes_of(path)
    if data is None:
        return None
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise CaptureError(f"{path} is damaged: {error}; {RESTORE}") from error


def _path(run: RunDirectory) -> Path:
    return run.path / _FOLDER / COMPLETE


def _require_unchanged(path: Path, sha256: str, size_bytes: int | None) -> None:
    try:
        found = sha256_of(path, size_bytes=size_bytes)
    except FileNotFoundError as error:
        raise CaptureError(f"{path} is lost; {RESTORE}") from error
    except OSError as error:
        raise CaptureError(
            f"{path} is not the file that {COMPLETE} was written for: "
            f"{error.strerror or error}; {RESTORE}"
        ) from error
    if found != sha256:
        raise CaptureError(
            f"{path} is not the file that {COMPLETE} was written for: its SHA-256 is {found}; "
            f"{RESTORE}"
        )


def bound_files(run: RunDirectory) -> dict[str, BoundFile]:
    """Return the present digests of ``spec.json`` and of the files of the capture but the last.

    Raises:
        CaptureError: one of them cannot be read.
    """
    found = {}
    for name in (RunFile.SPEC.value, *_names(run)):
        path = run.path / name
        try:
            found[name] = BoundFile(size_bytes=path.stat().st_size, sha256=sha256_of(path))
        except OSError as error:
            raise CaptureError(f"cannot read {path}: {error.strerror or error}") from error
    return found


def _names(run: RunDirectory) -> list[str]:
    """Return the names of the capture's files; a hidden one is an editor's or the system's."""
    folder = run.file(RunFile.CAPTURE)
    try:
        entries = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise CaptureError(f"cannot read {folder}: {error.strerror or error}") from error
    return [_FOLDER + name for name in entries if name != COMPLETE and not name.startswith(".")]


def _bytes_of(path: Path) -> bytes | None:
    try:
        return read_plain(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CaptureError(f"{path} is damaged: {error.strerror or error}; {RESTORE}") from error
