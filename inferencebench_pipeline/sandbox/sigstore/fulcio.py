"""Fulcio v2: it issues ten-minute signing certificates for identity tokens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from inferencebench_pipeline.sandbox.sigstore import der
from inferencebench_pipeline.sandbox.sigstore.ct import CertificateLog
from inferencebench_pipeline.sandbox.sigstore.http import (
    Message,
    RpcError,
    parse,
    read_body,
    unbase64,
)
from inferencebench_pipeline.sandbox.sigstore.keys import Authority
from inferencebench_pipeline.sandbox.sigstore.log import LogStorageError
from inferencebench_pipeline.sandbox.sigstore.names import ISSUER
from inferencebench_pipeline.sandbox.sigstore.oidc import Identity, OidcIssuer, TokenRefusedError

CERTIFICATE_LIFETIME = timedelta(minutes=10)
_BODY_LIMIT_BYTES = 1 << 16
_FULCIO = "1.3.6.1.4.1.57264.1"
_ISSUER_V1 = x509.ObjectIdentifier(f"{_FULCIO}.1")
_SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")


class SigningRequest(Message):
    """The CSR form of ``CreateSigningCertificateRequest``."""

    certificateSigningRequest: str  # noqa: N815  # the name on the wire


class CertificateAuthority:
    """Issues certificates of the profile in Fulcio's docs/certificate-specification.md."""

    def __init__(self, authority: Authority, issuer: OidcIssuer, ct: CertificateLog) -> None:
        self._authority = authority
        self._issuer = issuer
        self._ct = ct

    def issue(self, token: str, csr_pem: bytes) -> list[str]:
        """Return the PEM chain, leaf first and root last, for the bearer of ``token``.

        Raises:
            RpcError: the token, the request or its proof of possession is not valid.
        """
        try:
            identity = self._issuer.check(token)
        except TokenRefusedError as error:
            raise RpcError(
                400, f"There was an error processing the identity token: {error}"
            ) from error
        leaf = self._certificate(identity, _proven_key(csr_pem))
        return [_pem(certificate) for certificate in (leaf, *self._authority.chain)]

    def trust_bundle(self) -> list[str]:
        """Return the PEM chain from the issuing certificate to the root."""
        return [_pem(certificate) for certificate in self._authority.chain]

    def _certificate(self, identity: Identity, key: ec.EllipticCurvePublicKey) -> x509.Certificate:
        """Return a certificate with its SCT: sign it without, log that, sign it again with."""
        builder = self._profile(identity, key)
        precertificate = builder.sign(self._authority.key, hashes.SHA256())
        try:
            scts = self._ct.add_precertificate(
                self._authority.key.public_key(), precertificate.tbs_certificate_bytes
            )
        except LogStorageError as error:
            raise RpcError(503, f"the certificate could not be logged: {error}") from error
        # Nothing else is added: without this the certificate is what was logged, byte for byte.
        value = x509.UnrecognizedExtension(_SCT_LIST, der.tlv(der.OCTET_STRING, scts))
        return builder.add_extension(value, critical=False).sign(
            self._authority.key, hashes.SHA256()
        )

    def _profile(
        self, identity: Identity, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        name: x509.GeneralName = (
            x509.UniformResourceIdentifier(identity.subject)
            if identity.is_uri
            else x509.RFC822Name(identity.subject)
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._authority.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + CERTIFICATE_LIFETIME)
            .add_extension(_SIGNING_USAGE, critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    self._authority.key.public_key()
                ),
                critical=False,
            )
            # RFC 5280 section 4.2.1.6: it is critical where the subject is empty.
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
            .add_extension(
                x509.UnrecognizedExtension(_ISSUER_V1, identity.issuer.encode()), critical=False
            )
        )
        # Fulcio's oid-info.md: from number 8 on, each extension is a DER UTF8String.
        for number, text in {8: identity.issuer, **identity.extensions}.items():
            extension = x509.UnrecognizedExtension(
                x509.ObjectIdentifier(f"{_FULCIO}.{number}"),
                der.tlv(der.UTF8_STRING, text.encode()),
            )
            builder = builder.add_extension(extension, critical=False)
        return builder


_SIGNING_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def routes(authority: CertificateAuthority) -> list[Route]:
    """Return Fulcio's endpoints, to be served at the root."""

    async def signing_cert(request: Request) -> JSONResponse:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise RpcError(
                401, "There was an error processing the credentials for this request: no token"
            )
        body = await read_body(request, RpcError, limit_bytes=_BODY_LIMIT_BYTES)
        encoded = parse(SigningRequest, body, RpcError).certificateSigningRequest
        csr = unbase64(encoded, "certificateSigningRequest", RpcError)
        chain = await run_in_threadpool(authority.issue, token.strip(), csr)
        return JSONResponse({"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}})

    async def trust_bundle(_request: Request) -> JSONResponse:
        return JSONResponse({"chains": [{"certificates": authority.trust_bundle()}]})

    async def configuration(_request: Request) -> JSONResponse:
        issuer = {"issuerUrl": ISSUER, "audience": "sigstore", "challengeClaim": "sub"}
        return JSONResponse({"issuers": [issuer]})

    return [
        Route("/api/v2/signingCert", signing_cert, methods=["POST"]),
        Route("/api/v2/trustBundle", trust_bundle),
        Route("/api/v2/configuration", configuration),
    ]


def _proven_key(csr_pem: bytes) -> ec.EllipticCurvePublicKey:
    """Return the key of a certificate signing request that was signed with it."""
    try:
        csr = x509.load_pem_x509_csr(csr_pem)
        key = csr.public_key()
        proven = csr.is_signature_valid
    except (ValueError, InvalidSignature, TypeError) as error:
        raise RpcError(400, "The certificate signing request could not be parsed") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise RpcError(400, "The public key supplied in the request is not an ECDSA P-256 key")
    if not proven:
        raise RpcError(400, "The signature supplied in the request could not be verified")
    return key


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
