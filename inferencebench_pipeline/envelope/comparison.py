"""The differences of two envelopes, by the names of their fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from inferencebench_pipeline.envelope.models import Envelope
from inferencebench_pipeline.envelope.stated_versions import EXTENSION_FIELD
from inferencebench_pipeline.untrusted import printable

MOST_NAMED: Final = 5
_NO_STATEMENT: Final = {"signature", f"{EXTENSION_FIELD}.pipeline_version"}
"""Fields about how an envelope was made; another version of the program states the same."""


def differences(before: Envelope, after: Envelope) -> list[str]:
    """Return one sentence for each field in which two envelopes state something else.

    Their signatures and the version of the program that built them are left out.
    """
    ours, theirs = (dict(_fields(each.model_dump(mode="json"))) for each in (before, after))
    return [
        f"{name} was {_value(ours, name)} and is {_value(theirs, name)}"
        for name in sorted(ours.keys() | theirs.keys())
        # Long values may differ behind the cut of their texts, and null differs from absent there.
        if _value(ours, name) != _value(theirs, name) or ours.get(name) != theirs.get(name)
    ]


def said_of(differing: list[str]) -> str:
    """Return the first few differences as one line, and how many more there are."""
    more = len(differing) - MOST_NAMED
    return "; ".join(differing[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _fields(content: object, path: str = "") -> Iterator[tuple[str, object]]:
    if path in _NO_STATEMENT:
        return
    if isinstance(content, dict) and content:
        for name, value in content.items():
            yield from _fields(value, f"{path}.{name}" if path else str(name))
    else:
        yield path, content


def _value(fields: dict[str, object], name: str) -> str:
    return printable(repr(fields[name]), 80) if name in fields else "not there"
