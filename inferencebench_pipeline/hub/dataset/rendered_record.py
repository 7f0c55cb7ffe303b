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
from inferencebench_pipeline.trust import Verify


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


def prepare(run: RunDirectory, organisation: str, verify: Verify, endpoint: str) -> RenderedRecord:
    """Return what publishing ``run`` sends; the Hub is not contacted.

    Raises:
        NotPublishableError: the record does not verify or its files do not belong together.
    """
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
    if not verdict.ok or verdict.content_hash != read.content_hash:
        raise NotPublishableError(
            f"the envelope of run {run.run_id} does not verify: {verdict.reason}; nothing was "
            "sent. Fix what the verdict names and sign again"
        )
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
    repo_id = dataset_repo_id(organisation, envelope)
    plot = None if traces is None else latency_plot_png(open_traces(traces))
    card = render_card(
        read,
        repo_id,
        signer=verdict.signer,
        endpoint=endpoint,
        latency_plot=plot is not None,
    )
    return RenderedRecord(
        repo=Repo("dataset", repo_id),
        content_hash=read.content_hash,
        signed={ENVELOPE_FILE: data}
        if traces is None
        else {ENVELOPE_FILE: data, TRACES_FILE: traces},
        derived={CARD_FILE: card} if plot is None else {CARD_FILE: card, PLOT_FILE: plot},
    )
