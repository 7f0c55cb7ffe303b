"""The timestamp authority: RFC 3161 responses over SHA-256 imprints."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from inferencebench_pipeline.sandbox.sigstore import der
from inferencebench_pipeline.sandbox.sigstore.der import oid, tlv
from inferencebench_pipeline.sandbox.sigstore.http import RestError, read_body
from inferencebench_pipeline.sandbox.sigstore.keys import Authority

_BODY_LIMIT_BYTES = 1 << 14
_SHA256 = oid("2.16.840.1.101.3.4.2.1")
_SHA256_ALGORITHM = tlv(der.SEQUENCE, _SHA256)
_ECDSA_SHA256_ALGORITHM = tlv(der.SEQUENCE, oid("1.2.840.10045.4.3.2"))
_SIGNED_DATA = oid("1.2.840.113549.1.7.2")
_TST_INFO = oid("1.2.840.113549.1.9.16.1.4")
_CONTENT_TYPE = oid("1.2.840.113549.1.9.3")
_MESSAGE_DIGEST = oid("1.2.840.113549.1.9.4")
_SIGNING_TIME = oid("1.2.840.113549.1.9.5")
_SIGNING_CERTIFICATE_V2 = oid("1.2.840.113549.1.9.16.2.47")
# The policy that Sigstore's own timestamp authority states.
_POLICY = oid("1.3.6.1.4.1.57264.2")
_UTC_TIME = 0x17
_CONTEXT_0 = 0xA0
_ACCURACY_S = 1


@dataclass(frozen=True)
class TimestampRequest:
    """The fields of a TimeStampReq that the answer needs (RFC 3161 section 2.4.1)."""

    imprint: bytes
    """The whole MessageImprint element, to be repeated in the answer."""
    nonce: bytes
    """The whole INTEGER element, empty when there is none."""
    wants_certificate: bool


def parse_request(data: bytes) -> TimestampRequest:
    """Return the request.

    Raises:
        RestError: 400, it is not a TimeStampReq, or not over SHA-256.
    """
    try:
        version, imprint, *optional = der.elements(der.only(data, der.SEQUENCE).content)
        algorithm, digest = der.elements(imprint.content)
        hash_oid = der.elements(algorithm.content)[0]
    except ValueError as error:
        raise RestError(
            400, "request is not a DER TimeStampReq (RFC 3161 section 2.4.1)"
        ) from error
    if version.raw != der.integer(1) or digest.tag != der.OCTET_STRING:
        raise RestError(400, "request is not a version 1 TimeStampReq")
    if hash_oid.raw != _SHA256 or len(digest.content) != hashlib.sha256().digest_size:
        raise RestError(400, "message imprint must be a SHA-256 digest")
    if any(field.tag not in (der.OID, der.INTEGER, der.BOOLEAN) for field in optional):
        raise RestError(400, "request extensions are not supported")
    return TimestampRequest(
        imprint=imprint.raw,
        nonce=b"".join(field.raw for field in optional if field.tag == der.INTEGER),
        wants_certificate=any(
            field.tag == der.BOOLEAN and field.content != b"\x00" for field in optional
        ),
    )


class TimestampAuthority:
    """Signs that a digest existed at the current second."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._certificate = authority.certificate.public_bytes(Encoding.DER)

    def answer(self, request: TimestampRequest, *, at: datetime | None = None) -> bytes:
        """Return a granted TimeStampResp (RFC 3161 section 2.4.2), of this time or of now."""
        now = at or datetime.now(UTC)
        info = tlv(
            der.SEQUENCE,
            der.integer(1),
            _POLICY,
            request.imprint,
            # RFC 3161 section 2.4.2: no serial number twice. So many random bits do not repeat.
            der.integer(secrets.randbits(64)),
            tlv(der.GENERALIZED_TIME, now.strftime("%Y%m%d%H%M%SZ").encode()),
            tlv(der.SEQUENCE, der.integer(_ACCURACY_S)),
            request.nonce,
        )
        granted = tlv(der.SEQUENCE, der.integer(0))
        return tlv(der.SEQUENCE, granted, self._token(info, now, request.wants_certificate))

    def _token(self, info: bytes, now: datetime, wants_certificate: bool) -> bytes:
        """Return the CMS SignedData around a TSTInfo (RFC 5652 section 5)."""
        content = tlv(der.SEQUENCE, _TST_INFO, tlv(_CONTEXT_0, tlv(der.OCTET_STRING, info)))
        signed_data = tlv(
            der.SEQUENCE,
            # RFC 5652 section 5.1: version 3, because the content is not plain data (id-data).
            der.integer(3),
            tlv(der.SET, _SHA256_ALGORITHM),
            content,
            tlv(_CONTEXT_0, self._certificate) if wants_certificate else b"",
            tlv(der.SET, self._signer_info(info, now)),
        )
        return tlv(der.SEQUENCE, _SIGNED_DATA, tlv(_CONTEXT_0, signed_data))

    def _signer_info(self, info: bytes, now: datetime) -> bytes:
        certificate = self._authority.certificate
        certificate_id = tlv(der.OCTET_STRING, hashlib.sha256(self._certificate).digest())
        attributes = der.set_of(
            _attribute(_CONTENT_TYPE, _TST_INFO),
            _attribute(_MESSAGE_DIGEST, tlv(der.OCTET_STRING, hashlib.sha256(info).digest())),
            _attribute(_SIGNING_TIME, tlv(_UTC_TIME, now.strftime("%y%m%d%H%M%SZ").encode())),
            # ESSCertIDv2 with its default hash, SHA-256 (RFC 5816)
            _attribute(
                _SIGNING_CERTIFICATE_V2,
                tlv(der.SEQUENCE, tlv(der.SEQUENCE, tlv(der.SEQUENCE, certificate_id))),
            ),
        )
        issuer_and_serial = tlv(
            der.SEQUENCE,
            certificate.issuer.public_bytes(),
            der.integer(certificate.serial_number),
        )
        # signed as a SET, carried under the implicit tag [0] (RFC 5652 section 5.4)
        carried = bytes([_CONTEXT_0]) + attributes[1:]
        signature = self._authority.key.sign(attributes, ec.ECDSA(hashes.SHA256()))
        return tlv(
            der.SEQUENCE,
            der.integer(1),
            issuer_and_serial,
            _SHA256_ALGORITHM,
            carried,
            _ECDSA_SHA256_ALGORITHM,
            tlv(der.OCTET_STRING, signature),
        )


def routes(authority: TimestampAuthority) -> list[Route]:
    """Return the one endpoint, to be served below the authority's address."""

    async def timestamp(request: Request) -> Response:
        body = await read_body(request, RestError, limit_bytes=_BODY_LIMIT_BYTES)
        answer = await run_in_threadpool(authority.answer, parse_request(body))
        return Response(answer, status_code=201, media_type="application/timestamp-reply")

    return [Route("/api/v1/timestamp", timestamp, methods=["POST"])]


def _attribute(kind: bytes, value: bytes) -> bytes:
    return tlv(der.SEQUENCE, kind, tlv(der.SET, value))
