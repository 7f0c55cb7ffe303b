"""Signing: an envelope's content hash, by an identity, logged, timestamped, verified at once."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Protocol

from cryptography.hazmat.primitives.serialization import Encoding
from sigstore.errors import VerificationError
from sigstore.models import Bundle
from sigstore.oidc import ExpiredIdentity, IdentityToken
from sigstore.sign import Signer as SigstoreSession

from inferencebench_pipeline.envelope.canonical import (
    EnvelopeError,
    content_hash,
    parse_envelope,
    serialise,
)
from inferencebench_pipeline.envelope.models import Envelope, SignatureBlock
from inferencebench_pipeline.runs import RunDirectory, RunFile
from inferencebench_pipeline.trust.bundle import BundleRejectedError, log_index, verify_bundle
from inferencebench_pipeline.trust.errors import IdentityTokenError, SigningRefusedError
from inferencebench_pipeline.trust.identity import TokenSource
from inferencebench_pipeline.trust.rederive import metric_disagreements
from inferencebench_pipeline.trust.roots import TrustRoot
from inferencebench_pipeline.trust.services import (
    SigningDeadlines,
    SigningServices,
    TimestampUnavailableError,
    open_services,
    service_failure,
)
from inferencebench_pipeline.trust.verdict import Verdict

Verify = Callable[[bytes, bytes | None], Verdict]
"""Verifies envelope bytes, and the traces when they are given."""


class Signer(Protocol):
    """Signs envelopes."""

    def sign(self, envelope: Envelope) -> Envelope:
        """Return ``envelope`` with a signature over its content hash.

        Raises:
            SigningUnavailableError: a service is down; nothing was kept, sign again later.
            SigningRefusedError: a service refused, or what it returned does not verify.
            IdentityTokenError: there is no usable identity.
        """
        ...


class SigstoreSigner:
    """Signs keyless: a ten-minute certificate for an identity, an entry in the log, a timestamp.

    Example:
        >>> signer = SigstoreSigner(trust=load_trust(config), identity=file_identity(token))
        ...                                                                 # doctest: +SKIP
        >>> signed = signer.sign(envelope)                                  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        trust: TrustRoot,
        identity: TokenSource,
        rekor_version: int | None = None,
        deadlines: SigningDeadlines | None = None,
    ) -> None:
        """Make a signer; nothing is contacted before :meth:`sign`.

        Args:
            trust: must name services to sign with.
            identity: asked for a token at each signature.
            rekor_version: 1 or 2 to insist on a log; the highest that is offered when None.
            deadlines: of each HTTP exchange.
        """
        self._trust = trust
        self._identity = identity
        self._rekor_version = rekor_version
        self._deadlines = deadlines or SigningDeadlines()

    def sign(self, envelope: Envelope) -> Envelope:
        """Return ``envelope`` signed; the message is the ASCII of its hex content hash.

        What the services return is verified here before anybody keeps it: sigstore checks at
        signing neither certificate chain, nor log entry, nor timestamp.

        Raises:
            SigningUnavailableError: a service is down, slow or gives nonsense.
            SigningRefusedError: refused, already signed, or what came back does not verify.
            IdentityTokenError: there is no usable identity.
            TrustConfigError: the trust root names no services.
        """
        if envelope.signature is not None:
            raise SigningRefusedError(
                f"the envelope of run {envelope.run_id} is already signed; sign the unsigned one"
            )
        services = open_services(
            self._trust.require_signing(),
            rekor_version=self._rekor_version,
            deadlines=self._deadlines,
        )
        token = self._identity()
        message = content_hash(envelope).encode("ascii")
        bundle = _log_signature(services, _certified(services, token), message)
        _require_proof(message, bundle, self._trust, token, timestamps=services.timestamps)
        certificate = bundle.signing_certificate.public_bytes(Encoding.PEM).decode("ascii")
        signature = SignatureBlock(
            method="sigstore-cosign",
            certificate=certificate,
            rekor_log_index=log_index(bundle),
            bundle=base64.b64encode(bundle.to_json().encode()).decode("ascii"),
        )
        return envelope.model_copy(update={"signature": signature})


def sign_run(run: RunDirectory, signer: Signer, *, verify: Verify) -> Verdict:
    """Sign a run's envelope into ``envelope.json`` and return the verdict on the stored bytes.

    Asking again changes nothing: an ``envelope.json`` that states the same and verifies is kept,
    and no second log entry is made. Nothing is signed whose metrics do not follow from its
    traces, and nothing is stored that does not verify under the policy.

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
    data = serialise(signer.sign(unsigned))
    verdict = verify(data, traces)
    if not verdict.ok:
        raise SigningRefusedError(
            f"run {run.run_id} was signed, but the result is not kept: {verdict.reason}"
        )
    run.write(RunFile.ENVELOPE, data)
    return verdict


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


def _certified(services: SigningServices, token: IdentityToken) -> SigstoreSession:
    """Return a session with a certificate. One key and certificate, one signature."""
    where = f"the certificate authority {services.certificate_authority}"
    try:
        return SigstoreSession(token, services.context)
    except ExpiredIdentity as error:
        raise IdentityTokenError("the identity token expired; fetch a fresh one") from error
    except VerificationError as error:
        raise SigningRefusedError(
            f"{where} returned a certificate that the trust root does not cover: {error}"
        ) from error
    except Exception as error:
        raise service_failure(where, error) from error


def _log_signature(services: SigningServices, session: SigstoreSession, message: bytes) -> Bundle:
    """Sign, have it timestamped, and log it; in this order, so that no entry lacks its time."""
    try:
        return session.sign_artifact(message)
    except TimestampUnavailableError as error:
        raise service_failure(f"the timestamp authority {error}", error) from error
    except Exception as error:
        raise service_failure(f"the transparency log {services.log}", error) from error


def _require_proof(
    message: bytes, bundle: Bundle, trust: TrustRoot, token: IdentityToken, *, timestamps: bool
) -> None:
    try:
        verified = verify_bundle(message, bundle, trust)
    except BundleRejectedError as error:
        raise SigningRefusedError(
            f"what the signing services returned does not verify ({error.check}: {error}); check "
            f"that {trust.source} belongs to these services"
        ) from error
    if timestamps and not verified.timestamped:
        raise SigningRefusedError(
            f"the timestamp authority's timestamp does not verify against {trust.source}; check "
            "that they belong together"
        )
    asked = (token.identity, token.federated_issuer)
    if (verified.signer.identity, verified.signer.issuer) != asked:
        raise SigningRefusedError(
            f"the certificate is for {verified.signer.identity} ({verified.signer.issuer}), the "
            f"token for {asked[0]} ({asked[1]})"
        )
