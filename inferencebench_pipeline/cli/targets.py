"""What a person points the verifier at: a file, a run directory, or a dataset on the Hub."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from inferencebench_pipeline.envelope.canonical import MAX_ENVELOPE_BYTES
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.hub.client import Hub, Repo
from inferencebench_pipeline.hub.errors import HubNotFoundError
from inferencebench_pipeline.runs import RunFile

_HUB_TARGET = re.compile(
    r"hf://datasets/(?P<organisation>[^/@]+)/(?P<name>[^/@]+)(?:/(?P<file>[^@]+))?(?:@(?P<rev>.+))?"
)
_SCHEME = "hf://"


class TargetError(PermanentError):
    """What was asked to be verified is not there, or is not something that can be verified."""


@dataclass(frozen=True)
class Target:
    """The bytes to verify, and where they came from."""

    where: str
    organisation: str | None
    envelope: bytes
    traces: bytes | Path | None


def resolve(
    target: str, hub: Callable[[], Hub], *, revision: str | None = None, offline: bool = False
) -> Target:
    """Return the bytes that ``target`` names, read from disk or pinned to a commit of the Hub.

    Args:
        target: a path or ``hf://datasets/ORG/NAME[/envelope.json][@revision]``.
        hub: makes a Hub client, when one is needed.
        revision: branch, tag or commit on the Hub; instead of ``@revision``.
        offline: refuse whatever needs a network.

    Raises:
        TargetError: there is nothing to verify there.
    """
    if target.startswith(_SCHEME):
        if offline:
            raise TargetError(
                f"{target} is on the Hub and --offline was asked for; download the dataset and "
                "give its folder"
            )
        return _from_hub(target, hub(), revision)
    if revision is not None:
        raise TargetError(f"--revision is for {_SCHEME} targets; {target} is a path")
    return _from_disk(Path(target))


def _from_disk(path: Path) -> Target:
    if path.is_dir():
        path = path / RunFile.ENVELOPE.value
    try:
        with path.open("rb") as handle:
            # One byte more than is read: enough for the verdict to say that it is too large.
            envelope = handle.read(MAX_ENVELOPE_BYTES + 1)
    except OSError as error:
        raise TargetError(
            f"cannot read {path} ({error.strerror}); give an envelope.json, a run directory, or "
            "hf://datasets/ORG/NAME"
        ) from error
    traces = path.with_name(RunFile.TRACES.value)
    return Target(str(path), None, envelope, traces if traces.is_file() else None)


def _from_hub(target: str, hub: Hub, revision: str | None) -> Target:
    match = _HUB_TARGET.fullmatch(target)
    if match is None:
        raise TargetError(
            f"{target!r} is not of the form hf://datasets/ORG/NAME[/envelope.json][@revision]"
        )
    if revision is not None and match["rev"] not in (None, revision):
        raise TargetError(f"{target} and --revision {revision} name two revisions; give one")
    repo = Repo("dataset", f"{match['organisation']}/{match['name']}")
    file = match["file"] or RunFile.ENVELOPE.value
    asked = revision or match["rev"] or "main"
    commit = hub.head(repo, asked).commit
    if commit is None:
        raise TargetError(f"{repo.id} has no commit at {asked}; there is nothing to verify")
    try:
        traces: bytes | None = hub.fetch(repo, commit, RunFile.TRACES.value)
    except HubNotFoundError:
        traces = None
    return Target(
        where=f"{hub.endpoint}/datasets/{repo.id}/blob/{commit}/{file}",
        organisation=match["organisation"],
        envelope=hub.fetch(repo, commit, file, max_bytes=MAX_ENVELOPE_BYTES),
        traces=traces,
    )
