"""Non-blocking connections that say when bytes reached this machine, plain and TLS."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import struct
import sys
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

_SO_TIMESTAMPNS: Final = 35
"""Linux: attach the kernel's receive time to every ``recvmsg`` (``SCM_TIMESTAMPNS``)."""

# The kernel's struct timespec on 64-bit Linux: seconds and nanoseconds, in native order.
_TIMESPEC: Final = struct.Struct("qq")
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(_TIMESPEC.size)

READ_BYTES: Final = 128
"""Reads are no larger than the smallest event that carries a token.

A read returns the stamp of the last segment it consumed, so a client that is a little late still
finds each event's own arrival, as long as no read spans two of them. Only a little: the kernel
may append a segment to one that still waits in the queue, and the two then share the later stamp
(``tcp_try_coalesce``; on loopback only once the first was acknowledged, some 40 ms later). The
share of chunks with the arrival of the one before them is therefore reported with every run.
"""

_TLS_READ_BYTES: Final = 16_384 + 256
"""One TLS record: the records, not our reads, decide which bytes become readable together."""


@dataclass(frozen=True)
class Endpoint:
    """The address that requests go to, which was resolved once, before the window."""

    host: str
    port: int
    path: str
    """Path prefix of the API, for example ``/v1``."""
    tls: bool
    family: socket.AddressFamily
    address: Any
    """The argument of ``socket.connect`` for this family: the engine's address, or the proxy's."""
    proxied: bool = False

    @classmethod
    def resolve(cls, base_url: str, timeout_s: float, proxy: str | None = None) -> Endpoint:
        """Return the endpoint of ``base_url`` at the first address that accepts.

        Args:
            base_url: the engine's API.
            timeout_s: how long an address has to accept a connection.
            proxy: an HTTP proxy to go through; its addresses are then the ones to connect to.

        Raises:
            OSError: the name does not resolve, or no address accepts a connection in time.
        """
        parts = urlsplit(base_url)
        tls = parts.scheme == "https"
        host = parts.hostname or ""
        port = parts.port or (443 if tls else 80)
        way = urlsplit(proxy or base_url)
        way_host, way_port = way.hostname or "", way.port or (port if proxy is None else 80)
        last: OSError = OSError(errno.EHOSTUNREACH, f"{way_host} has no address")
        found = socket.getaddrinfo(way_host, way_port, type=socket.SOCK_STREAM)
        # A name may have an address where nothing listens: localhost is often ::1 first, and many
        # engines bind 127.0.0.1 alone.
        for family, _, _, _, address in found:
            try:
                with socket.socket(family, socket.SOCK_STREAM) as probe:
                    probe.settimeout(timeout_s)
                    probe.connect(address)
            except OSError as error:
                last = error
                continue
            path = parts.path.rstrip("/")
            return cls(host, port, path, tls, family, address, proxied=proxy is not None)
        raise last

    @property
    def authority(self) -> str:
        """The ``Host`` header: the port is left out when it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def target(self) -> str:
        """The text before the route in a request line: a proxy is told the whole address."""
        plain_proxy = self.proxied and not self.tls
        return f"http://{self.authority}{self.path}" if plain_proxy else self.path

    @property
    def tunnel_request(self) -> bytes:
        """The request for a tunnel through a proxy (CONNECT, RFC 9110 section 9.3.6), if any."""
        if not (self.proxied and self.tls):
            return b""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"CONNECT {host}:{self.port} HTTP/1.1\r\nHost: {host}:{self.port}\r\n\r\n".encode()


class Connection:
    """One TCP connection, connecting until :meth:`establish` returns True."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.read_bytes = READ_BYTES
        """The most that one :meth:`receive` returns; less means that nothing more is at hand."""
        self._socket = socket.socket(endpoint.family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        # Nagle's algorithm (RFC 896) would hold the end of a large request back until the engine
        # has acknowledged what came before.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stamp_arrivals()
        self._connecting = True
        result = self._socket.connect_ex(endpoint.address)
        if result not in (0, errno.EINPROGRESS):
            self._socket.close()
            raise OSError(result, os.strerror(result))

    def _stamp_arrivals(self) -> None:
        if sys.platform != "linux":
            return  # the option is Linux's: elsewhere every read has the stamp of this process
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        except OSError:
            # Not offered here (gVisor): every read falls back to the stamp of this process.
            return

    def fileno(self) -> int:
        """Return the socket's descriptor, for epoll."""
        return self._socket.fileno()

    def establish(self) -> bool:
        """Take one step towards an established connection; True when it is.

        Raises:
            OSError: the connection was refused or lost.
        """
        result = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if result:
            raise OSError(result, os.strerror(result))
        try:
            # A socket that still connects has no error either, and no peer yet.
            self._socket.getpeername()
        except OSError as error:
            if error.errno == errno.ENOTCONN:
                return False
            raise
        self._connecting = False
        return True

    @property
    def wants_write(self) -> bool:
        """True when epoll should report that the socket takes bytes."""
        return self._connecting

    def send(self, data: bytes) -> bytes:
        """Send as much of ``data`` as the socket takes, and return what is left.

        Raises:
            OSError: the connection was lost.
        """
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            return data
        return data[sent:]

    def receive(self) -> tuple[bytes, int | None]:
        """Return the next bytes (none: end of stream) and the wall-clock ns they arrived at.

        Raises:
            BlockingIOError: nothing has arrived.
            OSError: the connection was lost.
        """
        return self._receive_stamped(self.read_bytes)

    def _receive_stamped(self, limit: int) -> tuple[bytes, int | None]:
        data, ancillary, _, _ = self._socket.recvmsg(limit, _ANCILLARY_BYTES)
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack_from(value)
                return data, seconds * 10**9 + nanoseconds
        # The first packets after the option was set may lack a stamp: the kernel switches its
        # stamping on a little later.
        return data, None

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class TlsConnection(Connection):
    """TLS over the same stamped reads: the plain bytes take the stamp of their record's read."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext) -> None:
        super().__init__(endpoint)
        self.read_bytes = _TLS_READ_BYTES
        # The library must not read the socket itself, or the kernel's stamps would be lost.
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        # The certificate is asked of the engine, whichever proxy the tunnel leads through.
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=endpoint.host)
        self._unsent = endpoint.tunnel_request
        self._tunnel_answer: bytes | None = b"" if self._unsent else None
        """The proxy's answer so far; None once the way to the engine is open."""

    def establish(self) -> bool:
        """Connect, then take tunnel and handshake as far as the bytes at hand allow."""
        if self._connecting and not super().establish():
            return False
        if not self._tunnel_open():
            return False
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                try:
                    data, _ = self._receive_stamped(_TLS_READ_BYTES)
                except BlockingIOError:
                    return False
                if not data:
                    raise ConnectionResetError(errno.ECONNRESET, "closed in handshake") from None
                self._incoming.write(data)
            else:
                self._flush()
                return True

    def _tunnel_open(self) -> bool:
        """Return whether the proxy has opened the tunnel, or there is none to open."""
        while self._tunnel_answer is not None:
            self._flush()
            try:
                data, _ = self._receive_stamped(_TLS_READ_BYTES)
            except BlockingIOError:
                return False
            self._tunnel_answer += data
            # Nothing of the engine can follow the head: in TLS the client speaks first.
            head, end, _ = self._tunnel_answer.partition(b"\r\n\r\n")
            # A proxy that never ends its head must not be read for ever.
            if not end and data and len(head) <= _TLS_READ_BYTES:
                continue
            line = head.partition(b"\r\n")[0]
            if not end or line.split(b" ")[1:2] != [b"200"]:
                raise OSError(f"the proxy opens no tunnel: {line[:100].decode(errors='replace')}")
            self._tunnel_answer = None
        return True

    @property
    def wants_write(self) -> bool:
        """True when epoll should report that the socket takes bytes."""
        return self._connecting or bool(self._unsent)

    def send(self, data: bytes) -> bytes:
        """Encrypt all of ``data``; what the socket does not take is sent by later calls."""
        if data:
            self._tls.write(data)
        self._flush()
        return b""

    def _flush(self) -> None:
        self._unsent = super().send(self._unsent + self._outgoing.read())

    def receive(self) -> tuple[bytes, int | None]:
        """Return decrypted bytes with the stamp of the read that completed their record."""
        while True:
            data, stamp = self._receive_stamped(_TLS_READ_BYTES)
            if not data:
                return b"", stamp
            self._incoming.write(data)
            plain = self._decrypt()
            if plain is not None:
                return plain, stamp

    def _decrypt(self) -> bytes | None:
        pieces: list[bytes] = []
        while True:
            try:
                piece = self._tls.read(_TLS_READ_BYTES)
            # After the engine's close_notify the socket itself reports the end of the stream.
            except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                return b"".join(pieces) or None
            pieces.append(piece)
