"""Timestamps: the authorities that count, and what is remembered of their certificates."""

from __future__ import annotations

import base64
import json

import pytest
from rfc3161_client import TimeStampResponse, decode_timestamp_response

from inferencebench_pipeline.sandbox.sigstore import der
from inferencebench_pipeline.trust.verify import timestamp_clock
from inferencebench_pipeline.trust.verify.timestamp_clock import TimestampClock
from tests.trust.conftest import World
from tests.trust.records import Signed


@pytest.fixture
def stamped(signed: Signed) -> tuple[TimeStampResponse, bytes]:
    """A genuine timestamp, and the signature that it is of."""
    bundle = json.loads(base64.b64decode(signed.document["signature"]["bundle"]))
    data = bundle["verificationMaterial"]["timestampVerificationData"]
    stamp = base64.b64decode(data["rfc3161Timestamps"][0]["signedTimestamp"])
    return decode_timestamp_response(stamp), base64.b64decode(
        bundle["messageSignature"]["signature"]
    )


def clock(world: World) -> TimestampClock:
    (authority,) = world.trust.trusted_root.get_timestamp_authorities()
    return TimestampClock(authority)


def test_a_timestamp_is_of_one_message_however_often_it_is_asked(
    running_world: World, stamped: tuple[TimeStampResponse, bytes]
) -> None:
    response, message = stamped
    asked = clock(running_world)
    for _ in range(2):
        assert asked.verified_time(response, message) == response.tst_info.gen_time
        assert asked.verified_time(response, message + b"x") is None


def test_nothing_is_remembered_of_large_sets_or_of_many(
    running_world: World,
    stamped: tuple[TimeStampResponse, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    response, message = stamped
    for name in ("_MOST_BYTES", "_REMEMBERED"):
        with monkeypatch.context() as patched:
            patched.setattr(timestamp_clock, name, 0)
            asked = clock(running_world)
            for _ in range(2):
                assert asked.verified_time(response, message) == response.tst_info.gen_time
                assert asked.verified_time(response, message + b"x") is None


def changed(response: TimeStampResponse, field: int, contents: list[bytes]) -> TimeStampResponse:
    """The response with other contents of one of the last fields of its SignedData."""

    def last_of(data: bytes, depth: int) -> bytes:
        tag, *_ = data
        parts = [each.raw for each in der.elements(der.only(data, tag).content)]
        if depth:
            parts[-1] = last_of(parts[-1], depth - 1)
        else:
            parts[field] = der.tlv(der.elements(parts[field])[0].tag, *contents)
        return der.tlv(tag, *parts)

    # RFC 3161 section 2.4.2, RFC 5652 section 3: a response, its token, [0], and the SignedData.
    return decode_timestamp_response(last_of(response.as_bytes(), 3))


@pytest.mark.parametrize("with_certificates", [True, False])
def test_a_timestamp_that_nobody_signed_gives_no_time(
    running_world: World, stamped: tuple[TimeStampResponse, bytes], with_certificates: bool
) -> None:
    response, message = stamped
    unsigned = changed(response, -1, [])
    if not with_certificates:
        unsigned = changed(unsigned, -2, [])
    asked = clock(running_world)
    assert asked.verified_time(response, message) is not None
    assert asked.verified_time(unsigned, message) is None


def test_a_timestamp_with_another_signature_gives_no_time(
    running_world: World, stamped: tuple[TimeStampResponse, bytes]
) -> None:
    response, message = stamped
    data = response.as_bytes()
    # The signature is the last field, and its last byte is of a number that every bit counts in.
    forged = decode_timestamp_response(data[:-1] + bytes([data[-1] ^ 1]))
    asked = clock(running_world)
    assert asked.verified_time(response, message) is not None
    assert asked.verified_time(forged, message) is None


def test_an_authority_without_a_root_above_it_gives_no_time(
    running_world: World,
    stamped: tuple[TimeStampResponse, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (authority,) = running_world.trust.trusted_root.get_timestamp_authorities()
    monkeypatch.setattr(authority, "_certificates", authority.certificates(allow_expired=True)[:1])
    assert TimestampClock(authority).verified_time(*stamped) is None
