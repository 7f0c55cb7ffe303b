"""Verification of envelopes under one policy and trust root, each to a verdict of its own.

Nothing is fetched, and no input makes it raise: every failure is a rejection that names the check.
"""

from __future__ import annotations

import binascii
import gc
import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from inferencebench_pipeline.envelope import (
    ENVELOPE_VERSION,
    TRACES_FILE,
    Envelope,
    SignatureBlock,
    read_unambiguous,
)
from inferencebench_pipeline.trust.log.checkpoints import Checkpoint
from inferencebench_pipeline.trust.root.trust_root import TrustRoot
from inferencebench_pipeline.trust.verify.bundle import (
    BUNDLE_CHECKS,
    BundleVerifier,
    VerifiedBundle,
    log_index,
    parse_bundle,
    signature_digest,
)
from inferencebench_pipeline.trust.verify.certificates import written_out
from inferencebench_pipeline.trust.verify.checklist import Checklist, RejectedError
from inferencebench_pipeline.trust.verify.dev_key import (
    WrongSignatureError,
    key_fingerprint,
    pinned_key,
    verify_dev_key,
)
from inferencebench_pipeline.trust.verify.evidence import bundle_evidence
from inferencebench_pipeline.trust.verify.policy import IdentityPolicy
from inferencebench_pipeline.trust.verify.times import time_contradiction
from inferencebench_pipeline.trust.verify.verdict import (
    FailureClass,
    LogPosition,
    Outcome,
    Proven,
    Verdict,
    VerifiedSigner,
    outcome_of,
)
from inferencebench_pipeline.trust.verify.versions_check import check_versions

_DOCUMENT_CHECKS: Final = ("schema", "content_hash", "signature_present")
_KEYLESS_CHECKS: Final = (
    "bundle_format",
    "bundle_covers_content_hash",
    # The first of them, bundle_format, is listed above: the check after it comes in between.
    *BUNDLE_CHECKS[1:],
    "timestamps_verify",
    "envelope_names_certificate",
    "envelope_names_log_index",
    "identity_policy",
    "run_before_signature",
)
_DEV_KEY_CHECKS: Final = ("identity_policy", "dev_key_signature")
_TRACES_CHECKS: Final = ("traces_hash", "traces_readable", "traces_agree", "metrics_rederive")
_RECORD_CHECKS: Final = ("versions_known", *_TRACES_CHECKS)
"""The checks on what the record says, once it is known who signed it."""

_BUNDLE_DETAILS: Final = {
    "bundle_verifies": (
        "certificate chain, certificate log promise, signature, inclusion proof, checkpoint, "
        "trusted time and log entry verify against the trust root"
    ),
    "log_known": "the log that the entry names is trusted and signed the checkpoint itself",
    "checkpoint_size": "the checkpoint's size is the inclusion proof's",
    "log_index_proven": "the log index is signed, or is the one that the proof is for",
    "key_windows": "log, certificate authority and certificate log were trusted at that time",
    "certificate_identity": "the certificate names one identity and one issuer",
}


@dataclass
class _Found:
    """The facts known so far; they go into the verdict whether or not a later check fails."""

    envelope_version: str = ENVELOPE_VERSION
    content_hash: str | None = None
    signer: VerifiedSigner | None = None
    log: LogPosition | None = None
    signed_at: datetime | None = None
    checkpoint: Checkpoint | None = None
    expected: tuple[str, ...] = (*_DOCUMENT_CHECKS, *_KEYLESS_CHECKS, *_RECORD_CHECKS)
    metrics: int | None = None
    content_sha256: str | None = None
    traces_missing: bool = False
    """True if the envelope binds traces that are not there to check."""


class EnvelopeVerifier:
    """Verifies envelopes under one policy and one trust root.

    Each verdict is the one :func:`verify_envelope` gives;
    what envelopes share (the signer's certificate, decoded keys) is examined once. Give each
    process its own: it cannot be pickled.
    """

    def __init__(self, trust: TrustRoot, policy: IdentityPolicy) -> None:
        """Make a verifier.

        Args:
            trust: whose certificates, logs and clocks count.
            policy: who may sign for whom.
        """
        self._trust = trust
        self._policy = policy
        self._bundles = BundleVerifier(trust)

    def verify(
        self, data: bytes, *, organisation: str | None, traces: Path | bytes | None
    ) -> Verdict:
        """Return the verdict on the envelope in ``data``; see :meth:`prove`."""
        return self._proven(data, organisation, traces, with_content=False).verdict

    def prove(
        self, data: bytes, *, organisation: str | None, traces: Path | bytes | None
    ) -> Proven:
        """Return the verdict on the envelope in ``data``, and what else its signature proves.

        Args:
            data: the exact bytes of ``envelope.json``.
            organisation: the Hub namespace the record is published under; the signer must be
                allowed for it. None for a record that is not published: any organisation of the
                policy will do.
            traces: the traces file. Without it those checks are skipped, and a record that binds
                traces is incomplete.
        """
        return self._proven(data, organisation, traces, with_content=True)

    def _proven(
        self,
        data: bytes,
        organisation: str | None,
        traces: Path | bytes | None,
        *,
        with_content: bool,
    ) -> Proven:
        checklist, found = Checklist(), _Found()
        failure: RejectedError | None = None
        try:
            with _CollectorPaused():
                envelope, signature = _document(checklist, found, data)
                if signature.method == "dev-key":
                    found.expected = (*_DOCUMENT_CHECKS, *_DEV_KEY_CHECKS, *_RECORD_CHECKS)
                    _dev_key(checklist, found, envelope, signature, self._policy, organisation)
                else:
                    self._keyless(checklist, found, envelope, signature, organisation)
            check_versions(checklist, envelope)
            _traces(checklist, found, envelope, traces, with_content=with_content)
        except RejectedError as error:
            failure = error
            # Each verdict lists every check, so that nobody takes a missing one for a passed one.
            checklist.skip_rest(found.expected, _not_reached(error))
        failure_class = _conclusion(found, failure)
        outcome = outcome_of(failure_class)
        # Made in one go, and not a model of each check by itself, which takes longer.
        verdict = Verdict.model_validate(
            {
                "content_hash": found.content_hash,
                "ok": outcome is Outcome.VERIFIED,
                "outcome": outcome,
                "reason": _accepted(found) if failure is None else _refused(found, failure),
                "checks": checklist.checks,
                "signer": found.signer,
                "log": found.log,
                "signed_at": found.signed_at,
                "policy_sha256": self._policy.sha256,
                "trust_root_sha256": self._trust.sha256,
                "failure_class": failure_class,
            }
        )
        # The proof of a rejected record is not believed.
        checkpoint = found.checkpoint if verdict.signature_holds else None
        return Proven(verdict, checkpoint, found.content_sha256)

    def _keyless(
        self,
        checklist: Checklist,
        found: _Found,
        envelope: Envelope,
        signature: SignatureBlock,
        organisation: str | None,
    ) -> None:
        # Upstream's envelope v1 signs the 64 characters of the hash in hex, and not its 32 bytes.
        message = (found.content_hash or "").encode("ascii")
        sha256 = hashlib.sha256(message)
        invalid = FailureClass.SIGNATURE_INVALID
        with checklist.check("bundle_format", invalid) as check:
            bundle = parse_bundle(binascii.a2b_base64(signature.bundle, strict_mode=True))
            check.note("a Sigstore bundle", media_type=bundle._inner.media_type)
        with checklist.check("bundle_covers_content_hash", FailureClass.TAMPERED) as check:
            # A changed document is told apart from a forged signature, which the next checks find.
            digest = signature_digest(bundle)
            if digest is not None and digest != sha256.digest():
                raise ValueError(
                    "the document was changed after it was signed; its content hash is "
                    f"{found.content_hash}"
                )
            check.note(
                "the signature is over this document's content hash",
                message_sha256=sha256.hexdigest(),
            )
        with checklist.checks_in_one(BUNDLE_CHECKS[1:], _BUNDLE_DETAILS, invalid) as evidence:
            verified = self._bundles.verify(message, bundle)
            evidence |= bundle_evidence(verified)
        found.signer = VerifiedSigner(
            method=signature.method,
            identity=verified.signer.identity,
            issuer=verified.signer.issuer,
        )
        found.log, found.signed_at = _position(verified), verified.times[0]
        found.checkpoint = verified.checkpoint
        with checklist.check("timestamps_verify", invalid) as check:
            # Stock sigstore passes over a timestamp that does not verify, if another one does.
            carried, good = verified.timestamps_carried, verified.timestamps
            if carried != good:
                raise ValueError(
                    f"the bundle carries {carried} timestamps, {good} of them verify against the "
                    "trust root within the certificate's time"
                )
            check.note(
                "no timestamp was passed over",
                timestamps=good,
                signed_at=", ".join(moment.isoformat() for moment in verified.times),
            )
        # The envelope repeats the certificate and the index for readers without sigstore.
        with checklist.check("envelope_names_certificate", invalid) as check:
            if not _is_written_out(verified.certificate, signature.certificate):
                raise ValueError("the envelope's certificate is not the one that signed")
            check.note(
                "the envelope's certificate is the bundle's",
                serial=f"{verified.certificate.serial_number:x}",
            )
        with checklist.check("envelope_names_log_index", invalid) as check:
            if signature.rekor_log_index != log_index(bundle):
                raise ValueError(
                    f"the envelope states log index {signature.rekor_log_index}, the bundle "
                    f"{log_index(bundle)}"
                )
            check.note("the envelope's log index is the bundle's", log_index=log_index(bundle))
        with checklist.check("identity_policy", FailureClass.IDENTITY_NOT_ALLOWED) as check:
            refusal = self._policy.signer_refusal(
                organisation=organisation,
                suite_id=envelope.suite_id,
                signer=verified.signer,
                signed_at=verified.times,
            )
            if refusal is not None:
                raise ValueError(refusal)
            check.note(
                "the policy allows this signer",
                identity=verified.signer.identity,
                issuer=verified.signer.issuer,
                organisation=organisation or "any",
                suite=envelope.suite_id,
            )
        with checklist.check("run_before_signature", FailureClass.TIME_CONTRADICTS) as check:
            problem = time_contradiction(envelope.timestamp, verified.times[0])
            if problem is not None:
                raise ValueError(problem)
            check.note("the run ended before it was signed", ended=envelope.timestamp.isoformat())


class _CollectorPaused:
    """Keeps the collector of reference cycles from looking through a record while it is read.

    A document of bounded size has no cycles, and reference counts free all of it, so that looking
    through its parts again and again finds nothing.
    """

    def __enter__(self) -> None:
        self._was_enabled = gc.isenabled()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        if self._was_enabled:
            gc.enable()


def _is_written_out(certificate: x509.Certificate, pem: str) -> bool:
    """Return whether ``pem`` is the one certificate, in whatever form PEM allows.

    Nothing is remembered of a text that anybody may have made as long as an envelope may be.
    """
    if pem == written_out(certificate):
        return True
    # Compared as a list: a second certificate behind the right one is refused as well.
    return x509.load_pem_x509_certificates(pem.encode()) == [certificate]


def _document(checklist: Checklist, found: _Found, data: bytes) -> tuple[Envelope, SignatureBlock]:
    with checklist.check("schema", FailureClass.MALFORMED) as check:
        read = read_unambiguous(data)
        found.envelope_version = read.envelope.envelope_version
        check.note(
            f"a {found.envelope_version} envelope", envelope_sha256=hashlib.sha256(data).hexdigest()
        )
    with checklist.check("content_hash", FailureClass.MALFORMED) as check:
        found.content_hash = read.content_hash
        check.note("computed over the canonical body", content_hash=found.content_hash)
    with checklist.check("signature_present", FailureClass.UNSIGNED) as check:
        signature = read.envelope.signature
        if signature is None:
            raise ValueError("the envelope has no signature")
        check.note(f"signed by method {signature.method}")
    return read.envelope, signature


def _dev_key(
    checklist: Checklist,
    found: _Found,
    envelope: Envelope,
    signature: SignatureBlock,
    policy: IdentityPolicy,
    organisation: str | None,
) -> None:
    """Check a development signature; a rule for a keyless signer never allows one."""
    with checklist.check("identity_policy", FailureClass.IDENTITY_NOT_ALLOWED) as check:
        pinned = policy.pinned_keys(organisation=organisation, suite_id=envelope.suite_id)
        if not pinned:
            raise ValueError(
                "signed with a development key, and the policy pins none for "
                f"{organisation or 'any organisation'}, suite {envelope.suite_id}"
            )
        key = pinned_key(signature, pinned)
        check.note("the policy pins this development key", key_sha256=key_fingerprint(key))
    with checklist.check("dev_key_signature", FailureClass.SIGNATURE_INVALID) as check:
        try:
            verify_dev_key((found.content_hash or "").encode("ascii"), signature, key)
        except WrongSignatureError as error:
            # The pinned key has signed something, so it is the document that was changed.
            raise RejectedError("dev_key_signature", FailureClass.TAMPERED, str(error)) from error
        check.note("the pinned key signed this document's content hash")
    found.signer = VerifiedSigner(
        method=signature.method, identity=key_fingerprint(key), issuer="policy"
    )


def _traces(
    checklist: Checklist,
    found: _Found,
    envelope: Envelope,
    traces: Path | bytes | None,
    *,
    with_content: bool,
) -> None:
    if traces is None:
        # The name alone counts: a binding in a form that nobody can read is missing all the same.
        found.traces_missing = TRACES_FILE in envelope.distributions
        checklist.skip(
            _TRACES_CHECKS,
            f"the record binds {TRACES_FILE}, which was not there to check"
            if found.traces_missing
            else "the record binds no traces, so nobody can derive its numbers again",
        )
        return
    # Who verifies an envelope alone need not wait for the libraries that read and compute columns.
    from inferencebench_pipeline.trust.verify.traces_checks import check_traces_file

    checked = check_traces_file(checklist, envelope, traces, with_content=with_content)
    found.metrics, found.content_sha256 = checked


def _not_reached(error: RejectedError) -> str:
    rejected = outcome_of(error.failure) is Outcome.REJECTED
    return f"not reached: {error.check} {'failed' if rejected else 'could not be judged'}"


def _position(verified: VerifiedBundle) -> LogPosition:
    """Return where the entry stands; only Rekor v1 has an address per entry."""
    url = f"{verified.log_url}/api/v1/log/entries?logIndex={verified.log_index}"
    return LogPosition(
        index=verified.log_index,
        log_id=verified.log_id,
        url=None if verified.is_rekor_v2 else url,
        integrated_time=verified.integrated_time,
    )


def _conclusion(found: _Found, failure: RejectedError | None) -> FailureClass | None:
    if failure is not None:
        return failure.failure
    return FailureClass.TRACES_MISSING if found.traces_missing else None


def _accepted(found: _Found) -> str:
    signer = found.signer
    who = "" if signer is None else f"signed by {signer.identity} ({signer.issuer})"
    where = "" if found.log is None else f", entry {found.log.index} of the log"
    if found.metrics is not None:
        metrics = f"{found.metrics} metrics re-derive from the traces"
    elif found.traces_missing:
        metrics = f"the record binds {TRACES_FILE}, which was not there: no metric was re-derived"
    else:
        metrics = "no metric was re-derived, because the record binds no traces"
    return f"{who}{where}; {metrics}"


def _refused(found: _Found, failure: RejectedError) -> str:
    reason = f"{failure.check}: {failure}"
    if found.envelope_version == ENVELOPE_VERSION or outcome_of(failure.failure) is Outcome.NEWER:
        return reason
    # Later versions may be hashed and signed in another way, which nobody can know here.
    return f"{reason} (as an envelope {ENVELOPE_VERSION}; it says {found.envelope_version})"


def verify_envelope(
    data: bytes,
    *,
    trust: TrustRoot,
    policy: IdentityPolicy,
    organisation: str | None,
    traces: Path | bytes | None,
) -> Verdict:
    """Return the verdict on the envelope in ``data``.

    Args:
        data: the exact bytes of ``envelope.json``.
        trust: whose certificates, logs and clocks count.
        policy: who may sign for whom.
        organisation: the Hub namespace the record is published under; the signer must be allowed
            for it. None for a record that is not published: any organisation of the policy will do.
        traces: the traces file. Without it those checks are skipped, and a record that binds
            traces is incomplete.

    Example:
        >>> verdict = verify_envelope(data, trust=load_trust(config), policy=load_policy(policy),
        ...                           organisation="acme", traces=None)  # doctest: +SKIP
        >>> verdict.ok, verdict.reason  # doctest: +SKIP
    """
    return EnvelopeVerifier(trust, policy).verify(data, organisation=organisation, traces=traces)
