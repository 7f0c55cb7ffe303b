"""Values that a stranger may put anywhere in a valid envelope, and every place to put them."""

from __future__ import annotations

import copy
import json
import unicodedata
from collections.abc import Iterator
from typing import Any, Final

from inferencebench_pipeline.envelope.canonical import EnvelopeError, parse_envelope, serialise
from inferencebench_pipeline.envelope.models import Envelope
from inferencebench_pipeline.runs.run_directory import new_run_id
from tests.corpus.world import signed

Place = tuple[str | int, ...]

NASTY: Final[dict[str, Any]] = {
    "2^63": 2**63,
    "-2^63-1": -(2**63) - 1,
    "2^64": 2**64,
    "10^400": 10**400,
    "1e308": 1e308,
    "-1e308": -1e308,
    "smallest": 5e-324,
    "not a number": float("nan"),
    "infinity": float("inf"),
    "zero": 0,
    "negative": -1,
    "half a pair": "\ud800",
    "NUL": "a\0b",
    "reordering": "a\u202eb\u2066",
    "escape": "a\x1b[31m\x1b]0;x\x07",
    "C1": "\x9b31m",
    "lines": "a\nb\rc\u2028d",
    "hidden": "a\u200b\ufeff\U000e0041",
    "100 kB": "x" * 100_000,
    "markup": "</script><img src=x onerror=alert(1)>{{7*7}}",
    "formula": "=cmd|' /C calc'!A0",
    "path": "../../../../etc/passwd",
    "year 1": "0001-01-01T00:00:00+14:00",
    "year 9999": "9999-12-31T23:59:59-14:00",
    "true": True,
    "null": None,
    "text": "1",
    "empty": "",
    "spaces": "   ",
    "empty list": [],
    "empty object": {},
    "deep": [[[[[[[[[[[[1]]]]]]]]]]]],
    "object": {"a": {"b": "\ud800"}},
}


def places(part: Any, above: Place = ()) -> Iterator[Place]:
    """Yield the path of everything in a document, objects and lists included."""
    if above:
        yield above
    if isinstance(part, dict):
        for key, value in part.items():
            yield from places(value, (*above, key))
    elif isinstance(part, list):
        for index, value in enumerate(part):
            yield from places(value, (*above, index))


def with_value(document: Any, place: Place, value: Any) -> Any:
    """Return a copy of a document with another value at a place."""
    made = copy.deepcopy(document)
    part: Any = made
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = copy.deepcopy(value)
    return made


def envelopes(document: dict[str, Any], place: Place, value: Any) -> Iterator[bytes]:
    """Yield the envelope with this value, as its signature no longer covers it and signed anew.

    Nothing is yielded where the format has no such envelope.
    """
    altered = with_value(document, place, value)
    if place != ("run_id",):
        altered["run_id"] = new_run_id()
    data = json.dumps(altered).encode()
    try:
        parse_envelope(data)
    except EnvelopeError:
        return
    yield data
    try:
        yield serialise(signed(Envelope.model_validate({**altered, "signature": None})))
    except EnvelopeError:
        return  # what our writer does not write


def acting(text: str) -> set[str]:
    """Return the characters of ``text`` that are not shown as themselves, but for line breaks."""
    return {mark for mark in set(text) - {"\n"} if unicodedata.category(mark)[0] == "C"}
