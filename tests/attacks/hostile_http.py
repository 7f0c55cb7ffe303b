"""A server that answers as no honest one does: every way of answering, whatever is asked.

``HostileServer(ANSWERS["body_drip"])`` serves one of them on loopback until it is closed. An answer
is a function of the request that yields bytes for the connection, and may sleep between them; it is
stopped when the other side goes away. Standard library only, so that any script can start one.
"""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

ESCAPES = "\x1b]0;OWNED\x07\x1b[2J\x1b[31m\u202e\u2066\u0085evil"
"""Text that takes over a terminal, or turns its text around, when it is printed as it is."""
_PAUSE_S = 0.2


@dataclass(frozen=True)
class Asked:
    """A request as it came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


Answer = Callable[[Asked], Iterable[bytes]]


class HostileServer:
    """Answers every request with ``answer``, each on a thread of its own."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self._tls = tls
        self.asked: list[Asked] = []
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    def __enter__(self) -> HostileServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        if self._tls is not None:
            try:
                connection = self._tls.wrap_socket(connection, server_side=True)
            except OSError:
                return
        with connection, suppress(OSError), connection.makefile("rb") as stream:
            while (asked := _request(stream.readline, stream.read)) is not None:
                self.asked.append(asked)
                for data in self.answer(asked):
                    if self._closing.is_set():
                        return
                    connection.sendall(data)


def _request(readline: Callable[[], bytes], read: Callable[[int], bytes]) -> Asked | None:
    method, _, rest = readline().decode("latin-1").partition(" ")
    if not rest:
        return None
    headers: dict[str, str] = {}
    while (line := readline().strip()) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return Asked(method, rest.split(" ")[0], headers, read(int(headers.get("content-length", "0"))))


def plain(
    body: bytes,
    *headers: tuple[str, str],
    status: str = "200 OK",
    content_type: str = "application/json",
) -> bytes:
    """Return a whole answer, in the form that any server sends."""
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass") + body


def always(data: bytes) -> Answer:
    """Return the answer that is ``data``, whatever is asked."""
    return lambda _: [data]


def and_gone(data: bytes) -> Answer:
    """Return the answer that is ``data`` and the end of the connection."""

    def answer(_: Asked) -> Iterator[bytes]:
        yield data
        raise ConnectionAbortedError

    return answer


def on(path: str, hostile: Answer, otherwise: Answer) -> Answer:
    """Return ``hostile`` where a request's path holds ``path``, and ``otherwise`` elsewhere."""
    return lambda asked: (hostile if path in asked.path else otherwise)(asked)


def redirect(location: str, status: str = "302 Found") -> Answer:
    """Return the answer that sends everybody to ``location``."""
    return always(plain(b"", ("Location", location), status=status))


def _for_ever(data: bytes, pause_s: float = 0.0) -> Iterator[bytes]:
    while True:
        yield data
        time.sleep(pause_s)


def _begun(*headers: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", *headers, "", ""]).encode()


def _header_drip(_: Asked) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    yield from _for_ever(b"X-A: b\r\n", _PAUSE_S)


def _status_drip(_: Asked) -> Iterator[bytes]:
    for byte in b"HTTP/1.1 200 " + b"OK" * 100_000:
        yield bytes([byte])
        time.sleep(_PAUSE_S)


def _body_drip(_: Asked) -> Iterator[bytes]:
    yield _begun("Content-Length: 400000")
    yield from _for_ever(b" ", _PAUSE_S)


def _chunk_drip(_: Asked) -> Iterator[bytes]:
    yield _begun("Transfer-Encoding: chunked")
    yield from _for_ever(b"1\r\n \r\n", _PAUSE_S)


def _trailer_drip(_: Asked) -> Iterator[bytes]:
    yield _begun("Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n"
    yield from _for_ever(b"X-A: b\r\n", _PAUSE_S)


def _interim_drip(_: Asked) -> Iterator[bytes]:
    yield from _for_ever(b"HTTP/1.1 102 Processing\r\n\r\n", _PAUSE_S)


def _interim_flood(_: Asked) -> Iterator[bytes]:
    yield from _for_ever(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 1000)


def _gzip_drip(_: Asked) -> Iterator[bytes]:
    """A gzip stream of empty blocks: bytes come, nothing is ever unpacked."""
    yield _begun("Content-Encoding: gzip", "Transfer-Encoding: chunked")
    yield b"a\r\n" + gzip.compress(b"")[:10] + b"\r\n"
    yield from _for_ever(b"5\r\n\x00\x00\x00\xff\xff\r\n", _PAUSE_S)


def _silence(_: Asked) -> Iterator[bytes]:
    time.sleep(3600.0)
    yield b""


def _endless_chunks(_: Asked) -> Iterator[bytes]:
    yield _begun("Transfer-Encoding: chunked", "Content-Type: application/json")
    yield from _for_ever(b"10000\r\n" + b" " * 65536 + b"\r\n")


def _endless_headers(_: Asked) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    yield from _for_ever(b"X-" + b"A" * 60_000 + b": b\r\n")


def _endless_until_closed(_: Asked) -> Iterator[bytes]:
    yield _begun("Connection: close")
    yield from _for_ever(b"[" * 65536)


def _bomb(_: Asked) -> Iterator[bytes]:
    """Four gigabytes of spaces in four megabytes of gzip, made as they are sent."""
    yield _begun("Content-Encoding: gzip", "Content-Type: application/json", "Connection: close")
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    for _ in range(4096):
        yield squeeze.compress(b" " * (1 << 20))
    yield squeeze.flush()


def _coded(coding: str, body: bytes) -> Answer:
    return always(plain(body, ("Content-Encoding", coding)))


def _members(_: Asked) -> Iterator[bytes]:
    """Gzip members of nothing, without end."""
    yield _begun("Content-Encoding: gzip", "Connection: close")
    yield from _for_ever(gzip.compress(b"") * 1000)


def json_text(text: str) -> Answer:
    """Return the answer of status 200 whose body is ``text``, which JSON may or may not be."""
    return always(plain(text.encode("utf-8", "surrogatepass")))


def _refusal(status: str, *headers: tuple[str, str], body: bytes = b"") -> Answer:
    return always(plain(body, *headers, status=status))


LATE: dict[str, Answer] = {
    "silence": _silence,
    "status_drip": _status_drip,
    "header_drip": _header_drip,
    "body_drip": _body_drip,
    "chunk_drip": _chunk_drip,
    "trailer_drip": _trailer_drip,
    "interim_drip": _interim_drip,
    "gzip_drip": _gzip_drip,
}
"""Answers that never end although something comes now and then."""

LARGE: dict[str, Answer] = {
    "interim_flood": _interim_flood,
    "endless_chunks": _endless_chunks,
    "endless_headers": _endless_headers,
    "endless_until_closed": _endless_until_closed,
    "announced_size": always(_begun("Content-Length: 99999999999999999999")),
    "bomb": _bomb,
    "bomb_in_a_bomb": _coded("gzip", gzip.compress(gzip.compress(b" " * (1 << 27)))),
    "gzip_members": _members,
    "long_header": always(plain(b"{}", ("X-A", "b" * 50_000))),
}
"""Answers larger than anybody would send."""

DAMAGED: dict[str, Answer] = {
    "not_http": and_gone(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "http_0_9": and_gone(b"[]"),
    "nothing": and_gone(b""),
    "short": and_gone(_begun("Content-Length: 4000") + b'{"a":'),
    "two_lengths": and_gone(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    "negative_length": and_gone(b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}"),
    "huge_chunk": and_gone(_begun("Transfer-Encoding: chunked") + b"f" * 17 + b"\r\n{}"),
    "bad_chunk": and_gone(_begun("Transfer-Encoding: chunked") + b"zz\r\n{}\r\n"),
    "unknown_transfer": and_gone(_begun("Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n"),
    "nul_in_a_header": and_gone(b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 2\r\n\r\n{}"),
    "no_status": and_gone(b"HTTP/1.1 \r\n\r\n"),
    "long_status": and_gone(b"HTTP/1.1 2000 OK\r\n\r\n"),
    "not_gzip": _coded("gzip", b"{}"),
    "cut_gzip": _coded("gzip", gzip.compress(b'{"a": 1}')[:-9]),
    "gzip_in_gzip": _coded("gzip, gzip", gzip.compress(gzip.compress(b"{}"))),
    "deflate": _coded("deflate", zlib.compress(b"{}")),
    "brotli": _coded("br", b"\x8b\x00\x80{}\x03"),
    "zstd": _coded("zstd", b"\x28\xb5\x2f\xfd\x04\x00"),
    "odd_coding": _coded("\x1b[31m", b"{}"),
}
"""Answers that are not what their own head says, or no HTTP at all."""

UNREADABLE: dict[str, Answer] = {
    "empty": json_text(""),
    "a_page": always(plain(b"<html>please log in</html>", content_type="text/html")),
    "deep": json_text("[" * 200_000),
    "deep_objects": json_text('{"a":' * 100_000 + "1" + "}" * 100_000),
    "just_too_deep": json_text("[" * 500 + "]" * 500),
    "many_lists": json_text("[" + "[]," * 5_000_000 + "[]]"),
    "many_objects": json_text("[" + "{}," * 1_300_000 + "{}]"),
    "huge_number": json_text('{"data": ' + "9" * 50_000 + "}"),
    "not_a_number": json_text('{"data": NaN}'),
    "not_utf8": always(plain(b'{"data": "\xff\xfe"}')),
    "utf16": always(plain('{"data": []}'.encode("utf-16"))),
    "cut": json_text('{"data": [{"id": "m'),
    "nul": json_text('{"data": \0}'),
}
"""Answers of status 200 that are no JSON which a reader can be asked to follow."""

REFUSALS: dict[str, Answer] = {
    "deep_refusal": _refusal("500 No", body=b"[" * 200_000),
    "list_refusal": _refusal("400 No", body=b"[1, 2]"),
    "odd_refusal": _refusal("403 No", body=b'{"error": {"a": [1]}, "errors": 5}'),
    "odd_errors": _refusal("400 No", body=b'{"errors": [5, null, {"message": {}}]}'),
    "large_refusal": _refusal("404 No", body=b"x" * 1_000_000),
    "escaped_refusal": _refusal("404 No", body=json.dumps({"error": ESCAPES}).encode()),
    "escaped_reason": _refusal(f"404 {ESCAPES}"),
    "escaped_headers": _refusal(
        "404 No", ("X-Error-Message", ESCAPES), ("X-Request-Id", ESCAPES), ("X-HF-Warning", ESCAPES)
    ),
    "retry_after_superscript": _refusal("503 No", ("Retry-After", "\u00b2")),
    "retry_after_long": _refusal("503 No", ("Retry-After", "9" * 5_000)),
    "retry_after_never": _refusal("503 No", ("Retry-After", "99999999999999999999")),
    "retry_after_past": _refusal("429 No", ("Retry-After", "Mon, 01 Jan 0001 00:00:00 GMT")),
    "retry_after_odd": _refusal("429 No", ("Retry-After", "Mon, 99 Foo 99999999999 99:99:99 +9")),
    "rate_limit_long": _refusal("429 No", ("RateLimit", '"api";r=0;t=' + "9" * 5_000)),
    "rate_limit_slow": _refusal(
        "429 No", ("RateLimit", '"api";r=0;t=1'), ("RateLimit-Policy", "q=1" * 2_500)
    ),
    "status_999": _refusal("999 No"),
    "not_modified": always(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    "switching": always(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"),
    "nowhere": always(plain(b"", status="302 Found")),
    "redirect_odd": redirect("http://[::1"),
    "redirect_odd_name": redirect("http://" + "\u00fc" * 300 + "/"),
    "redirect_escaped": redirect("http://127.0.0.1:1/" + ESCAPES),
    "redirect_to_a_file": redirect("file:///etc/passwd"),
    "redirect_to_itself": redirect("?again"),
}
"""Refusals, and redirects that lead nowhere, in forms that a reader may trip over."""

ANSWERS: dict[str, Answer] = {**LATE, **LARGE, **DAMAGED, **UNREADABLE, **REFUSALS}
