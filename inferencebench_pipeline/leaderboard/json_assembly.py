"""``leaderboard.json``, put together from parts most of which the last build's already holds.

A part that did not change is passed on as a view into the last document: of tens of megabytes,
nothing is parsed, and each byte is copied once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import orjson

Part: TypeAlias = bytes | memoryview
"""A piece of JSON."""


class Assembly:
    """A JSON object in the making, which knows where its parts lie."""

    def __init__(self, head: Mapping[str, Any]) -> None:
        """Begin the object with the members of ``head``, at least one."""
        self._parts: list[Part] = []
        self._size = 0
        self._add(orjson.dumps(head)[:-1])

    def add_list(self, name: str, items: Iterable[tuple[Part, ...]]) -> list[int]:
        """Append a list, a line for each item, and return where each item begins.

        Args:
            name: of the member; plain letters.
            items: each in pieces that make one JSON value together.
        """
        starts: list[int] = []
        self._add(b',\n"%s":[' % name.encode())
        for pieces in items:
            self._add(b",\n" if starts else b"\n")
            starts.append(self._size)
            for piece in pieces:
                self._add(piece)
        self._add(b"\n]" if starts else b"]")
        return starts

    def whole(self) -> bytes:
        """Return the whole document."""
        return b"".join((*self._parts, b"}\n"))

    def _add(self, part: Part) -> None:
        self._parts.append(part)
        self._size += len(part)
