"""A stranger's text made safe for a terminal, a log, a card or an error: printable and short.

Escaping for HTML or Markdown is not done here; that belongs to whoever writes those formats.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Final

DEFAULT_LIMIT: Final = 200
"""Characters of a stranger's text that one message repeats."""
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode general categories that move the cursor, reorder the line, or show nothing at all."""

_ACTING: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_REORDERING: Final = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
_UNDRAWN: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
) | {chr(code) for code in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))}
"""Letters, marks and symbols that draw nothing (Unicode's Default_Ignorable_Code_Point, and the
empty Braille pattern), which no general category tells."""
_MARKS: Final = frozenset({"Mn", "Me"})
_MOST_MARKS: Final = 3
"""Marks that may stand on one letter; more of them climb over the lines above and below."""


def printable(text: object, limit: int = DEFAULT_LIMIT) -> str:
    r"""Return ``text`` as one line that shows what it holds and cannot act on a terminal.

    White space is folded into single spaces. Control, format (bidirectional overrides among them),
    surrogate, private-use and unassigned characters become their escapes, such as ``\u202e``
    (UAX #44, general categories C*, Zl and Zp), and so do letters that draw nothing, and marks that
    are stacked higher than any script does. What is longer than ``limit`` characters is cut,
    and the cut says how many characters there were.

    Args:
        text: any value; what is no string is shown as ``str`` shows it.
        limit: the most characters of it to return.
    """
    whole = text if isinstance(text, str) else str(text)
    # Cut before it is looked at, so that a text of any length costs the same.
    shown = " ".join(whole[: limit + 1].split())
    if not shown.isascii() or not shown.isprintable():
        shown = "".join(_drawn(shown))
    if len(whole) <= limit and len(shown) <= limit:
        return shown
    return f"{shown[:limit]}… ({len(whole)} characters)"


def _drawn(text: str) -> Iterator[str]:
    """Yield each character of a line, or its escape if it acts, draws nothing, or towers."""
    stacked = 0
    for character in text:
        stacked = stacked + 1 if unicodedata.category(character) in _MARKS else 0
        if stacked > _MOST_MARKS or character in _UNDRAWN:
            yield _escape(character)
        else:
            yield _visible(character)


def visible(text: str) -> str:
    """Return ``text`` in its lines and at its length, with what hides or acts made to show.

    For whole documents and for the last place before a terminal or a page, where
    :func:`printable` would fold what is meant to have lines.
    """
    if text.isprintable():
        return text
    return "".join(character if character in "\n\t" else _visible(character) for character in text)


def controls(text: str) -> bool:
    """Return whether ``text`` holds what acts on a terminal or a line instead of being shown.

    Those are control characters, halves of surrogate pairs, line and paragraph separators, and the
    characters that reorder what is shown (UAX #9). Joiners and variation selectors are not.
    """
    if text.isascii() and text.isprintable():
        return False
    return any(
        character in _REORDERING or unicodedata.category(character) in _ACTING for character in text
    )


def _visible(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    return _escape(character)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
