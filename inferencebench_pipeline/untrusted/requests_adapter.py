"""An adapter for ``requests`` whose answers come within a deadline as a whole, head included.

For libraries that insist on ``requests``; what we ask ourselves goes through
:mod:`inferencebench_pipeline.untrusted.http`. The sockets look at the deadline at each read, since
the time limits of ``requests`` are those of one read.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.ssl_ import create_urllib3_context

from inferencebench_pipeline.untrusted.deadlines import ends_at_s

_LONGEST_S: Final = 86_400.0


def _left_s(limit_s: float | None) -> float:
    """Return how long the next read may take.

    Raises:
        TimeoutError: no time is left.
    """
    left_s = ends_at_s(_LONGEST_S) - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("the whole answer did not come in time")
    return left_s if limit_s is None else min(limit_s, left_s)


@contextmanager
def _within_what_is_left(connection: socket.socket) -> Iterator[None]:
    """Shorten the connection's own limit on a read to what is left of the whole answer."""
    limit_s = connection.gettimeout()
    connection.settimeout(_left_s(limit_s))
    try:
        yield
    finally:
        connection.settimeout(limit_s)


class _Socket(socket.socket):
    """A plain connection, whose reads keep to the deadline."""

    def recv_into(self, *arguments: Any, **options: Any) -> int:  # noqa: ANN401 - as socket's
        """Read, in what is left."""
        with _within_what_is_left(self):
            return super().recv_into(*arguments, **options)


class _TlsSocket(ssl.SSLSocket):
    """An encrypted connection."""

    def recv_into(self, *arguments: Any, **options: Any) -> int:  # noqa: ANN401 - as SSLSocket's
        """Read, in what is left."""
        with _within_what_is_left(self):
            return super().recv_into(*arguments, **options)


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        plain = super()._new_conn()
        limit_s = plain.gettimeout()
        # The socket is urllib3's own. Its descriptor moves into one that looks at the deadline.
        bounded = _Socket(plain.family, plain.type, plain.proto, fileno=plain.detach())
        # A new socket object has no time limit, whatever the descriptor had before.
        bounded.settimeout(limit_s)
        return bounded


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class DeadlineAdapter(HTTPAdapter):
    """Sends as ``requests`` does; whoever calls it sets the deadline with ``within``."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - requests'
        """Make the pools of connections that keep to a deadline."""
        context = create_urllib3_context()
        # The ssl module makes its sockets of this class, so they need no moving.
        context.sslsocket_class = _TlsSocket
        super().init_poolmanager(*arguments, ssl_context=context, **options)
        assert isinstance(self.poolmanager, PoolManager)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": HTTPSConnectionPool}
