"""The exit codes of ``verify``, one table: a script learns from the number what was found.

The help of the command, docs/trust.md and the tests read this table; no other command adds to it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Self

from inferencebench_pipeline.trust import FailureClass, Outcome, Verdict


class ExitCode(IntEnum):
    """The result of a command, as its exit code; ``meaning`` is the sentence for people."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        """Make a code with its meaning."""
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    VERIFIED = (
        0,
        "Verified: the signature holds, and the numbers follow from the raw data that the record "
        "binds.",
    )
    """Everything holds."""
    REJECTED = 1, "Rejected: a check failed; the reason is printed."
    """A check failed."""
    WRONG_INPUT = 2, "Wrong input: the target, an option or the configuration must change."
    """Nothing was judged, because the input is wrong."""
    OUTAGE = 3, "Outage: a service did not answer; try again later."
    """Nothing was judged, because a service is down."""
    INCOMPLETE = 4, "Incomplete: nothing contradicts, but what the record binds was not there."
    """The bound traces are missing, so that the numbers were not derived again."""
    NEWER = 5, "Newer: the record names a schema or definitions later than this verifier knows."
    """A later release can judge the record."""
    PLACE_DISAGREES = (
        6,
        "Another record than the repository's name, its card or your option says.",
    )
    """The record is genuine, and the repository or its card says otherwise."""
    ROWS_DIFFER = 7, "Of a corpus: rows were left out or added against the signed statement."
    """The table has other rows than the statement."""
    ROW_NAMES_DIFFER = 8, "Of a corpus: names or revisions differ from the signed statement."
    """The table has the statement's rows under other names or revisions."""
    EMPTY = 9, "Of a corpus: there is nothing to verify."
    """The corpus has no rows."""
    STATEMENT_SUPERSEDED = (
        10,
        "Of a corpus: the statement is older than one seen before, or was made under another "
        "policy or trust root.",
    )
    """The statement is genuine, and not the one to go by."""
    PARTITIONS_DIFFER = 11, "Of a corpus: the leaderboard's files differ from the signed statement."
    """The index shows other partitions than the statement binds."""


_BY_OUTCOME: Final = {
    Outcome.VERIFIED: ExitCode.VERIFIED,
    Outcome.REJECTED: ExitCode.REJECTED,
    Outcome.INCOMPLETE: ExitCode.INCOMPLETE,
    Outcome.NEWER: ExitCode.NEWER,
}


def exit_code_of(verdict: Verdict) -> ExitCode:
    """Return the exit code that tells a verdict on one record."""
    # The record itself is good then, which a script may want to tell from a bad one.
    if verdict.failure_class == FailureClass.PLACE_DISAGREES:
        return ExitCode.PLACE_DISAGREES
    return _BY_OUTCOME[verdict.outcome]


def exit_code_lines() -> str:
    """Return the table as text with a code in each paragraph, for the help of a command."""
    # Typer prints a paragraph of an epilog as one line.
    return "\n\n".join(f"{code.value}  {code.meaning}" for code in ExitCode)
