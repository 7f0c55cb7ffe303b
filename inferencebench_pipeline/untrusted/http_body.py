"""The body of an HTTP answer, decoded piece by piece and counted while it grows.

The one coding that is understood is gzip, once: what we never asked for is not decoded. A piece of
a bomb is unpacked no further than the bound, so memory stays small whatever its ratio.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol

from inferencebench_pipeline.errors import PermanentError

# Adding 16 is how zlib is asked for the header and the checksum of gzip.
_GZIP: Final = 16 + zlib.MAX_WBITS
_PIECE_BYTES: Final = 1 << 16
_MOST_MEMBERS: Final = 64
"""Bound on the members of one gzip stream; empty ones cost time and never become a byte."""


class AnswerTooLargeError(PermanentError):
    """An answer has more bytes, in its head or its body, than its reader asked for."""


class AnswerDamagedError(Exception):
    """The body is in a coding that was not asked for, or is no whole gzip stream."""


class Decoder(Protocol):
    """Turns the bytes of the wire into those that were meant, a bounded piece at a time."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what ``data`` adds."""

    def finish(self) -> None:
        """Raise when the stream ended too early."""


class Plain:
    """The decoder of a body that is not compressed."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield ``data`` unchanged."""
        if data:
            yield data

    def finish(self) -> None:
        """Return; the length is HTTP's to check."""


class Gunzip:
    """A gzip stream (RFC 1952) of one or more members."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP)
        self._members = 1
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what ``data`` unpacks to, 64 KiB at most at a time.

        Raises:
            AnswerDamagedError: it is not gzip.
        """
        while data:
            self._begun = True
            if self._inflate.eof:
                self._next_member()
            try:
                piece = self._inflate.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise AnswerDamagedError(f"the body is no gzip stream ({error})") from error
            if piece:
                yield piece
            # The tail is what the bound on a piece held back. Unused data is the next member.
            data = self._inflate.unconsumed_tail or self._inflate.unused_data
        # Output may be left inside when all of the input is used up.
        while not self._inflate.eof and (piece := self._inflate.decompress(b"", _PIECE_BYTES)):
            yield piece

    def finish(self) -> None:
        """Return when the last member is whole.

        Raises:
            AnswerDamagedError: it was cut short.
        """
        # An answer without a body may name a coding all the same.
        if self._begun and not self._inflate.eof:
            raise AnswerDamagedError("the gzip stream of the body ends too early")

    def _next_member(self) -> None:
        self._members += 1
        if self._members > _MOST_MEMBERS:
            raise AnswerDamagedError(f"the body has more than {_MOST_MEMBERS} gzip members")
        self._inflate = zlib.decompressobj(_GZIP)


def decoder_of(headers: Mapping[str, str]) -> Decoder:
    """Return what decodes the body under ``headers``.

    Raises:
        AnswerDamagedError: it is in a coding that nobody asked for, or in several.
    """
    coding = headers.get("Content-Encoding", "").strip().lower()
    if coding in ("", "identity"):
        return Plain()
    if coding in ("gzip", "x-gzip"):
        return Gunzip()
    raise AnswerDamagedError(
        f"the body is in the content coding {coding[:40]!r}, which was not asked for"
    )


def bounded(pieces: Iterable[bytes], *, what: str, max_bytes: int) -> Iterator[bytes]:
    """Yield ``pieces`` until they are more than ``max_bytes``.

    Raises:
        AnswerTooLargeError: they are; the message names ``what``.
    """
    count = 0
    for piece in pieces:
        count += len(piece)
        if count > max_bytes:
            raise too_large(what, max_bytes)
        yield piece


def too_large(what: str, max_bytes: int) -> AnswerTooLargeError:
    """Return the error for an answer of more than ``max_bytes``."""
    return AnswerTooLargeError(
        f"{what} is larger than {max_bytes} bytes; it was not read. Is this the right address?"
    )
