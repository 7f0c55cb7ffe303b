"""A connection with the request that is under way on it, and what its end may look like."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Callable
from dataclasses import dataclass

import httptools

from inferencebench_pipeline.measure.client.connection import Connection
from inferencebench_pipeline.measure.client.exchange import Exchange


class Answer:
    """The HTTP parser in the window: it only finds out when the answer is complete."""

    __slots__ = ("_parser", "complete", "feed", "keep_alive")

    def __init__(self) -> None:
        self.complete = False
        self.keep_alive = False
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self.feed: Callable[[bytes], object] = self._parser.feed_data
        """Takes the next bytes; raises ``httptools.HttpParserError`` when they are not HTTP."""

    def on_message_complete(self) -> None:
        """Called by the parser, which forgets ``keep-alive`` right after."""
        if self._parser is not None:
            self.keep_alive = self._parser.should_keep_alive()
        self.complete = True

    def forget_parser(self) -> None:
        """Break the cycle of parser and callbacks: nothing collects it inside the window."""
        self._parser = None
        self.feed = _feed_nothing


def _feed_nothing(data: bytes) -> None:
    """Take bytes that nobody waits for any more."""


@dataclass(slots=True)
class Lane:
    """A connection and what is happening on it."""

    connection: Connection
    connect_started_ns: int
    connected_ns: int | None = None
    served: int = 0
    exchange: Exchange | None = None
    unsent: bytes = b""
    watches_write: bool = True
    """True while epoll is told to report that the socket takes bytes."""
    answer: Answer | None = None
    received_bytes: int = 0


def wire_error(error: OSError) -> tuple[str, str]:
    """Return the error class of a connection that was not made or was lost, and what to say."""
    if isinstance(error, ConnectionRefusedError) or error.errno == errno.ECONNREFUSED:
        return "connect_refused", "nothing listens at the engine's address"
    if isinstance(error, ssl.SSLError):
        return "connection_failed", f"TLS: {error.reason or error}"
    if error.errno in (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED):
        return "connection_reset", "the engine reset the connection"
    return "connection_failed", error.strerror or str(error)
