"""A run as a repository: verified, named, and rendered to the last byte before it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from inferencebench_pipeline.envelope import (
    TRACES_FILE,
    EnvelopeError,
    ReadEnvelope,
    parse_envelope,
    validity_errors,
)
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.hub.client.repo import Repo
from inferencebench_pipeline.hub.dataset.card import (
    CARD_FILE,
    ENVELOPE_FILE,
    PLOT_FILE,
    render_card,
)
from inferencebench_pipeline.hub.dataset.naming import dataset_repo_id
from inferencebench_pipeline.measure import latency_plot_png, open_traces, said_of
from inferencebench_pipeline.runs import RunDirectory, RunFile
from inferencebench_pipeline.trust import Verdict, Verify


class NotPublishableError(PermanentError):
    """The record does not verify or does not hang together; nothing was sent."""


@dataclass(frozen=True)
class RenderedRecord:
    """Everything that is sent when a run is published, computed before anything is."""

    repo: Repo
    content_hash: str
    signed: Mapping[str, bytes]
    """The envelope and the traces it binds: equal to the byte wherever they are published."""
    derived: Mapping[str, bytes]
    """The card and its plot: made for the repository, but a later version's may differ."""

    @property
    def files(self) -> dict[str, bytes]:
        """All files of the repository, in the order they are reported."""
        return {**self.signed, **self.derived}


@dataclass(frozen=True)
class _Publishable:
    """The signed files of a run that may be published, and the verdict that says so."""

    read: ReadEnvelope
    data: bytes
    traces: bytes | None
    verdict: Verdict


def prepare(run: RunDirectory, organisation: str, verify: Verify, endpoint: str) -> RenderedRecord:
    """Return what publishing ``run`` sends; the Hub is not contacted.

    Raises:
        NotPublishableError: the record does not verify or its files do not belong together.
    """
    found = _publishable(run, verify)
    signed, derived = {ENVELOPE_FILE: found.data}, {CARD_FILE: _card(found, organisation, endpoint)}
    if found.traces is not None:
        signed[TRACES_FILE] = found.traces
        derived[PLOT_FILE] = latency_plot_png(open_traces(found.traces))
    return RenderedRecord(
        repo=Repo("dataset", dataset_repo_id(organisation, found.read.envelope)),
        content_hash=found.read.content_hash,
        signed=signed,
        derived=derived,
    )


def card_of_run(run: RunDirectory, organisation: str, verify: Verify, endpoint: str) -> bytes:
    """Return the card that publishing ``run`` sends; no plot is drawn, and the Hub not contacted.

    Raises:
        NotPublishableError: the record does not verify or its files do not belong together.
    """
    return _card(_publishable(run, verify), organisation, endpoint)


def _card(found: _Publishable, organisation: str, endpoint: str) -> bytes:
    return render_card(
        found.read,
        dataset_repo_id(organisation, found.read.envelope),
        signer=found.verdict.signer,
        log=found.verdict.log,
        endpoint=endpoint,
        latency_plot=found.traces is not None,
    )


def _publishable(run: RunDirectory, verify: Verify) -> _Publishable:
    data = run.read(RunFile.ENVELOPE)
    try:
        read = ReadEnvelope(parse_envelope(data))
        envelope, binding = read.envelope, read.traces
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
    # The card quotes this hash, so it must be the one that the verdict is about.
    if not verdict.ok or verdict.content_hash != read.content_hash:
        raise NotPublishableError(
            f"the envelope of run {run.run_id} does not verify: {verdict.reason}; nothing was "
            "sent. Fix what the verdict names and sign again"
        )
    # A policy may pin a development key, so a good verdict alone is not enough.
    if envelope.signature is not None and envelope.signature.method == "dev-key":
        raise NotPublishableError(
            f"run {run.run_id} is signed with a development key, which is for local work: nobody "
            "vouches for it. Unset INFERENCEBENCH_DEV_KEY and sign it as an identity"
        )
    if errors := validity_errors(read, traces):
        raise NotPublishableError(
            f"run {run.run_id} is flagged as invalid and is not published: {said_of(errors)}; "
            "measure again under a new run id"
        )
    return _Publishable(read, data, traces, verdict)
