"""The ranges of the index's columns, and fitting a stranger's values into them.

Texts enter the index printable and short, so that no page, table or file made of it has to think of
that again. A value that no column holds makes its record an unreadable one, and no other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.untrusted import printable

MAX_IDENTITY_CHARACTERS: Final = 500
"""Longest text that identifies, such as a model's id: a part of it would name another."""
MAX_TEXT_CHARACTERS: Final = 2000
"""Longest text that explains, such as a null metric's reason; the rest is left out."""
SMALLEST: Final = 1e-100
LARGEST: Final = 1e100
"""Numbers of either sign, zero apart, lie between these: their ratios and squares are numbers."""
MAX_METRICS: Final = 20_000
"""Most metrics of one envelope; the largest that is read holds not many more."""
_EXPLAINING: Final = frozenset(
    {"text", "null_reason", "invalid_reason", "reason", "detail", "hardware", "load_point"}
)
_RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "n": (0, 2**63 - 1),
    "position": (0, 2**31 - 1),
    "accelerators": (0, 2**63 - 1),
}


class UnfitError(PermanentError):
    """A value that no column of the index holds; the message names it."""


def fitted_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return an envelope's facts as the columns hold them.

    Raises:
        UnfitError: one cannot be held.
    """
    return {name: fitted(name, value) for name, value in facts.items()}


def fitted_metrics(
    names: Sequence[str], metrics: Sequence[tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """Return an envelope's metrics, each a tuple of values in the order of ``names``.

    Raises:
        UnfitError: one cannot be held, or two have one name once it is printable.
    """
    if len(metrics) > MAX_METRICS:
        raise UnfitError(f"it states {len(metrics)} metrics; at most {MAX_METRICS} are taken")
    key = names.index("key")
    found = []
    for metric in metrics:
        try:
            cells = tuple(fitted(name, value) for name, value in zip(names, metric, strict=True))
        except UnfitError as error:
            raise UnfitError(f"metric {printable(metric[key], 80)}: {error}") from error
        found.append(cells)
    if len({metric[key] for metric in found}) != len(found):
        raise UnfitError("two of its metrics have names that look the same")
    return found


def fitted(name: str, value: Any) -> Any:  # noqa: ANN401 - a cell
    """Return one value as the column ``name`` holds it.

    Raises:
        UnfitError: it cannot be held.
    """
    if isinstance(value, str):
        return _text(name, value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        low, high = _RANGES.get(name, (-(2**63), 2**63 - 1))
        if not low <= value <= high:
            raise UnfitError(f"{name} is {shortened(value)}, a number that no table holds")
    elif isinstance(value, float):
        _require_measure(name, value)
    return value


def shortened(number: int) -> str:
    """Return an integer in words that are short, whatever its size."""
    if abs(number) < 10**40:
        return str(number)
    return f"an integer of {number.bit_length()} bits"


def line(value: str) -> str:
    """Return an explaining text as one line that may be shown anywhere."""
    if value.isprintable() and len(value) <= MAX_TEXT_CHARACTERS:
        return value
    return printable(value, MAX_TEXT_CHARACTERS)


def _require_measure(name: str, value: float) -> None:
    """Refuse a number that is none, or so far from one that a ratio of two overflows."""
    if not math.isfinite(value):
        raise UnfitError(f"{name} is {value}, which is not a finite number")
    if value and not SMALLEST <= abs(value) <= LARGEST:
        raise UnfitError(f"{name} is {value}, which nothing that is measured can be")


def _text(name: str, value: str) -> str:
    # A printable text holds neither NUL nor half a pair, so most texts need no closer look.
    if not value.isprintable():
        _require_characters(name, value)
    if name in _EXPLAINING:
        return line(value)
    if len(value) > MAX_IDENTITY_CHARACTERS:
        raise UnfitError(
            f"{name} is a text of {len(value)} characters; at most {MAX_IDENTITY_CHARACTERS} are "
            "taken"
        )
    # Escapes make a text longer, and what identifies must not be cut for that.
    return value if value.isprintable() else printable(value, 8 * MAX_IDENTITY_CHARACTERS)


def _require_characters(name: str, value: str) -> None:
    """Refuse what is no text to a column: NUL, which ends one elsewhere, and half a character."""
    if "\0" in value:
        raise UnfitError(f"{name} holds the character NUL")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UnfitError(f"{name} holds half of a surrogate pair, which is no character") from error
