"""JSON that a stranger wrote, parsed within bounds; every failure is an error of the input.

Python's own parser raises ``RecursionError`` for deep nesting and ``ValueError`` for long numbers;
both are one kind here.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, TypeAlias

import orjson

from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.untrusted.text import printable

MAX_DEPTH: Final = 64
"""Levels of lists and objects; no document that this project reads comes near it."""

MAX_VALUES: Final = 1 << 21
"""Values of all kinds in one document: two bytes of text may become a hundred in memory."""

_ESCAPED_MARK: Final = re.compile(rb'\\(?:"|u0022)')
"""A quotation mark inside a text."""

Json: TypeAlias = Any
"""Plain data: objects, lists, text, numbers, booleans, None."""


class JsonDocumentError(PermanentError, ValueError):
    """A document is not JSON, or is larger or deeper than a reader may be asked to follow."""


def parse_json(data: bytes | str, *, what: str, max_bytes: int, max_depth: int = MAX_DEPTH) -> Json:
    """Return the plain data in ``data``.

    Args:
        data: UTF-8 bytes, or text.
        what: names the document in the error, such as ``the answer of http://…/models``.
        max_bytes: the largest document that is parsed.
        max_depth: the most levels of lists and objects.

    Raises:
        JsonDocumentError: it is larger, deeper, of too many values, or no JSON (RFC 8259; NaN and
            Infinity are none).
    """
    if len(data) > max_bytes:
        raise JsonDocumentError(f"{what} is larger than {max_bytes} bytes; it was not read")
    if _values(data) > MAX_VALUES:
        raise JsonDocumentError(f"{what} holds more than {MAX_VALUES} values; it was not read")
    try:
        document = json.loads(data, parse_constant=_refuse_constant)
    except RecursionError:
        raise JsonDocumentError(_too_deep(what, max_depth)) from None
    except (ValueError, OverflowError) as error:
        raise JsonDocumentError(f"{what} is not JSON: {printable(error)}") from error
    # Counting brackets is cheaper than walking, and most documents do not have so many of them.
    if _openings(data) > max_depth and _is_deeper(document, max_depth):
        raise JsonDocumentError(_too_deep(what, max_depth))
    return document


def parse_unambiguous_json(
    data: bytes,
    *,
    what: str,
    max_bytes: int,
    max_depth: int = MAX_DEPTH,
    max_values: int = MAX_VALUES,
) -> Json:
    """Return the plain data in ``data``, refusing a document that says something twice.

    For what a signature covers or a proof rests on: where readers disagree on which of two values
    counts, one document would be two. Integers beyond 64 bits come out as floats.

    Args:
        data: UTF-8 bytes.
        what: names the document in the error.
        max_bytes: the largest document that is parsed.
        max_depth: the most levels of lists and objects.
        max_values: the most values of all kinds.

    Raises:
        JsonDocumentError: a key is repeated in one object, a text is not Unicode, or it is larger,
            deeper, of too many values, or no JSON (RFC 8259; NaN and Infinity are none).
    """
    return _read(data, what, max_bytes, max_depth, max_values)[0]


def unambiguous_json_text(data: bytes, *, what: str, max_bytes: int) -> bytes:
    """Return the document in ``data`` as it was understood, written again without blanks.

    For a further reader of its own: what that makes of the text cannot differ from what was read.

    Raises:
        JsonDocumentError: as :func:`parse_unambiguous_json`.
    """
    return _read(data, what, max_bytes, MAX_DEPTH, MAX_VALUES)[1]


def _read(
    data: bytes, what: str, max_bytes: int, max_depth: int, max_values: int
) -> tuple[Json, bytes]:
    """Return the document and its compact text."""
    if len(data) > max_bytes:
        raise JsonDocumentError(f"{what} is larger than {max_bytes} bytes; it was not read")
    openings = _openings(data)
    # A value takes a byte at least, so that those of a short text need not be counted.
    if len(data) > max_values and openings + data.count(b",") > max_values:
        raise JsonDocumentError(f"{what} holds more than {max_values} values; it was not read")
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise JsonDocumentError(f"{what} is not JSON: {printable(error)}") from error
    if openings > max_depth and _is_deeper(document, max_depth):
        raise JsonDocumentError(_too_deep(what, max_depth))
    text = orjson.dumps(document)
    if not _keeps_every_text(data, text):
        _refuse_repeated_keys(data, what)
    return document, text


def _keeps_every_text(data: bytes, text: bytes) -> bool:
    """Return True where it is certain, by counting, that no key was dropped as a repeated one.

    Without an escaped quotation mark, each mark in the text begins or ends a string, and a key
    that was dropped took at least its own two along.

    Args:
        data: the document as it came.
        text: what was read of it, written again.
    """
    if _ESCAPED_MARK.search(data):
        return False
    return text.count(b'"') == data.count(b'"')


def _refuse_repeated_keys(data: bytes, what: str) -> None:
    """Raise for a repeated key; the document is what the parser before has made of it."""

    def unique(pairs: list[tuple[str, object]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise JsonDocumentError(
                    f"{what} holds the key {printable(key, 80)!r} twice, so readers may see two "
                    "documents; write each key once"
                )
            seen.add(key)

    json.loads(data, object_pairs_hook=unique, parse_int=str)


def _too_deep(what: str, max_depth: int) -> str:
    return f"{what} is nested more than {max_depth} levels deep; it was not read"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _values(data: bytes | str) -> int:
    """Return an upper bound of the number of values that costs one pass over the bytes."""
    return _openings(data) + (data.count(",") if isinstance(data, str) else data.count(b","))


def _openings(data: bytes | str) -> int:
    """Return an upper bound of the depth that costs one pass over the bytes."""
    if isinstance(data, str):
        return data.count("[") + data.count("{")
    return data.count(b"[") + data.count(b"{")


def _is_deeper(document: Json, max_depth: int) -> bool:
    # Level by level, because recursion is what a deep document would exhaust.
    level: list[Json] = [document]
    for _ in range(max_depth):
        level = [child for node in level for child in _children(node)]
        if not level:
            return False
    return any(isinstance(node, dict | list) for node in level)


def _children(node: Json) -> list[Json]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []
