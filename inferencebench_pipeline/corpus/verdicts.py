"""The verdicts of the verification, a line for each record: ``corpus/verdicts/<day>.jsonl``.

A line is complete in itself and names a digest of everything it was derived from, so that a later
pass recognises it without making any check again. It ends with a digest of itself: a line that the
disk has changed is never taken for what verification found, and the next pass writes it anew.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import AwareDatetime, Field, ValidationError

from inferencebench_pipeline.corpus.findings import Finding, Severity
from inferencebench_pipeline.corpus.store import CorpusStore, VerdictsError, is_day
from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.files import read_plain
from inferencebench_pipeline.trust import VERIFIER_VERSION, Checkpoint, Verdict
from inferencebench_pipeline.untrusted import printable

VERDICTS_SCHEMA_VERSION = "4"
_SHOWN_CHARACTERS = 300
_SEAL = re.compile(rb',"line_sha256":"([0-9a-f]{64})"}')
_SEAL_BYTES = len(',"line_sha256":""}') + 64


class DamagedLineError(ValueError):
    """A line is not what was written; verifying its day again writes it anew."""


class Rules(NamedTuple):
    """The rules that a verdict depends on, besides the bytes and the namespace."""

    policy_sha256: str
    trust_root_sha256: str
    verifier_version: str = VERIFIER_VERSION

    @classmethod
    def of(cls, verdict: Verdict) -> Rules:
        """Return the rules a verdict was reached under."""
        return cls(verdict.policy_sha256, verdict.trust_root_sha256, verdict.verifier_version)


class RepoVerdict(DocumentPart):
    """The verdict on one repository's bytes, and when it was first reached."""

    repo_id: str
    """The id of the dataset repository on the Hub."""
    organisation: str
    """The organisation that publishes the record."""
    revision: str
    """The commit whose bytes were verified."""
    envelope_sha256: str
    """The SHA-256 of the envelope."""
    traces_sha256: str | None
    """The SHA-256 of the traces, null without traces."""
    verified_at: AwareDatetime
    """The time at which the verdict was first reached (UTC)."""
    checkpoint: Checkpoint | None
    """The state of the log that an accepted keyless signature's proof leads to."""
    verdict: Verdict
    """The verdict with its checks."""
    content_sha256: str | None = None
    """The digest of what the traces of an accepted record hold, however they are encoded."""
    body_sha256: str | None = None
    """The digest of what an accepted record without traces says, but for run id and date."""

    @property
    def has_marks(self) -> bool:
        """True when a good record has the digest that it is recognised by under another run id."""
        return not self.verdict.ok or (self.content_sha256 or self.body_sha256) is not None

    @property
    def outcome(self) -> str:
        """The verdict in one word."""
        return self.verdict.outcome

    @property
    def reason(self) -> str:
        """The verdict in one sentence."""
        return self.verdict.reason


class RecordLine(DocumentPart):
    """One line: the verdict on a record, absent when its bytes are lost, and what is wrong."""

    inputs_sha256: str
    """The SHA-256 of everything that the verdict rests on."""
    repo_id: str
    """The id of the dataset repository on the Hub."""
    judged: RepoVerdict | None
    """The verdict on the record, null when its bytes are lost."""
    findings: tuple[Finding, ...]
    """The findings about the record."""
    line_sha256: str | None = None
    """Digest of the line without this member; None in lines of earlier versions."""

    def sealed(self) -> bytes:
        """Return the line as it is stored, without its end."""
        # The digest is appended to the text, so that cutting it off gives back the very bytes.
        line = self.model_dump_json(exclude={"line_sha256"}).encode()
        return b'%s,"line_sha256":"%s"}' % (line[:-1], _digest_of(line))


def is_sealed(line: bytes) -> bool:
    """Return whether a line names a digest of itself; those of versions before do not."""
    return _SEAL.fullmatch(line[-_SEAL_BYTES:]) is not None


def require_sound(line: bytes) -> None:
    """Refuse a line that is not what its own digest promises.

    Raises:
        DamagedLineError: the disk has changed it.
    """
    seal = _SEAL.fullmatch(line[-_SEAL_BYTES:])
    if seal is not None and _digest_of(line[:-_SEAL_BYTES] + b"}") != seal[1]:
        raise DamagedLineError("a line is not what its digest promises")


def _digest_of(line: bytes) -> bytes:
    return hashlib.sha256(line).hexdigest().encode()


class DayVerdicts(DocumentPart):
    """All verdicts on the repositories created on one day.

    Nothing in it changes when nothing changed: verifying a day again under the same rules leaves
    the file as it is.
    """

    day: str
    """The day on which the repositories were created, as YYYY-MM-DD."""
    entries: tuple[RepoVerdict, ...] = ()
    """The verdicts on the records."""
    findings: tuple[Finding, ...] = ()
    """The findings about the records."""
    recognised: int = Field(default=0, exclude=True)
    """Number of verdicts that the last pass took over instead of reaching them anew."""

    @classmethod
    def load(cls, store: CorpusStore, day: str) -> DayVerdicts:
        """Return the stored verdicts of ``day``; an empty document when there are none.

        Raises:
            VerdictsError: ``day`` is not a date, or the file is not what this version writes.
        """
        lines = list(read_lines(store, day))
        return cls(
            day=day,
            entries=tuple(line.judged for line in lines if line.judged is not None),
            findings=tuple(item for line in lines for item in line.findings),
        )

    @property
    def verified(self) -> int:
        """Number of the day's records that are accepted."""
        return sum(entry.verdict.ok for entry in self.entries)

    @property
    def rejected(self) -> int:
        """Number of the day's records that are not accepted."""
        return len(self.entries) - self.verified

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings of severity ``error``: what blocks."""
        return tuple(item for item in self.findings if item.severity is Severity.ERROR)


def verified_days(store: CorpusStore) -> list[str]:
    """Return the days that have verdicts, oldest first; other files there are none of ours.

    Raises:
        VerdictsError: the folder cannot be read.
    """
    folder = store.verdicts_folder
    try:
        names = [path.stem for path in folder.iterdir() if path.suffix == ".jsonl"]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise VerdictsError(
            f"cannot read the folder {folder}: {error.strerror or error}; mend its permissions, or "
            "delete it and verify again"
        ) from error
    return sorted(name for name in names if is_day(name))


def raw_lines(store: CorpusStore, day: str) -> Iterator[bytes]:
    """Yield the stored lines of ``day`` as they are, without their ends.

    Raises:
        VerdictsError: ``day`` is not a date, or the file cannot be read.
    """
    path = store.verdicts_path(day)
    try:
        data = read_plain(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise unreadable(path, error) from error
    # An empty file has no lines, and split would find an empty one.
    yield from data.removesuffix(b"\n").split(b"\n") if data else ()


def sound_lines(store: CorpusStore, day: str) -> Iterator[bytes]:
    """Yield the stored lines of ``day``; each is what was written, as far as its digest tells.

    Raises:
        VerdictsError: ``day`` is not a date, the file cannot be read, or a line is damaged.
    """
    for line in raw_lines(store, day):
        try:
            require_sound(line)
        except DamagedLineError as error:
            raise unreadable(store.verdicts_path(day), error) from error
        yield line


def read_lines(store: CorpusStore, day: str) -> Iterator[RecordLine]:
    """Yield the stored lines of ``day``.

    Raises:
        VerdictsError: ``day`` is not a date, or a line is not what this version writes.
    """
    for line in sound_lines(store, day):
        try:
            yield RecordLine.model_validate_json(line)
        except ValidationError as error:
            raise unreadable(store.verdicts_path(day), error) from error


def unreadable(path: Path, error: Exception) -> VerdictsError:
    """Return the error for a file of verdicts that cannot be used."""
    problem = printable(str(error), _SHOWN_CHARACTERS)
    return VerdictsError(
        f"cannot read the verdicts {path}: {problem}; delete the file and verify the day again"
    )
