"""The targets of ``verify`` and its like: a file, a run directory, or a dataset on the Hub."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from inferencebench_pipeline.envelope import MAX_ENVELOPE_BYTES
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.measure import MOST_FILE_BYTES
from inferencebench_pipeline.runs import RunFile

if TYPE_CHECKING:  # a target on disk is read without the Hub's client
    from inferencebench_pipeline.hub import Hub, Repo

_HUB_TARGET = re.compile(
    r"hf://datasets/(?P<organisation>[^/@]+)/(?P<name>[^/@]+)(?:/(?P<file>[^@]+))?(?:@(?P<rev>.+))?"
)
_SCHEME = "hf://"
_MAX_LIST_BYTES = 1 << 20
_CARD_FILE = "README.md"
_CARD_BLOCK = re.compile(rb"^inferencebench:", re.MULTILINE)
_MAX_CARD_BYTES = 2 << 20
"""More than the largest card that is compared, so that the comparison says that it is too large."""


class TargetError(PermanentError):
    """The target does not exist, or is nothing that can be verified."""


@dataclass(frozen=True)
class Target:
    """The bytes to verify, and their origin.

    Attributes:
        where: their place, for people.
        organisation: the namespace of an ``hf://`` target; None for a path.
        envelope: the bytes of the envelope.
        traces: the file of the traces beside it; None when there are none, or none were wanted.
        repo_id: the repository of an ``hf://`` target; None for a path.
        card: the bytes of the dataset card beside it; None when there is none.
        download: the file without a name that the traces of an ``hf://`` target are in. It is gone
            when the target is.
    """

    where: str
    organisation: str | None
    envelope: bytes
    traces: Path | None
    repo_id: str | None = None
    card: bytes | None = None
    download: IO[bytes] | None = None


def resolve(
    target: str,
    hub: Callable[[], Hub],
    *,
    revision: str | None = None,
    offline: bool = False,
    traces: bool = True,
) -> Target:
    """Return the bytes that ``target`` names, read from disk or pinned to a commit of the Hub.

    Args:
        target: a path or ``hf://datasets/ORG/NAME[/envelope.json][@revision]``.
        hub: makes a Hub client when one is needed.
        revision: a branch, tag or commit on the Hub, in place of ``@revision``.
        offline: whether to refuse a target that needs a network.
        traces: whether the traces are wanted.

    Raises:
        TargetError: there is nothing to verify there.
    """
    if target.startswith(_SCHEME):
        if offline:
            raise TargetError(
                f"{target} is on the Hub, which --offline does not allow; download the dataset and "
                "name its folder"
            )
        return _from_hub(target, hub(), revision, traces=traces)
    if revision is not None:
        raise TargetError(f"--revision is for {_SCHEME} targets; {target} is a path")
    return _from_disk(Path(target), traces=traces)


def envelopes(target: str, hub: Callable[[], Hub]) -> Iterator[tuple[str, bytes]]:
    """Yield the place and the bytes of each envelope that ``target`` names, without verifying.

    Args:
        target: a target of :func:`resolve`, a folder of run directories, or ``@FILE`` with one of
            these on each line. An unsigned envelope in a run directory counts as well.
        hub: makes a Hub client when one is needed.

    Raises:
        TargetError: there is no envelope there.
    """
    if target.startswith("@"):
        for line in _lines(Path(target[1:])):
            yield from envelopes(line, hub)
    elif target.startswith(_SCHEME):
        repo, commit, name = _pinned(target, client := hub(), None)
        data = client.fetch(repo, commit, name, max_bytes=MAX_ENVELOPE_BYTES)
        yield f"{_SCHEME}datasets/{repo.id}/{name}@{commit}", data
    elif (path := Path(target)).is_dir() and _envelope_in(path) is None:
        found = [file for run in sorted(path.iterdir()) if (file := _envelope_in(run)) is not None]
        if not found:
            raise TargetError(
                f"{path} holds no {RunFile.ENVELOPE.value} and no run directories; name a run "
                "directory, or a folder of run directories"
            )
        for file in found:
            yield str(file), _read(file)
    else:
        file = _envelope_in(path) or path
        yield str(file), _read(file)


def _envelope_in(folder: Path) -> Path | None:
    candidates = (folder / name.value for name in (RunFile.ENVELOPE, RunFile.UNSIGNED_ENVELOPE))
    return next((path for path in candidates if path.is_file()), None)


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            # One byte more tells a list that is too long from one that just fits.
            data = file.read(_MAX_LIST_BYTES + 1)
        lines = data.decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TargetError(f"cannot read {path} ({error}); write one target on each line") from error
    if len(data) > _MAX_LIST_BYTES:
        raise TargetError(
            f"{path} is larger than {_MAX_LIST_BYTES} bytes, so it is no list of targets"
        )
    # A list may hold comments, but it must not name other lists.
    return [line.strip() for line in lines if line.strip() and not line.startswith(("#", "@"))]


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as handle:
            # One byte more than is allowed, so that the verdict can say that it is too large.
            return handle.read(MAX_ENVELOPE_BYTES + 1)
    except OSError as error:
        raise TargetError(
            f"cannot read {path} ({error.strerror}); name an envelope.json, a run directory, or "
            "hf://datasets/ORG/NAME"
        ) from error


def _from_disk(path: Path, *, traces: bool) -> Target:
    if path.is_dir():
        path = path / RunFile.ENVELOPE.value
    beside = path.with_name(RunFile.TRACES.value)
    return Target(
        where=str(path),
        organisation=None,
        envelope=_read(path),
        traces=beside if traces and beside.is_file() else None,
        card=_card_beside(path),
    )


def _card_beside(path: Path) -> bytes | None:
    """Return the card of a downloaded dataset; a README.md that speaks of no record is none."""
    try:
        with path.with_name(_CARD_FILE).open("rb") as handle:
            data = handle.read(_MAX_CARD_BYTES)
    except OSError:
        return None
    return data if _CARD_BLOCK.search(data) else None


def _pinned(target: str, hub: Hub, revision: str | None) -> tuple[Repo, str, str]:
    """Return the repository, the commit and the file that an ``hf://`` target names now."""
    match = _HUB_TARGET.fullmatch(target)
    if match is None:
        raise TargetError(
            f"{target!r} is not of the form hf://datasets/ORG/NAME[/envelope.json][@revision]"
        )
    if revision is not None and match["rev"] not in (None, revision):
        raise TargetError(f"{target} and --revision {revision} name two revisions; give one")
    from inferencebench_pipeline.hub import Repo

    repo = Repo("dataset", f"{match['organisation']}/{match['name']}")
    file = match["file"] or RunFile.ENVELOPE.value
    asked = revision or match["rev"] or "main"
    # Pinned once, so that the envelope and the traces are of the same commit.
    commit = hub.head(repo, asked).commit
    if commit is None:
        raise TargetError(f"{repo.id} has no commit at {asked}; there is nothing to verify")
    return repo, commit, file


def _from_hub(target: str, hub: Hub, revision: str | None, *, traces: bool) -> Target:
    repo, commit, file = _pinned(target, hub, revision)
    download = _downloaded(hub, repo, commit) if traces else None
    return Target(
        where=f"{hub.endpoint}/datasets/{repo.id}/blob/{commit}/{file}",
        organisation=repo.id.split("/")[0],
        envelope=hub.fetch(repo, commit, file, max_bytes=MAX_ENVELOPE_BYTES),
        traces=None if download is None else Path(f"/dev/fd/{download.fileno()}"),
        repo_id=repo.id,
        card=_card_at(hub, repo, commit),
        download=download,
    )


def _card_at(hub: Hub, repo: Repo, commit: str) -> bytes | None:
    from inferencebench_pipeline.hub import HubNotFoundError

    try:
        return hub.fetch(repo, commit, _CARD_FILE, max_bytes=_MAX_CARD_BYTES)
    except HubNotFoundError:
        return None


def _downloaded(hub: Hub, repo: Repo, commit: str) -> IO[bytes] | None:
    """Return a file without a name that holds the traces at a commit; None where it has none.

    Traces may be a gigabyte, which a verdict reads part by part.
    """
    from inferencebench_pipeline.hub import HubNotFoundError

    file = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the target
    try:
        hub.fetch_into(file, repo, commit, RunFile.TRACES.value, max_bytes=MOST_FILE_BYTES)
    except HubNotFoundError:
        file.close()
        return None
    except OSError as error:
        raise TargetError(
            f"cannot keep {RunFile.TRACES.value} of {repo.id} in {tempfile.gettempdir()} "
            f"({error.strerror or error}); make room there, or set TMPDIR"
        ) from error
    file.seek(0)
    return file
