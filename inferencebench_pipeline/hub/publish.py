"""Publishing a run: verified first, one atomic commit, read back from the Hub and verified again.

What was published is found out from the Hub itself on every attempt, never remembered: a crash, a
lost response and a second publisher all end in the same repository with one commit of ours, and
what is there already is never overwritten.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from inferencebench_pipeline.envelope.canonical import (
    EnvelopeError,
    content_hash,
    parse_envelope,
)
from inferencebench_pipeline.envelope.extension import TRACES_FILE, traces_binding
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.hub.card import CARD_FILE, ENVELOPE_FILE, PLOT_FILE, render_card
from inferencebench_pipeline.hub.client import (
    Hub,
    HubConflictError,
    HubHeadMovedError,
    HubIntegrityError,
    HubNotFoundError,
    HubUnavailableError,
    Repo,
    RepoHead,
)
from inferencebench_pipeline.hub.naming import dataset_repo_id
from inferencebench_pipeline.measure.plot import latency_plot_png
from inferencebench_pipeline.measure.traces import read_traces
from inferencebench_pipeline.runs import RunDirectory, RunFile
from inferencebench_pipeline.trust.verdict import Verdict

Verify = Callable[[bytes, bytes | None], Verdict]
"""Verifies envelope bytes, and the traces when there are any."""

_ROUNDS = 5
_READINGS = 3
_MADE_BY_THE_HUB = frozenset({".gitattributes"})


class NotPublishableError(PermanentError):
    """The record does not verify or does not hang together; nothing was sent."""


class PublishedFile(BaseModel):
    """A file as the Hub serves it at the receipt's commit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    size_bytes: int


class Receipt(BaseModel):
    """The content of ``publication.json``: where a record is published, and as which bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal["1"] = "1"
    repo_id: str
    url: str
    commit: str
    files: dict[str, PublishedFile]
    content_hash: str
    published_at: AwareDatetime


@dataclass(frozen=True)
class _Record:
    """Everything that will be sent, computed before anything is."""

    repo: Repo
    content_hash: str
    signed: Mapping[str, bytes]
    """The envelope and the traces it binds: equal to the byte wherever they are published."""
    derived: Mapping[str, bytes]
    """The card and its plot: made for the repository, but a later version's may differ."""

    @property
    def files(self) -> dict[str, bytes]:
        return {**self.signed, **self.derived}


def publish(
    hub: Hub,
    run: RunDirectory,
    *,
    organisation: str,
    verify: Verify,
    on_stage: Callable[[str], None],
) -> Receipt:
    """Publish a run's signed envelope, traces and card; write and return its receipt.

    Publishing again changes nothing on the Hub and returns the same receipt. A card or a plot that
    is there already stays as it is, also when today's template would render another: only the
    signed files are the record.

    Args:
        hub: where to.
        run: directory with ``envelope.json`` and, if the envelope binds them, ``traces.parquet``.
        organisation: Hub namespace to publish under.
        verify: gives the verdict that decides, before sending and on what is served afterwards.
        on_stage: called with one line per finished stage, for the log.

    Raises:
        NotPublishableError: the record does not verify; the Hub was not contacted.
        HubConflictError: the repository holds something else, which is left alone.
        HubIntegrityError: the Hub serves other bytes than were sent.
        HubUnavailableError: and the other errors of :mod:`inferencebench_pipeline.hub.errors`.
    """
    record = _prepare(run, organisation, verify, hub.endpoint)
    on_stage("Verifying envelope... OK")
    placed = _place(hub, record, on_stage)
    for name in record.signed:
        on_stage(f"Uploading {name}... {placed.how(name)}")
    on_stage(f"Rendering {CARD_FILE}... {placed.how(CARD_FILE)}")
    ours = {
        name: data for name, data in record.files.items() if name in {*placed.sent, *record.signed}
    }
    served = {
        name: _read(hub, record.repo, placed.commit, name, expected=ours.get(name))
        for name in record.files
        if name in placed.present
    }
    verdict = verify(served[ENVELOPE_FILE], served.get(TRACES_FILE))
    if not verdict.ok:
        raise HubIntegrityError(
            f"what {hub.page_url(record.repo)} serves at {placed.commit} does not verify: "
            f"{verdict.reason}; do not announce it, and report it to the Hub"
        )
    receipt = _receipt(hub, run, record, placed.commit, served)
    run.write(RunFile.PUBLICATION, receipt.model_dump_json(indent=2).encode() + b"\n")
    on_stage(f"Published: {receipt.url}")
    return receipt


def read_back(hub: Hub, receipt: Receipt) -> dict[str, bytes]:
    """Return the files of a receipt as the Hub serves them now at its commit.

    Raises:
        HubNotFoundError: the repository, the commit or a file is gone.
        HubIntegrityError: a file has other bytes than the receipt says.
    """
    repo = Repo("dataset", receipt.repo_id)
    return {
        name: _read_digest(hub, repo, receipt.commit, name, file.sha256)
        for name, file in receipt.files.items()
    }


def _prepare(run: RunDirectory, organisation: str, verify: Verify, endpoint: str) -> _Record:
    data = run.read(RunFile.ENVELOPE)
    try:
        envelope = parse_envelope(data)
        binding = traces_binding(envelope)
    except EnvelopeError as error:
        raise NotPublishableError(f"{run.file(RunFile.ENVELOPE)}: {error}") from error
    if envelope.run_id != run.run_id:
        raise NotPublishableError(
            f"{run.file(RunFile.ENVELOPE)} is the record of run {envelope.run_id!r}, not of "
            f"{run.run_id}; sign this run's own envelope"
        )
    traces = None if binding is None else run.read(RunFile.TRACES)
    if binding is None and run.has(RunFile.TRACES):
        raise NotPublishableError(
            f"the envelope of run {run.run_id} does not bind its {TRACES_FILE}: published beside "
            "it they would look signed and not be; build the envelope again, then sign it"
        )
    verdict = verify(data, traces)
    if not verdict.ok or verdict.content_hash != content_hash(envelope):
        raise NotPublishableError(
            f"the envelope of run {run.run_id} does not verify: {verdict.reason}; nothing was "
            "sent. Fix what the verdict names and sign again"
        )
    repo_id = dataset_repo_id(organisation, envelope)
    plot = None if traces is None else latency_plot_png(read_traces(traces))
    card = render_card(
        envelope, repo_id, verified=verdict.ok, endpoint=endpoint, latency_plot=plot is not None
    )
    return _Record(
        repo=Repo("dataset", repo_id),
        content_hash=content_hash(envelope),
        signed={ENVELOPE_FILE: data}
        if traces is None
        else {ENVELOPE_FILE: data, TRACES_FILE: traces},
        derived={CARD_FILE: card} if plot is None else {CARD_FILE: card, PLOT_FILE: plot},
    )


@dataclass(frozen=True)
class _Placed:
    """Where the record lies, and which of its files this attempt brought there."""

    commit: str
    present: frozenset[str]
    sent: frozenset[str]

    def how(self, name: str) -> str:
        return "done" if name in self.sent else "already there"


def _place(hub: Hub, record: _Record, on_stage: Callable[[str], None]) -> _Placed:
    """Bring about that the repository holds the record, whatever state it is found in."""
    head = _head(hub, record.repo)
    if head is None:
        hub.create(record.repo)
        on_stage(f"Creating dataset repo... {record.repo.id}")
        head = hub.head(record.repo)
    else:
        on_stage(f"Creating dataset repo... {record.repo.id} already there")
    for _ in range(_ROUNDS):
        missing = _missing(hub, record, head)
        if not missing and head.commit is not None:
            return _Placed(head.commit, head.files, sent=frozenset())
        try:
            # The parent makes "nothing is overwritten" the Hub's promise too: a commit that got
            # in between refuses this one.
            commit = hub.commit(
                record.repo,
                missing,
                message=f"Publish record {record.content_hash}",
                parent=head.commit,
            )
        except HubHeadMovedError:
            head = hub.head(record.repo)
        else:
            return _Placed(commit, head.files | missing.keys(), sent=frozenset(missing))
    raise HubUnavailableError(
        f"{record.repo.id} was changed by somebody else {_ROUNDS} times while being published; "
        "look who writes there, then publish again"
    )


def _head(hub: Hub, repo: Repo) -> RepoHead | None:
    try:
        return hub.head(repo)
    except HubNotFoundError:
        return None


def _missing(hub: Hub, record: _Record, head: RepoHead) -> dict[str, bytes]:
    """Return the files to add: all, none, or the rest of somebody's half upload of this record.

    Raises:
        HubConflictError: the repository holds anything else.
    """
    present = head.files - _MADE_BY_THE_HUB
    if not present or head.commit is None:
        return record.files
    for name in record.signed:
        if name in present and _differs(hub, record, head.commit, name):
            raise HubConflictError(
                f"{hub.page_url(record.repo)} holds another {name} than run's record "
                f"{record.content_hash}; a published record is never overwritten. If the run was "
                "signed again, restore the envelope.json that is published; if it is a stranger's, "
                "publish under another organisation"
            )
    if ENVELOPE_FILE not in present:
        raise HubConflictError(
            f"{hub.page_url(record.repo)} exists and holds other files ({_listed(present)}); "
            "nothing was added. Rename or remove that repository, then publish again"
        )
    required = {*record.signed, CARD_FILE}
    return {name: record.files[name] for name in sorted(required - present)}


def _differs(hub: Hub, record: _Record, commit: str, name: str) -> bool:
    """Whether the Hub's file is another; a difference must show more than once to be believed."""
    ours = record.signed[name]
    return all(hub.fetch(record.repo, commit, name) != ours for _ in range(_READINGS))


def _read(hub: Hub, repo: Repo, commit: str, name: str, *, expected: bytes | None) -> bytes:
    if expected is None:
        return hub.fetch(repo, commit, name)
    return _read_digest(hub, repo, commit, name, _sha256(expected))


def _read_digest(hub: Hub, repo: Repo, commit: str, name: str, sha256: str) -> bytes:
    """Return the file when it hashes to ``sha256``; a transfer may be damaged, a file is not."""
    found = set()
    for _ in range(_READINGS):
        data = hub.fetch(repo, commit, name)
        if _sha256(data) == sha256:
            return data
        found.add(_sha256(data))
    raise HubIntegrityError(
        f"{hub.page_url(repo)} serves {name} at {commit} with SHA-256 {_listed(found)}, expected "
        f"{sha256}, in each of {_READINGS} downloads; do not announce it, and report it to the Hub"
    )


def _receipt(
    hub: Hub, run: RunDirectory, record: _Record, commit: str, served: Mapping[str, bytes]
) -> Receipt:
    previous = _previous(run)
    published_at = datetime.now(UTC).replace(microsecond=0)
    if previous is not None and (previous.repo_id, previous.commit) == (record.repo.id, commit):
        published_at = previous.published_at
    return Receipt(
        repo_id=record.repo.id,
        url=hub.page_url(record.repo),
        commit=commit,
        files={
            name: PublishedFile(sha256=_sha256(data), size_bytes=len(data))
            for name, data in served.items()
        },
        content_hash=record.content_hash,
        published_at=published_at,
    )


def _previous(run: RunDirectory) -> Receipt | None:
    """Return the receipt of an earlier attempt; the Hub, not this file, says what is published."""
    if not run.has(RunFile.PUBLICATION):
        return None
    try:
        return Receipt.model_validate_json(run.read(RunFile.PUBLICATION))
    except ValidationError:
        return None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _listed(names: frozenset[str] | set[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
