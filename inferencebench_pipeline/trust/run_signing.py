"""A run's way from unsigned to signed and logged: each step durable, none made twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from inferencebench_pipeline.envelope.canonical import (
    EnvelopeError,
    content_hash,
    parse_envelope,
    serialise,
)
from inferencebench_pipeline.envelope.models import Envelope
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.runs import RunDirectory, RunFile
from inferencebench_pipeline.trust.errors import SigningRefusedError
from inferencebench_pipeline.trust.rederive import metric_disagreements
from inferencebench_pipeline.trust.signing import Signer
from inferencebench_pipeline.trust.verdict import Verdict

Verify = Callable[[bytes, bytes | None], Verdict]
"""Verifies envelope bytes, and the traces when they are given."""


class RunState(StrEnum):
    """How far a run has come since it was measured; each state is a file, so it survives a crash.

    A state says what is there, not that it is good: the stage that reads a file examines it.
    """

    MEASURING = "measuring"
    UNSIGNED = "unsigned"
    SIGNED = "signed"
    """A signature is made and timestamped; whether the log holds it is not known."""
    LOGGED = "logged"
    PUBLISHED = "published"


def state_of(run: RunDirectory) -> RunState:
    """Return how far ``run`` has come."""
    for name, state in (
        (RunFile.PUBLICATION, RunState.PUBLISHED),
        (RunFile.ENVELOPE, RunState.LOGGED),
        (RunFile.SIGNATURE, RunState.SIGNED),
        (RunFile.UNSIGNED_ENVELOPE, RunState.UNSIGNED),
    ):
        if run.has(name):
            return state
    return RunState.MEASURING


@dataclass(frozen=True)
class RunIntent:
    """Keeps a prepared signature in the run directory, as ``signature.json``."""

    run: RunDirectory

    def read(self) -> bytes | None:
        """Return the signature an earlier attempt prepared, or None."""
        return self.run.read(RunFile.SIGNATURE) if self.run.has(RunFile.SIGNATURE) else None

    def write(self, data: bytes) -> None:
        """Keep a prepared signature, on the disk before this returns."""
        self.run.write(RunFile.SIGNATURE, data)


def sign_run(run: RunDirectory, signer: Signer, *, verify: Verify) -> Verdict:
    """Sign a run's envelope into ``envelope.json`` and return the verdict on the stored bytes.

    Asking again changes nothing: an ``envelope.json`` that states the same and verifies is kept,
    and a signature that was on its way to the log when an attempt was cut off is finished; neither
    makes a second log entry. Nothing is signed whose metrics do not follow from its traces, and
    nothing is stored that does not verify under the policy.

    Args:
        run: holds ``envelope.unsigned.json`` and ``traces.parquet``.
        signer: signs, when signing is needed.
        verify: verifies the signed bytes with the traces, under the deployment's policy.

    Raises:
        MissingRunFileError: an earlier stage has not run.
        EnvelopeError: the unsigned envelope cannot be read.
        SigningRefusedError: the metrics do not re-derive, or the signed bytes do not verify.
        SigningUnavailableError: a service is down; the unsigned envelope stays as it is.
        IdentityTokenError: there is no usable identity.
    """
    unsigned = parse_envelope(run.read(RunFile.UNSIGNED_ENVELOPE))
    traces = run.read(RunFile.TRACES)
    kept = _kept(run, unsigned, traces, verify)
    if kept is not None:
        return kept
    differing = metric_disagreements(unsigned, traces)
    if differing:
        raise SigningRefusedError(
            f"run {run.run_id} is not signed, its metrics do not follow from its traces: "
            f"{'; '.join(differing)}; materialise the traces and the envelope again"
        )
    data = serialise(signer.sign(unsigned, RunIntent(run)))
    verdict = verify(data, traces)
    if not verdict.ok:
        raise SigningRefusedError(
            f"run {run.run_id} was signed, but the result is not kept: {verdict.reason}"
        )
    run.write(RunFile.ENVELOPE, data)
    return verdict


@dataclass(frozen=True)
class Signed:
    """What came of one run of a batch."""

    run: RunDirectory
    verdict: Verdict | None
    error: PermanentError | None
    """Why this run was refused, when it was."""


def sign_runs(runs: Iterable[RunDirectory], signer: Signer, *, verify: Verify) -> Iterator[Signed]:
    """Sign one run after the other with one signer, and yield what came of each.

    A run that is refused does not keep the others from being signed. An outage ends the batch: it
    would meet the next run too. What was yielded is done and stays done.

    Raises:
        SigningUnavailableError: a service is down; sign the rest later.
    """
    for run in runs:
        try:
            yield Signed(run, sign_run(run, signer, verify=verify), None)
        except PermanentError as error:
            yield Signed(run, None, error)


def _kept(run: RunDirectory, unsigned: Envelope, traces: bytes, verify: Verify) -> Verdict | None:
    """Return the verdict on an ``envelope.json`` that is there and still good."""
    if not run.has(RunFile.ENVELOPE):
        return None
    data = run.read(RunFile.ENVELOPE)
    try:
        if content_hash(parse_envelope(data)) != content_hash(unsigned):
            return None
    except EnvelopeError:
        return None
    verdict = verify(data, traces)
    return verdict if verdict.ok else None
