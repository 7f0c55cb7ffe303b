"""Signing of runs, from unsigned to logged: each step is durable, and none is repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from inferencebench_pipeline.envelope import (
    Envelope,
    EnvelopeError,
    content_hash,
    differences,
    parse_envelope,
    said_of,
    serialise,
)
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.files import StoreError
from inferencebench_pipeline.runs import SHORT_WORK_S, RunDirectory, RunFile
from inferencebench_pipeline.trust.errors import SigningRefusedError
from inferencebench_pipeline.trust.sign.fitness import require_fit
from inferencebench_pipeline.trust.sign.pending_signature import kept_message_sha256
from inferencebench_pipeline.trust.sign.signer import Signer
from inferencebench_pipeline.trust.verify.verdict import FailureClass, Verdict, Verify


class RunState(StrEnum):
    """The state of a run since it was measured; each state is a file, so it survives a crash.

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
        # The furthest state comes first, because the files of the earlier ones stay.
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
        if not self.run.has(RunFile.SIGNATURE):
            return None
        return self.run.read_as_written(RunFile.SIGNATURE)

    def write(self, data: bytes) -> None:
        """Keep a prepared signature, on the disk before this returns."""
        self.run.write(RunFile.SIGNATURE, data)


def sign_run(run: RunDirectory, signer: Signer, *, verify: Verify) -> Verdict:
    """Sign a run's envelope into ``envelope.json`` and return the verdict on the stored bytes.

    Asking again changes nothing: an ``envelope.json`` that states the same and verifies is kept,
    and a signature that was on its way to the log when an attempt was cut off is finished; neither
    makes a second log entry. Nothing is signed whose files have changed since they were written,
    whose metrics do not follow from its traces, or that is flagged as invalid; nothing is stored
    that does not verify under the policy; and what has been signed is never signed again with
    another statement.

    Args:
        run: holds ``envelope.unsigned.json`` and ``traces.parquet``.
        signer: signs, when signing is needed.
        verify: verifies the signed bytes with the traces, under the deployment's policy.

    Raises:
        MissingRunFileError: an earlier stage has not run.
        DamagedRunFileError: a file has changed since it was written.
        CaptureError: a file of the capture has changed since it was measured.
        EnvelopeError: the unsigned envelope cannot be read.
        SigningRefusedError: the metrics do not re-derive, the signed bytes do not verify, or the
            run has been signed with another statement.
        SigningUnavailableError: a service is down; the unsigned envelope stays as it is.
        IdentityTokenError: there is no usable identity.
        RunBusyError: another process works on the run.
    """
    with run.writing("signing", wait_s=SHORT_WORK_S):
        unsigned = parse_envelope(run.read_as_written(RunFile.UNSIGNED_ENVELOPE))
        traces = run.read_as_written(RunFile.TRACES)
        signed = read_signed(run)
        # A development signature is in no log, so the signature of an identity may still take its
        # place.
        local = signed is not None and signed.is_local and not run.has(RunFile.PUBLICATION)
        if signed is not None:
            verdict = verify(signed.data, traces)
            # A log keeps what was signed for ever. It stands even where policy or traces now speak
            # against it.
            if not local and (verdict.ok or _is_whole(verdict)):
                return _kept(run, unsigned, signed, verdict)
            if verdict.ok and not differences(signed.envelope, unsigned):
                return verdict
        data = _sign(run, unsigned, traces, signer, anew=local)
        verdict = verify(data, traces)
        if not verdict.ok:
            raise SigningRefusedError(
                f"run {run.run_id} was signed, but the result is not kept: {verdict.reason}"
            )
        run.write(RunFile.ENVELOPE, data)
        return verdict


@dataclass(frozen=True)
class Signed:
    """The outcome for one run of a batch."""

    run: RunDirectory
    verdict: Verdict | None
    error: PermanentError | None
    """Reason why this run was refused, when it was."""


def sign_runs(
    runs: Iterable[RunDirectory],
    signer: Signer,
    *,
    verify: Verify,
    restore: Callable[[RunDirectory], object] = lambda _run: None,
) -> Iterator[Signed]:
    """Sign one run after the other with one signer, and yield what came of each.

    ``restore`` is called with each run first: it brings back what is published and lost here.

    A run that is refused does not keep the others from being signed. An outage ends the batch: it
    would meet the next run too. What was yielded is done and stays done.

    Raises:
        SigningUnavailableError: a service is down; sign the rest later.
    """
    for run in runs:
        try:
            restore(run)
            yield Signed(run, sign_run(run, signer, verify=verify), None)
        except PermanentError as error:
            yield Signed(run, None, error)


@dataclass(frozen=True)
class SignedBytes:
    """A signed envelope as it lies on the disk."""

    data: bytes
    envelope: Envelope

    @property
    def is_local(self) -> bool:
        """Return whether a development key signed it, which no log holds and nobody publishes."""
        return self.envelope.signature is not None and self.envelope.signature.method == "dev-key"


def read_signed(run: RunDirectory) -> SignedBytes | None:
    """Return the ``envelope.json`` of ``run``; None when there is no signed envelope in it."""
    if not run.has(RunFile.ENVELOPE):
        return None
    try:
        data = run.read(RunFile.ENVELOPE)
        envelope = parse_envelope(data)
    except (StoreError, EnvelopeError):
        return None
    signed = envelope.signature is not None and envelope.run_id == run.run_id
    return SignedBytes(data, envelope) if signed else None


def _is_whole(verdict: Verdict) -> bool:
    """Return whether a rejected record is what was signed, by somebody who may not, or beside it.

    Then there is nothing to restore: the policy or the traces must change.
    """
    return verdict.failure_class in {
        FailureClass.IDENTITY_NOT_ALLOWED,
        FailureClass.TRACES_MISMATCH,
        FailureClass.METRICS_DO_NOT_REDERIVE,
        FailureClass.TRACES_CONTRADICT,
        FailureClass.TIME_CONTRADICTS,
        FailureClass.NEWER_THAN_VERIFIER,
    }


def _kept(run: RunDirectory, unsigned: Envelope, signed: SignedBytes, verdict: Verdict) -> Verdict:
    """Return the verdict on an ``envelope.json`` that states what is to be signed.

    Raises:
        SigningRefusedError: it states something else, or may not stand: it is never replaced.
    """
    differing = differences(signed.envelope, unsigned)
    if differing:
        raise SigningRefusedError(
            f"run {run.run_id} is signed already, and what its files give now is something else: "
            f"{said_of(differing)}. What is signed stays as it is; find out which file changed, "
            "or measure again under a new run id"
        )
    if not verdict.ok:
        raise SigningRefusedError(
            f"run {run.run_id} is signed already and is not signed again, but does not verify: "
            f"{verdict.reason}"
        )
    return verdict


def _sign(
    run: RunDirectory, unsigned: Envelope, traces: bytes, signer: Signer, *, anew: bool
) -> bytes:
    """Return the envelope signed: finished where a signature exists, else signed now.

    Args:
        run: the run.
        unsigned: what is signed.
        traces: what it binds.
        signer: signs.
        anew: whether what was signed before was for local work only.
    """
    if run.has(RunFile.PUBLICATION):
        raise SigningRefusedError(
            f"run {run.run_id} is published, and {run.file(RunFile.ENVELOPE)} is lost or damaged; "
            f"`inferencebench publish {run.run_id}` brings it back from the Hub. It is never "
            "signed again"
        )
    require_fit(run, unsigned, traces)
    intent = RunIntent(run)
    _require_same_message(run, unsigned, intent)
    # The envelope may be lost, but the note of its digest and its verdict outlive it.
    was_signed = run.was_written(RunFile.ENVELOPE) or run.has(RunFile.VERDICT)
    if was_signed and signer.logs and not anew:
        finished = signer.finish(unsigned, intent)
        if finished is None:
            raise SigningRefusedError(
                f"run {run.run_id} has been signed, {run.file(RunFile.ENVELOPE)} is lost or "
                f"damaged, and {RunFile.SIGNATURE.value} does not give it back; restore either "
                "from a backup. It is never signed again"
            )
        return serialise(finished)
    return serialise(signer.sign(unsigned, intent))


def _require_same_message(run: RunDirectory, unsigned: Envelope, intent: RunIntent) -> None:
    """Refuse to sign another statement than the one whose signature is on its way to the log."""
    kept = intent.read()
    if kept is None:
        return
    over = kept_message_sha256(kept)
    ours = hashlib.sha256(content_hash(unsigned).encode("ascii")).hexdigest()
    if over is not None and over != ours:
        raise SigningRefusedError(
            f"run {run.run_id} has been signed with another statement than its files give now: "
            f"{run.file(RunFile.SIGNATURE)} is over another content hash. Find out which file "
            "changed, or measure again under a new run id"
        )
    if over is None and not run.was_written(RunFile.SIGNATURE):
        raise SigningRefusedError(
            f"{run.file(RunFile.SIGNATURE)} is damaged; restore it from a backup: without it "
            "nobody knows whether the log holds the signature. Removing the file has the run "
            "signed anew, at the price of a second entry"
        )
