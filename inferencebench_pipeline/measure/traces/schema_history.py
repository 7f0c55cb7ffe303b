"""The versions of the schema of traces, apart from its columns, which need Arrow to be written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class SchemaVersion:
    """A version of the schema of traces, and what it began with."""

    number: int
    began_with: str
    """The difference from the version before, in a sentence."""


TRACES_SCHEMA_HISTORY: Final = (
    SchemaVersion(1, "A row for each request, with the arrival and the size of each chunk."),
    SchemaVersion(
        2,
        "The repeat that a request belongs to, the prompt tokens that were cached, the tokenizer's "
        "count, and the tokens of each chunk where the engine counts them.",
    ),
)
"""Every version, the first one first. Files of all of them are read."""

TRACES_SCHEMA_VERSION: Final = str(TRACES_SCHEMA_HISTORY[-1].number)
