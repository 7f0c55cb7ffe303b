"""The errors of a pydantic model as sentences."""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

from inferencebench_pipeline.untrusted.text import printable

MOST_NAMED: Final = 5
"""Problems that one message names; the others are counted."""
_MESSAGE_CHARACTERS: Final = 400
_VALUE_CHARACTERS: Final = 80


def problems_of(
    error: ValidationError, *, whole: str = "the document", under: str = "", values: bool = False
) -> str:
    """Return what a model refused as one printable line, ``FIELD: MESSAGE`` for each problem.

    Args:
        error: what the model raised.
        whole: name of the whole document, for a problem that is of no single field.
        under: name of the field that holds the document, in front of each field.
        values: whether each problem quotes the value, shortened. Leave it out where a value may be
            a secret.
    """
    found = error.errors(include_url=False, include_context=False, include_input=values)
    sentences = []
    for problem in found[:MOST_NAMED]:
        field = ".".join(str(step) for step in ((under,) if under else ()) + problem["loc"])
        message = printable(problem["msg"].removeprefix("Value error, "), _MESSAGE_CHARACTERS)
        value = f" (got {shortened(problem['input'])})" if values else ""
        sentences.append(f"{printable(field) or whole}: {message}{value}")
    more = len(found) - len(sentences)
    return "; ".join(sentences) + (f"; and {more} more" if more else "")


def shortened(value: object) -> str:
    """Return a stranger's value as it is written in Python, printable and short."""
    if isinstance(value, dict):
        return f"an object with {len(value)} fields"
    if isinstance(value, str | bytes | list):
        value = value[: _VALUE_CHARACTERS + 1]  # the rest is not worth writing out
    return printable(repr(value), _VALUE_CHARACTERS)
