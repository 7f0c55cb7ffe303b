"""The signers of a content hash: logged once, timestamped, and verified before it is kept."""

from __future__ import annotations

import base64
import threading
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from cryptography.hazmat.primitives.serialization import Encoding
from sigstore.models import Bundle

from inferencebench_pipeline.envelope import Envelope, SignatureBlock, content_hash
from inferencebench_pipeline.trust.errors import SigningRefusedError
from inferencebench_pipeline.trust.root.trust_root import TrustRoot
from inferencebench_pipeline.trust.sign.identity_token import TokenSource
from inferencebench_pipeline.trust.sign.log_entry import find_in_log, is_still_loggable, log_once
from inferencebench_pipeline.trust.sign.pending_signature import (
    PreparedSignature,
    UnusableIntentError,
)
from inferencebench_pipeline.trust.sign.services import (
    SigningDeadlines,
    SigningServices,
    open_services,
)
from inferencebench_pipeline.trust.sign.session import SigningSession
from inferencebench_pipeline.trust.verify.bundle import (
    BundleRejectedError,
    VerifiedBundle,
    log_index,
    verify_bundle,
    verify_statement,
)
from inferencebench_pipeline.trust.verify.certificates import SignerIdentity, certificate_identity
from inferencebench_pipeline.trust.verify.policy import IdentityPolicy

RENEW_BELOW: Final = timedelta(minutes=2)
"""A certificate with less time left is not used for another signature."""


class Intent(Protocol):
    """Place of a pending signature until the log is known to hold it."""

    def read(self) -> bytes | None:
        """Return what was kept, or None."""
        ...

    def write(self, data: bytes) -> None:
        """Keep ``data`` durably."""
        ...


class Signer(Protocol):
    """A signer of envelopes, by an identity or a development key."""

    def sign(self, envelope: Envelope, intent: Intent | None = None) -> Envelope:
        """Return ``envelope`` with a signature over its content hash.

        Args:
            envelope: not signed yet.
            intent: keeps the signature before it is logged; an attempt that was cut off is
                finished from it instead of being repeated.

        Raises:
            SigningUnavailableError: a service is down; sign again later.
            SigningRefusedError: a service or the policy refused, or what came does not verify.
            IdentityTokenError: there is no usable identity.
        """
        ...

    def finish(self, envelope: Envelope, intent: Intent) -> Envelope | None:
        """Return ``envelope`` with the signature that ``intent`` keeps; nothing new is signed.

        None when there is no such signature, or it is of no use.

        Raises:
            SigningUnavailableError: a service is down; ask again later.
        """
        ...

    @property
    def logs(self) -> bool:
        """Return whether a public log keeps what is signed, for ever."""
        ...


class SigstoreSigner:
    """Signs keyless: a ten-minute certificate for an identity, a timestamp, an entry in the log.

    One certificate serves a whole batch; near its end a fresh token and certificate are fetched.
    May be shared by threads. The key lives as long as this object and is never written.

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
        policy: IdentityPolicy | None = None,
        organisation: str | None = None,
        rekor_version: int | None = None,
        deadlines: SigningDeadlines | None = None,
        renew_below: timedelta = RENEW_BELOW,
    ) -> None:
        """Make a signer; nothing is contacted before :meth:`sign`.

        Args:
            trust: must name services to sign with.
            identity: asked for a token whenever a certificate is needed, at the moment of signing.
            policy: refuses an identity that may not sign before anything is logged for ever.
            organisation: the namespace the records are for.
            rekor_version: 1 or 2 to insist on a log; the highest that is offered when None.
            deadlines: of each HTTP exchange.
            renew_below: how much time a certificate must have left to be used again.
        """
        self._trust = trust
        self._identity = identity
        self._policy = policy
        self._organisation = organisation
        self._rekor_version = rekor_version
        self._deadlines = deadlines or SigningDeadlines()
        self._renew_below = renew_below
        self._session: SigningSession | None = None
        # Two threads that find the certificate near its end must not fetch one each.
        self._beginning = threading.Lock()
        # HTTP sessions must not be shared between threads; the certificate is.
        self._own = threading.local()

    def sign(self, envelope: Envelope, intent: Intent | None = None) -> Envelope:
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
        message = content_hash(envelope).encode("ascii")
        bundle = self._resumed(message, envelope.suite_id, intent)
        if bundle is None:
            bundle = self._signed(message, envelope.suite_id, intent)
        return _with_bundle(envelope, bundle)

    def finish(self, envelope: Envelope, intent: Intent) -> Envelope | None:
        """Return ``envelope`` with the signature that ``intent`` keeps; nothing new is signed.

        None when there is no such signature, or it is of no use.

        Raises:
            SigningUnavailableError: a service is down; ask again later.
        """
        message = content_hash(envelope).encode("ascii")
        bundle = self._resumed(message, envelope.suite_id, intent)
        return None if bundle is None else _with_bundle(envelope, bundle)

    @property
    def logs(self) -> bool:
        """Return whether a public log keeps what is signed, for ever."""
        return True

    def sign_statement(self, statement: bytes, *, suite_id: str) -> bytes:
        """Return the JSON of a Sigstore bundle that carries an in-toto statement, signed.

        Args:
            statement: the exact bytes that verifiers will get back.
            suite_id: what the policy must let the signer speak for.

        Raises:
            SigningUnavailableError: a service is down, slow or gives nonsense.
            SigningRefusedError: refused, not a statement, or what came back does not verify.
            IdentityTokenError: there is no usable identity.
        """
        services = self._services()
        session = self._certified(services, suite_id)
        prepared = session.sign_statement(statement, services)
        bundle = prepared.bundle(log_once(prepared, services, self._trust))
        try:
            payload, verified = verify_statement(bundle, self._trust)
        except BundleRejectedError as error:
            raise self._unproven(error) from error
        self._require(verified, session.signer)
        if payload != statement:
            raise SigningRefusedError("the bundle carries another statement than was signed")
        return bundle.to_json().encode()

    def _signed(self, message: bytes, suite_id: str, intent: Intent | None) -> Bundle:
        """Sign, have it timestamped, keep it, log it; in this order, so that nothing is lost."""
        services = self._services()
        session = self._certified(services, suite_id)
        prepared = session.sign_message(message, services)
        # Kept before it is logged: after a crash the same signature is sent again, no second one.
        if intent is not None:
            intent.write(prepared.kept(log=services.log_url))
        bundle = prepared.bundle(log_once(prepared, services, self._trust))
        self._require(self._proven(message, bundle), session.signer)
        return bundle

    def _resumed(self, message: bytes, suite_id: str, intent: Intent | None) -> Bundle | None:
        """Return the bundle of an attempt that was cut off; None when it is of no use any more."""
        kept = None if intent is None else intent.read()
        if kept is None:
            return None
        services = self._services()
        try:
            prepared = PreparedSignature.from_kept(kept, message=message, log=services.log_url)
            # The policy may have changed since the attempt that was cut off.
            self._require_allowed(certificate_identity(prepared.certificate), suite_id)
            entry = (
                log_once(prepared, services, self._trust)
                if is_still_loggable(prepared, services)
                else find_in_log(prepared, services)
            )
            if entry is None:
                return None
            bundle = prepared.bundle(entry)
            self._require(self._proven(message, bundle))
        except (UnusableIntentError, SigningRefusedError, ValueError):
            # A new signature serves as well; only an outage is worth waiting for.
            return None
        return bundle

    def _services(self) -> SigningServices:
        """Return this thread's connections to the services; HTTP sessions are not shared."""
        services: SigningServices | None = getattr(self._own, "services", None)
        if services is None:
            services = open_services(
                self._trust.require_signing(),
                rekor_version=self._rekor_version,
                deadlines=self._deadlines,
            )
            self._own.services = services
        return services

    def _certified(self, services: SigningServices, suite_id: str) -> SigningSession:
        """Return a session that lasts, of an identity that may sign for this suite."""
        with self._beginning:
            if self._session is None or not self._session.lasts(self._renew_below):
                self._session = SigningSession.begin(services, self._identity(), self._trust)
            session = self._session
        self._require_allowed(session.signer, suite_id)
        return session

    def _require_allowed(self, signer: SignerIdentity, suite_id: str) -> None:
        if self._policy is None:
            return
        refusal = self._policy.signer_refusal(
            organisation=self._organisation,
            suite_id=suite_id,
            signer=signer,
            signed_at=[datetime.now(UTC)],
        )
        if refusal is not None:
            raise SigningRefusedError(
                f"{refusal}; nothing was logged. Sign as somebody the policy allows, or have the "
                "policy reviewed"
            )

    def _proven(self, message: bytes, bundle: Bundle) -> VerifiedBundle:
        try:
            return verify_bundle(message, bundle, self._trust)
        except BundleRejectedError as error:
            raise self._unproven(error) from error

    def _unproven(self, error: BundleRejectedError) -> SigningRefusedError:
        return SigningRefusedError(
            f"what the signing services returned does not verify ({error.check}: {error}); check "
            f"that {self._trust.source} belongs to these services"
        )

    def _require(self, verified: VerifiedBundle, signer: SignerIdentity | None = None) -> None:
        if not verified.timestamped:
            raise SigningRefusedError(
                "the signature carries no timestamp that verifies against "
                f"{self._trust.source}; check that the timestamp authority belongs to it"
            )
        if signer is not None and verified.signer != signer:
            raise SigningRefusedError(f"the bundle is signed by {verified.signer}, not {signer}")


def _with_bundle(envelope: Envelope, bundle: Bundle) -> Envelope:
    certificate = bundle.signing_certificate.public_bytes(Encoding.PEM).decode("ascii")
    signature = SignatureBlock(
        # Upstream's envelope v1 has this word for a keyless signature.
        method="sigstore-cosign",
        certificate=certificate,
        rekor_log_index=log_index(bundle),
        bundle=base64.b64encode(bundle.to_json().encode()).decode("ascii"),
    )
    return envelope.model_copy(update={"signature": signature})
