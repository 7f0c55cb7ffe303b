"""A signing session: one key that never leaves this process, and its ten-minute certificate.

The answers of the certificate authority and the timestamp authority are verified here, before
anything is sent to the log: sigstore-python itself looks at the certificate's log promise only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from rfc3161_client import TimeStampResponse
from sigstore import dsse
from sigstore.errors import Error as SigstoreError
from sigstore.errors import VerificationError
from sigstore.oidc import ExpiredIdentity, IdentityToken
from sigstore.sign import Signer as SigstoreSession
from sigstore.verify import Verifier

from inferencebench_pipeline.trust.errors import IdentityTokenError, SigningRefusedError
from inferencebench_pipeline.trust.root.trust_root import TrustRoot, within
from inferencebench_pipeline.trust.sign.identity_token import names_its_subject
from inferencebench_pipeline.trust.sign.pending_signature import (
    PreparedSignature,
    message_signature,
)
from inferencebench_pipeline.trust.sign.services import SigningServices, service_failure
from inferencebench_pipeline.trust.verify.certificates import (
    CertificateFacts,
    SignerIdentity,
    certificate_identity,
)


@dataclass(frozen=True)
class SigningSession:
    """A key and the certificate that names whose it is."""

    certificate: x509.Certificate
    signer: SignerIdentity
    _key: ec.EllipticCurvePrivateKey
    _trust: TrustRoot

    @classmethod
    def begin(
        cls, services: SigningServices, token: IdentityToken, trust: TrustRoot
    ) -> SigningSession:
        """Return a session with a fresh key and a certificate for it.

        Raises:
            SigningUnavailableError: the certificate authority is down or gives nonsense.
            SigningRefusedError: it refused, or what it returned is not covered by ``trust``.
            IdentityTokenError: the token expired.
        """
        where = f"the certificate authority {services.certificate_authority}"
        try:
            # It must cache its key: without that, sigstore 4.5 makes a new one whenever the key is
            # asked for.
            session = SigstoreSession(token, services.context)
        except ExpiredIdentity as error:
            raise IdentityTokenError("the identity token expired; fetch a fresh one") from error
        except VerificationError as error:
            raise SigningRefusedError(
                f"{where} returned a certificate that the trust root does not cover: {error}"
            ) from error
        except Exception as error:
            raise service_failure(where, error) from error
        certificate, key = session._signing_cert(), session._private_key
        try:
            signer = _require_certificate(certificate, key, trust, token)
        except Exception as error:
            raise SigningRefusedError(
                f"{where} returned a certificate that cannot be used: {error}; check that "
                f"{trust.source} belongs to it"
            ) from error
        return cls(certificate, signer, key, trust)

    def lasts(self, at_least: timedelta) -> bool:
        """Return whether the certificate stays valid for so long from now."""
        return datetime.now(UTC) + at_least < self.certificate.not_valid_after_utc

    def sign_message(self, message: bytes, services: SigningServices) -> PreparedSignature:
        """Return a timestamped signature over ``message``; nothing is logged.

        Raises:
            SigningUnavailableError: a timestamp authority is down or gives nonsense.
            SigningRefusedError: its timestamp does not verify.
        """
        signature = self._key.sign(message, ec.ECDSA(hashes.SHA256()))
        # The certificate lasts ten minutes: a trusted time shows later that it was still valid.
        times = self._timestamps(signature, services)
        return PreparedSignature(self.certificate, message_signature(message, signature), times)

    def sign_statement(self, statement: bytes, services: SigningServices) -> PreparedSignature:
        """Return a timestamped DSSE signature over an in-toto statement; nothing is logged.

        Raises:
            SigningUnavailableError: a timestamp authority is down or gives nonsense.
            SigningRefusedError: its timestamp does not verify, or this is no statement.
        """
        try:
            content = dsse._sign(self._key, dsse.Statement(statement))
        except SigstoreError as error:
            raise SigningRefusedError(f"not an in-toto statement: {error}") from error
        times = self._timestamps(content.signature, services)
        return PreparedSignature(self.certificate, content, times)

    def _timestamps(
        self, signature: bytes, services: SigningServices
    ) -> tuple[TimeStampResponse, ...]:
        verifier = Verifier(trusted_root=self._trust.trusted_root)
        stamps = []
        for authority in services.timestamp_authorities:
            where = f"the timestamp authority {authority.url}"
            try:
                stamp = authority.request_timestamp(signature)
            except Exception as error:
                raise service_failure(where, error) from error
            # At signing, stock parses a timestamp and verifies nothing of it.
            verified = verifier._verify_signed_timestamp(stamp, signature)
            if verified is None or not _valid_at(self.certificate, verified.time):
                raise SigningRefusedError(
                    f"{where} returned a timestamp that does not verify against "
                    f"{self._trust.source}; check that they belong together, and its clock"
                )
            stamps.append(stamp)
        return tuple(stamps)


def _require_certificate(
    certificate: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    trust: TrustRoot,
    token: IdentityToken,
) -> SignerIdentity:
    """Return whom ``certificate`` names, having checked that it is ours and that we trust it.

    Raises:
        ValueError: another key, an authority that is not trusted now, another identity.
    """
    # An authority that answers with another certificate must be noticed before anything is logged.
    if certificate.public_key() != key.public_key():
        raise ValueError("it is for another key than ours")
    now = datetime.now(UTC)
    if not _valid_at(certificate, now):
        raise ValueError(
            f"it is valid {certificate.not_valid_before_utc} to "
            f"{certificate.not_valid_after_utc}, now is {now}; compare the clocks"
        )
    facts = CertificateFacts.of(certificate, trust)
    if not any(
        within(chain.authority.valid_for, now) and chain.is_valid_at(now) for chain in facts.issuing
    ):
        raise ValueError("no certificate authority that is trusted now issued it")
    signer = certificate_identity(certificate)
    if signer.issuer != token.federated_issuer:
        raise ValueError(f"its issuer is {signer.issuer}, the token's {token.federated_issuer}")
    if names_its_subject(token) and signer.identity != token.identity:
        raise ValueError(f"it is for {signer.identity}, the token for {token.identity}")
    return signer


def _valid_at(certificate: x509.Certificate, moment: datetime) -> bool:
    # Certificates state whole seconds; authorities cut the fraction off the time they begin.
    return (
        certificate.not_valid_before_utc <= moment + timedelta(seconds=5)
        and moment <= certificate.not_valid_after_utc
    )
