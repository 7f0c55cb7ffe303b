"""The bounds of one HTTP answer: total time, size after decompression, and what is left to use."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferencebench_pipeline.untrusted.deadlines import ends_at_s, within
from inferencebench_pipeline.untrusted.http import (
    AnswerTooLargeError,
    Bounds,
    NoAnswerError,
    exchange,
)
from inferencebench_pipeline.untrusted.http_body import AnswerDamagedError, Gunzip
from inferencebench_pipeline.untrusted.retry_after import LONGEST_S, retry_after_s
from tests.attacks.hostile_http import Asked, HostileServer, always, plain

SMALL = Bounds(max_bytes=1_000, whole_s=5.0)


def _get(server: HostileServer, bounds: Bounds = SMALL) -> bytes:
    return exchange("GET", server.url, bounds, headers={}).body


def test_an_answer_of_exactly_the_bound_is_read() -> None:
    with HostileServer(always(plain(b"x" * 1_000))) as server:
        assert len(_get(server)) == 1_000
    with HostileServer(always(plain(b"x" * 1_001))) as server, pytest.raises(AnswerTooLargeError):
        _get(server)


def test_gzip_is_read_although_it_was_not_asked_for() -> None:
    packed = gzip.compress(b"ab") + gzip.compress(b"cd")
    with HostileServer(always(plain(packed, ("Content-Encoding", "gzip")))) as server:
        assert _get(server) == b"abcd"
        assert server.asked[0].headers["accept-encoding"] == "identity"


def test_the_size_that_counts_is_the_one_after_decompression() -> None:
    packed = gzip.compress(b"x" * 1_001)
    with (
        HostileServer(always(plain(packed, ("Content-Encoding", "gzip")))) as server,
        pytest.raises(AnswerTooLargeError),
    ):
        _get(server)


@pytest.mark.parametrize("size", [1, 2, 3, 1_000])
def test_a_gzip_stream_may_come_in_any_pieces(size: int) -> None:
    data = b"".join(number.to_bytes(4) for number in range(50_000))
    packed = gzip.compress(data)
    inflate, found = Gunzip(), b""
    for start in range(0, len(packed), size):
        found += b"".join(inflate.feed(packed[start : start + size]))
    inflate.finish()
    assert found == data


@pytest.mark.parametrize("cut", [1, 5, 12, 19])
def test_a_cut_gzip_stream_is_damaged(cut: int) -> None:
    inflate = Gunzip()
    list(inflate.feed(gzip.compress(b"abc")[:-cut]))
    with pytest.raises(AnswerDamagedError):
        inflate.finish()


def test_the_earliest_of_nested_deadlines_holds() -> None:
    with within(10.0), within(100.0):
        assert ends_at_s(1_000.0) - time.monotonic() <= 10.0
        assert ends_at_s(1.0) - time.monotonic() <= 1.0
    assert ends_at_s(1_000.0) - time.monotonic() > 900.0


def test_a_deadline_that_has_passed_sends_nothing() -> None:
    with (
        HostileServer(always(plain(b""))) as server,
        within(0.0),
        pytest.raises(NoAnswerError, match="within 0 s"),
    ):
        _get(server)
    assert not server.asked


def test_a_reader_that_takes_nothing_is_not_written_to_for_ever() -> None:
    def answer(_: Asked) -> Iterator[bytes]:
        time.sleep(600.0)
        yield b""

    began = time.monotonic()
    with HostileServer(answer) as server, pytest.raises(NoAnswerError):
        # More than the sockets on the way can hold; the server reads it, but never answers.
        exchange("POST", server.url, Bounds(1_000, 1.0), headers={}, body=b"x" * (1 << 24))
    assert time.monotonic() - began < 8.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("9" * 30, LONGEST_S),
        ("9" * 5_000, None),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_S),
        *(
            (text, None)
            for text in ("", "\u00b2", "\u0663", "-5", "+5", "1e9", "nan", "1.5", "0x1")
        ),
        *((text, None) for text in ("Mon, 99 Foo 99999 99:99:99 +9", "\0", "\x1b[2J", "()" * 20)),
    ],
)
def test_a_wait_that_is_asked_for_is_from_nothing_to_a_week(
    value: str, seconds: float | None
) -> None:
    assert retry_after_s(value) == seconds


def test_any_byte_in_a_wait_that_is_asked_for_is_only_text() -> None:
    for code in range(256):
        for text in (chr(code), f"1{chr(code)}", f"Mon, 01 Jan 2001 00:00:00 {chr(code)}"):
            assert retry_after_s(text) is None or 0.0 <= (retry_after_s(text) or 0.0) <= LONGEST_S


@given(st.text(max_size=80) | st.binary(max_size=80).map(lambda sent: sent.decode("latin-1")))
def test_property_a_wait_that_is_asked_for_never_raises(value: str) -> None:
    seconds = retry_after_s(value)
    assert seconds is None or 0.0 <= seconds <= LONGEST_S
