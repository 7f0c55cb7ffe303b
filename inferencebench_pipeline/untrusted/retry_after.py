"""The ``Retry-After`` header of a server that may send anything in it (RFC 9110 section 10.2.3)."""

from __future__ import annotations

from typing import Final

from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

LONGEST_S: Final = 7 * 86_400.0
"""A server that asks for more is told no more of us than one that asks for a week."""
_MOST_CHARACTERS: Final = 64
_PARSER: Final = Retry(retry_after_max=int(LONGEST_S))


def retry_after_s(value: str | None) -> float | None:
    """Return the seconds that a header's value asks to wait, from 0 to a week; None if unusable.

    Args:
        value: a number of seconds or a date; None when there is no such header.
    """
    text = (value or "").strip()
    # Parsers of numbers and dates stumble over ² and other digits that are not ASCII.
    if not text or len(text) > _MOST_CHARACTERS or not text.isascii():
        return None
    try:
        return float(_PARSER.parse_retry_after(text))
    except (InvalidHeader, ValueError, TypeError, OverflowError, IndexError):
        return None  # its parser of dates raises all of these on some text
