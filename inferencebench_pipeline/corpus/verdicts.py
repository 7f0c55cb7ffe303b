"""What verification found, stored a line per record: ``corpus/verdicts/<day>.jsonl``.

A line is complete in itself and names a digest of everything it was derived from, so that a later
pass recognises it without making any check again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from inferencebench_pipeline.corpus.findings import Finding, Severity
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.trust.checkpoints import Checkpoint
from inferencebench_pipeline.trust.verdict import VERIFIER_VERSION, Verdict

VERDICTS_SCHEMA_VERSION = "2"


class VerdictsError(PermanentError):
    """A day is not a date, or its stored verdicts cannot be read."""


class Rules(NamedTuple):
    """What a verdict depends on besides the bytes and the namespace."""

    policy_sha256: str
    trust_root_sha256: str
    verifier_version: str = VERIFIER_VERSION

    @classmethod
    def of(cls, verdict: Verdict) -> Rules:
        """Return the rules a verdict was reached under."""
        return cls(verdict.policy_sha256, verdict.trust_root_sha256, verdict.verifier_version)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RepoVerdict(_Part):
    """The verdict on one repository's bytes, and when it was first reached."""

    repo_id: str
    organisation: str
    revision: str
    envelope_sha256: str
    traces_sha256: str | None
    verified_at: AwareDatetime
    checkpoint: Checkpoint | None
    """The state of the log that an accepted keyless signature's proof leads to."""
    verdict: Verdict

    @property
    def outcome(self) -> str:
        """The verdict in one word."""
        return self.verdict.outcome

    @property
    def reason(self) -> str:
        """The verdict in one sentence."""
        return self.verdict.reason


class RecordLine(_Part):
    """One line: the verdict on a record, absent when its bytes are lost, and what is wrong."""

    inputs_sha256: str
    repo_id: str
    judged: RepoVerdict | None
    findings: tuple[Finding, ...]


class DayVerdicts(_Part):
    """All verdicts on the repositories created on one day.

    Nothing in it changes when nothing changed: verifying a day again under the same rules leaves
    the file as it is.
    """

    day: str
    entries: tuple[RepoVerdict, ...] = ()
    findings: tuple[Finding, ...] = ()
    recognised: int = Field(default=0, exclude=True)
    """How many verdicts the last pass took over instead of reaching anew."""

    @classmethod
    def load(cls, store_root: Path, day: str) -> DayVerdicts:
        """Return the stored verdicts of ``day``; an empty document when there are none.

        Raises:
            VerdictsError: ``day`` is not a date, or the file is not what this version writes.
        """
        lines = list(read_lines(store_root, day))
        return cls(
            day=day,
            entries=tuple(line.judged for line in lines if line.judged is not None),
            findings=tuple(item for line in lines for item in line.findings),
        )

    @property
    def verified(self) -> int:
        """How many of the day's records are accepted."""
        return sum(entry.verdict.ok for entry in self.entries)

    @property
    def rejected(self) -> int:
        """How many of the day's records are not."""
        return len(self.entries) - self.verified

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings of severity ``error``: what blocks."""
        return tuple(item for item in self.findings if item.severity is Severity.ERROR)


def verdicts_path(store_root: Path, day: str) -> Path:
    """Return where the verdicts of ``day`` (ISO 8601, UTC) lie.

    Raises:
        VerdictsError: ``day`` is not a date such as 2026-05-18; it would become a path.
    """
    try:
        valid = date.fromisoformat(day).isoformat() == day
    except ValueError:
        valid = False
    if not valid:
        raise VerdictsError(f"day {day!r} is not a date such as 2026-05-18")
    return store_root / "corpus" / "verdicts" / f"{day}.jsonl"


def verified_days(store_root: Path) -> list[str]:
    """Return the days that have verdicts, oldest first."""
    return sorted(path.stem for path in (store_root / "corpus" / "verdicts").glob("*.jsonl"))


def raw_lines(store_root: Path, day: str) -> Iterator[bytes]:
    """Yield the stored lines of ``day`` as they are, without their ends.

    Raises:
        VerdictsError: ``day`` is not a date, or the file cannot be read.
    """
    path = verdicts_path(store_root, day)
    try:
        with path.open("rb") as lines:
            for line in lines:
                yield line.rstrip(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise unreadable(path, error) from error


def read_lines(store_root: Path, day: str) -> Iterator[RecordLine]:
    """Yield the stored lines of ``day``.

    Raises:
        VerdictsError: ``day`` is not a date, or a line is not what this version writes.
    """
    for line in raw_lines(store_root, day):
        try:
            yield RecordLine.model_validate_json(line)
        except ValidationError as error:
            raise unreadable(verdicts_path(store_root, day), error) from error


def unreadable(path: Path, error: Exception) -> VerdictsError:
    """Return the error for a file of verdicts that cannot be used."""
    return VerdictsError(
        f"cannot read the verdicts {path}: {error}; delete the file and verify the day again"
    )
