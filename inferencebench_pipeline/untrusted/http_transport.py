"""An HTTP transport whose answers are bounded in size and in total time, head and body.

A request carries its :class:`Bounds` among its extensions; one without any is sent as httpx2 sends
it. From the first look at the connection to the last byte of the body one deadline holds: each
wait of a socket gets what is left of it, which is the only way to stop a server that sends a
header line, or a byte, every few seconds.
"""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import httpcore2
import httpx2
from httpcore2._backends.sync import SyncBackend

from inferencebench_pipeline.untrusted.deadlines import ends_at_s
from inferencebench_pipeline.untrusted.http_body import (
    AnswerDamagedError,
    Decoder,
    bounded,
    decoder_of,
    too_large,
)
from inferencebench_pipeline.untrusted.text import printable

EXTENSION: Final = "inferencebench.bounds"
"""Name of the request extension that holds the :class:`Bounds`."""
_HEAD_BYTES: Final = 1 << 18
"""Beyond the body: status line, headers, interim answers, the frames of chunks."""
_LONGEST_HEADER: Final = 8_192
_SENT_AT_ONCE: Final = 1 << 14
"""One TLS record: the time limit of each write is then what is left, not that much again."""
_CHANGED_BY_DECODING: Final = frozenset({b"content-encoding", b"content-length"})
_SocketOptions = Iterable[
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
]


@dataclass(frozen=True)
class Bounds:
    """Bounds on the time and size of one answer."""

    max_bytes: int
    """Bound on the body in bytes, after decompression."""
    whole_s: float
    """Time from the start of the connection to the last byte, in seconds."""

    def extensions(self) -> dict[str, Any]:
        """Return the request extensions that have these bounds kept."""
        return {EXTENSION: self}


class _Meter:
    """The rest of one request's time, and of the bytes that its answer may have."""

    def __init__(self, bounds: Bounds, what: str) -> None:
        self._what = what
        self._bounds = bounds
        self._ends_at_s = ends_at_s(bounds.whole_s)
        self._given_s = max(0.0, self._ends_at_s - time.monotonic())
        # Chunks of a byte have six bytes of frame each; nobody honest sends all of them like that.
        self._bytes_left = 2 * bounds.max_bytes + _HEAD_BYTES

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have the sockets that this thread waits for meanwhile keep to what is left."""
        token = _METER.set(self)
        try:
            yield
        finally:
            _METER.reset(token)

    def left_s(self) -> float:
        """Return how long the next wait may be; zero or less when the time is up."""
        return self._ends_at_s - time.monotonic()

    def note(self, count: int) -> None:
        """Take ``count`` bytes from what may still come.

        Raises:
            AnswerTooLargeError: there is nothing left.
        """
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise too_large(self._what, self._bounds.max_bytes)

    @property
    def late(self) -> str:
        """Return the sentence for when the time is up."""
        return f"the whole answer did not come within {self._given_s:.3g} s"


_METER: Final[ContextVar[_Meter | None]] = ContextVar("http_meter", default=None)


class BoundedTransport(httpx2.HTTPTransport):
    """Sends requests, and bounds the answers to those that carry :class:`Bounds`."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - those of httpx2.HTTPTransport
        super().__init__(**settings)
        # httpx2 has no argument for the backend of its connections.
        self._pool._network_backend = _Backend()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the answer to ``request``; its body is decoded, bounded and not yet read.

        Raises:
            AnswerTooLargeError: its headers, or the length that they announce.
            httpx2.TransportError: there is no answer, or none that is HTTP, in time.
        """
        bounds = request.extensions.get(EXTENSION)
        if not isinstance(bounds, Bounds):
            return super().handle_request(request)
        what = f"the answer of {printable(request.url)}"
        meter = _Meter(bounds, what)
        with meter.running():
            answer = super().handle_request(request)
        try:
            return _bounded_answer(request, answer, meter, bounds.max_bytes, what)
        except AnswerDamagedError as error:
            answer.close()
            raise httpx2.RemoteProtocolError(str(error), request=request) from error
        except BaseException:
            answer.close()
            raise


def _bounded_answer(
    request: httpx2.Request, answer: httpx2.Response, meter: _Meter, max_bytes: int, what: str
) -> httpx2.Response:
    for name, value in answer.headers.raw:
        if len(name) + len(value) > _LONGEST_HEADER:
            raise too_large(f"a header in {what}", _LONGEST_HEADER)
    announced = answer.headers.get("Content-Length", "")
    # Python refuses to read a number of thousands of digits, and twenty are too many already.
    if request.method != "HEAD" and announced.isdecimal() and int(announced[:20]) > max_bytes:
        raise too_large(what, max_bytes)
    assert isinstance(answer.stream, httpx2.SyncByteStream)
    decoder = decoder_of(answer.headers)
    return httpx2.Response(
        answer.status_code,
        headers=[
            pair for pair in answer.headers.raw if pair[0].lower() not in _CHANGED_BY_DECODING
        ],
        stream=_Body(request, answer.stream, meter, decoder, max_bytes, what),
        extensions=answer.extensions,
    )


class _Body(httpx2.SyncByteStream):
    """The decoded body of one answer."""

    def __init__(
        self,
        request: httpx2.Request,
        wire: httpx2.SyncByteStream,
        meter: _Meter,
        decoder: Decoder,
        max_bytes: int,
        what: str,
    ) -> None:
        self._request = request
        self._wire = wire
        self._meter = meter
        self._decoder = decoder
        self._max_bytes = max_bytes
        self._what = what

    def __iter__(self) -> Iterator[bytes]:
        yield from bounded(self._decoded(), what=self._what, max_bytes=self._max_bytes)

    def _decoded(self) -> Iterator[bytes]:
        try:
            for data in self._received():
                for piece in self._decoder.feed(data):
                    self._require_time()
                    yield piece
            self._decoder.finish()
        except AnswerDamagedError as error:
            raise httpx2.RemoteProtocolError(str(error), request=self._request) from error

    def _received(self) -> Iterator[bytes]:
        """Yield the bytes as they come; the meter runs only while we wait for them."""
        chunks = iter(self._wire)
        while True:
            with self._meter.running():
                data = next(chunks, None)
            if data is None:
                return
            yield data

    def _require_time(self) -> None:
        if self._meter.left_s() <= 0:
            raise httpx2.ReadTimeout(self._meter.late, request=self._request)

    def close(self) -> None:
        """Give the connection back, or close it when the body was not read to its end."""
        self._wire.close()


class _Backend(httpcore2.NetworkBackend):
    """Connections whose every wait keeps to the meter of the request that they work for."""

    def __init__(self) -> None:
        self._plain = SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: _SocketOptions | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect, in what is left."""
        meter = _METER.get()
        seconds = _wait_s(timeout, httpcore2.ConnectTimeout)
        stream = self._plain.connect_tcp(host, port, seconds, local_address, socket_options)
        # Of an address with many hosts behind it each got that long.
        if meter is not None and meter.left_s() <= 0:
            stream.close()
            raise httpcore2.ConnectTimeout(meter.late)
        return _Stream(stream)


class _Stream(httpcore2.NetworkStream):
    """A connection of :class:`_Backend`."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return the next bytes, in what is left of time and size."""
        data = self._stream.read(max_bytes, _wait_s(timeout, httpcore2.ReadTimeout))
        meter = _METER.get()
        if meter is not None:
            meter.note(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of ``buffer``, in what is left."""
        meter = _METER.get()
        if meter is None:
            self._stream.write(buffer, timeout)
            return
        for start in range(0, len(buffer), _SENT_AT_ONCE):
            piece = buffer[start : start + _SENT_AT_ONCE]
            self._stream.write(piece, _wait_s(timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        """Close the underlying transport."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        """Shake hands, in what is left; Python's handshake takes its time limit as a whole."""
        seconds = _wait_s(timeout, httpcore2.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, seconds))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - as in httpcore2
        """Return what httpcore2 wants to know of the socket."""
        return self._stream.get_extra_info(info)


def _wait_s(timeout: float | None, late: type[Exception]) -> float | None:
    """Return how long to wait: ``timeout`` or what is left to the request.

    Raises:
        Exception: ``late``, when nothing is left.
    """
    meter = _METER.get()
    if meter is None:
        return timeout
    seconds = min(math.inf if timeout is None else timeout, meter.left_s())
    if seconds <= 0:
        raise late(meter.late)
    return seconds
