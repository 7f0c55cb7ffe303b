from __future__ import annotations

import hashlib

import pytest
import requests
from rfc3161_client import TimestampRequestBuilder, VerifierBuilder, decode_timestamp_response
from rfc3161_client.base import HashAlgorithm

from inferencebench_pipeline.sandbox.sigstore import der
from inferencebench_pipeline.sandbox.sigstore.names import Addresses
from tests.sandbox.sigstore.serving import Client


def _post(client: Client, body: bytes) -> requests.Response:
    return requests.post(Addresses(client.base_url).tsa, data=body, timeout=10)


def test_a_timestamp_repeats_the_nonce_and_verifies(client: Client) -> None:
    request = TimestampRequestBuilder().data(b"signature").nonce(nonce=True).build()
    # the builder's default digest is SHA-512, which Sigstore clients do not use
    assert _post(client, request.as_bytes()).status_code == 400
    request = (
        TimestampRequestBuilder()
        .hash_algorithm(HashAlgorithm.SHA256)
        .data(b"signature")
        .nonce(nonce=True)
        .build()
    )
    response = decode_timestamp_response(_post(client, request.as_bytes()).content)
    (authority,) = client.trust_config.trusted_root.get_timestamp_authorities()
    leaf, root = authority.certificates(allow_expired=False)
    verifier = (
        VerifierBuilder.from_request(request).tsa_certificate(leaf).add_root_certificate(root)
    ).build()
    assert verifier.verify_message(response, b"signature")
    assert response.tst_info.nonce == request.nonce


def test_a_timestamp_without_certificate_carries_none(client: Client) -> None:
    imprint = der.tlv(
        der.SEQUENCE,
        der.tlv(der.SEQUENCE, der.oid("2.16.840.1.101.3.4.2.1"), der.NULL),
        der.tlv(der.OCTET_STRING, hashlib.sha256(b"x").digest()),
    )
    answer = _post(client, der.tlv(der.SEQUENCE, der.integer(1), imprint))
    response = decode_timestamp_response(answer.content)
    assert len(response.signed_data.certificates) == 0


@pytest.mark.parametrize(
    "body",
    [b"", b"\x30", b"\x30\x80", b"garbage", b"\x30\x03\x02\x01\x01", b"\x30\x84\xff\xff\xff\xff"],
)
def test_what_is_no_request_is_refused(client: Client, body: bytes) -> None:
    answer = _post(client, body)
    assert answer.status_code == answer.json()["code"] == 400
    assert "TimeStampReq" in answer.json()["message"]


def test_every_truncation_and_bit_flip_is_answered_without_a_server_error(client: Client) -> None:
    request = (
        TimestampRequestBuilder()
        .hash_algorithm(HashAlgorithm.SHA256)
        .data(b"signature")
        .nonce(nonce=True)
        .build()
        .as_bytes()
    )
    session = requests.Session()
    for position in range(len(request)):
        changed = bytearray(request)
        changed[position] ^= 0x80
        for body in (request[:position], bytes(changed)):
            answer = session.post(Addresses(client.base_url).tsa, data=body, timeout=10)
            assert answer.status_code in (201, 400)
