"""The ``Retry-After`` header of a server that may send anything in it (RFC 9110 section 10.2.3)."""

from __future__ import annotations

import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST_S: Final = 7 * 86_400.0
"""A server that asks for more is told no more of us than one that asks for a week."""
_MOST_CHARACTERS: Final = 64


def retry_after_s(value: str | None) -> float | None:
    """Return the seconds that a header's value asks to wait, from 0 to a week; None if unusable.

    Args:
        value: a number of seconds or a date; None when there is no such header.
    """
    text = (value or "").strip()[: _MOST_CHARACTERS + 1]
    if not text or len(text) > _MOST_CHARACTERS or not text.isascii():
        return None
    if text.isdigit():
        return min(float(text), LONGEST_S)
    try:
        until = parsedate_to_datetime(text)
        if until.tzinfo is None:
            until = until.replace(tzinfo=UTC)
        return min(max(0.0, until.timestamp() - time.time()), LONGEST_S)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
