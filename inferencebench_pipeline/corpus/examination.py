"""Examination of one published record: its bytes, its verdict, its card, and other faults."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import orjson
from pydantic import ValidationError

from inferencebench_pipeline.corpus.blobs import BlobError
from inferencebench_pipeline.corpus.findings import (
    FindingKind,
    finding,
    keep_first_seen,
)
from inferencebench_pipeline.corpus.inventory import (
    GONE,
    InventoryEntry,
    entries_of_days,
)
from inferencebench_pipeline.corpus.place_check import place_problems
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.corpus.verdicts import (
    VERDICTS_SCHEMA_VERSION,
    RecordLine,
    RepoVerdict,
    Rules,
)
from inferencebench_pipeline.corpus.verifier import Judge
from inferencebench_pipeline.envelope import read_unambiguous
from inferencebench_pipeline.trust import ProveFor, Verdict
from inferencebench_pipeline.untrusted import printable

_OF_THE_SIGNING = frozenset({"run_id", "timestamp", "signature"})
"""Fields of an envelope that differ when the same result is signed once more."""
_KINDS = {kind.value: kind for kind in FindingKind}


@dataclass(frozen=True)
class Subject:
    """A record to examine, and everything that what is found depends on."""

    entry: InventoryEntry
    rules: Rules

    @property
    def repo_id(self) -> str:
        """The id of the repository."""
        return self.entry.repo_id

    @cached_property
    def inputs_sha256(self) -> str:
        """Digest of all that the record's line depends on; an equal one need not be redone."""
        entry = self.entry
        inputs = (
            VERDICTS_SCHEMA_VERSION,
            entry.repo_id,
            entry.organisation,
            entry.revision,
            entry.state,
            entry.envelope_sha256,
            entry.traces_sha256,
            entry.card_json,
            entry.card_sha256,
            *self.rules,
        )
        return hashlib.sha256(orjson.dumps(inputs)).hexdigest()


class Examined(NamedTuple):
    """A record's line, and whether its verdict was taken over from the last pass."""

    line: bytes
    recognised: bool


def subjects_of_days(
    store: CorpusStore, days: Sequence[str], rules: Rules
) -> dict[str, list[Subject]]:
    """Return the records with bytes of each day, ordered by repository; days without any, too.

    Args:
        store: the store whose inventory is read.
        days: UTC dates, ISO 8601.
        rules: what the verdicts will be reached under.

    Raises:
        VerdictsError: a day is not a date.
        InventoryError: the inventory cannot be read.
    """
    found: dict[str, list[Subject]] = {}
    for day in days:
        # It refuses what is no date, before the text becomes part of a path.
        store.verdicts_path(day)
        found[day] = []
    for entry in entries_of_days(store, days):
        if entry.envelope_sha256 is not None:
            found[entry.created_day].append(Subject(entry, rules))
    return found


class Examiner:
    """Examines records of one store under one judge; each process has its own."""

    def __init__(self, store: CorpusStore, judge: Judge) -> None:
        self._blobs = store.blobs()
        self._judge = judge

    @cached_property
    def _prove(self) -> ProveFor:
        # Opened at the first record that needs it; a pass that recognises everything opens none.
        return self._judge.open()

    def bytes_are_sound(self, subject: Subject) -> bool:
        """Return whether the stored files still are what their names promise."""
        try:
            for sha256 in _files_of(subject.entry):
                self._blobs.check(sha256)
        except BlobError:
            return False
        return True

    def examine(self, subject: Subject, line_before: bytes | None, again: bool) -> Examined:
        """Return the record's new line.

        Args:
            subject: the record.
            line_before: what the last pass wrote about this repository. A verdict on the same
                bytes under the same rules is taken from it, and the instants things were first
                seen at.
            again: reach the verdict anew in any case.
        """
        entry, now = subject.entry, datetime.now(UTC)
        before = _read(line_before)
        known = before.judged if before else None
        recognised = not again and known is not None and _same_question(known, subject)
        # Opened outside: that the rules cannot be read is no fault of the record.
        prove = None if recognised else self._prove
        try:
            # A record that is recognised has its bytes hashed again, and no check made again.
            envelope = self._blobs.get(entry.envelope_sha256 or "")
            traces = self._traces(entry)
            card = None if entry.card_sha256 is None else self._blobs.get(entry.card_sha256)
            if known is not None and prove is None:
                # The verdict is on the bytes, which another commit may hold now.
                judged = known.model_copy(update={"revision": entry.revision})
            else:
                judged = _judged(prove or self._prove, entry, envelope, traces, known, now)
                if isinstance(traces, Path) and not judged.verdict.ok:
                    # What changed after it was hashed is the disk's fault, and not the record's.
                    self._traces(entry)
            problems = _problems(subject, envelope, card, judged.verdict)
            return Examined(_line(subject, judged, problems, before, now), recognised)
        except BlobError as error:
            detail = "; ".join(self._put_aside(entry)) or str(error)
            damaged = [(FindingKind.BLOB_DAMAGED, detail)]
            return Examined(_line(subject, None, damaged, before, now), recognised=False)
        # Whatever a record makes the code raise is about this record; the others do not wait.
        except Exception as error:
            said = f"it cannot be examined: {type(error).__name__}: {printable(error)}"
            refused = [(FindingKind.REJECTED, said)]
            return Examined(_line(subject, None, refused, before, now), recognised=False)

    def _traces(self, entry: InventoryEntry) -> Path | bytes | None:
        return None if entry.traces_sha256 is None else self._blobs.checked(entry.traces_sha256)

    def _put_aside(self, entry: InventoryEntry) -> Iterator[str]:
        """Make room for the bytes that the next crawl fetches; yield a sentence for each file."""
        for sha256 in _files_of(entry):
            if aside := self._blobs.put_aside_if_damaged(sha256):
                yield (
                    f"blob {sha256} is not what its name promises; put aside as {aside.name}, the "
                    "next crawl fetches it again"
                )


def _files_of(entry: InventoryEntry) -> Iterator[str]:
    """Yield the digest of each stored file of a record."""
    for sha256 in (entry.envelope_sha256, entry.traces_sha256, entry.card_sha256):
        if sha256 is not None:
            yield sha256


def _judged(
    prove: ProveFor,
    entry: InventoryEntry,
    envelope: bytes,
    traces: Path | bytes | None,
    known: RepoVerdict | None,
    now: datetime,
) -> RepoVerdict:
    verdict, checkpoint, content_sha256 = prove(envelope, traces, entry.organisation)
    unchanged = known is not None and known.verdict == verdict
    return RepoVerdict(
        repo_id=entry.repo_id,
        organisation=entry.organisation,
        revision=entry.revision,
        envelope_sha256=entry.envelope_sha256 or "",
        traces_sha256=entry.traces_sha256,
        # The old instant stays, so that verifying again leaves the file as it is.
        verified_at=known.verified_at if known and unchanged else now,
        checkpoint=checkpoint,
        verdict=verdict,
        # A record that was not accepted claims no run.
        content_sha256=content_sha256 if verdict.ok else None,
        body_sha256=_body_sha256(envelope) if verdict.ok and traces is None else None,
    )


def _line(
    subject: Subject,
    judged: RepoVerdict | None,
    problems: Iterable[tuple[FindingKind, str]],
    before: RecordLine | None,
    now: datetime,
) -> bytes:
    entry = subject.entry
    findings = [
        finding(kind, entry.repo_id, entry.revision, detail, now) for kind, detail in problems
    ]
    return RecordLine(
        inputs_sha256=subject.inputs_sha256,
        repo_id=entry.repo_id,
        judged=judged,
        findings=tuple(keep_first_seen(findings, before.findings if before else ())),
    ).sealed()


def _read(line: bytes | None) -> RecordLine | None:
    """Return what the last pass wrote; nothing where it is not what this version writes."""
    try:
        return None if line is None else RecordLine.model_validate_json(line)
    except ValidationError:
        return None


def _problems(
    subject: Subject, envelope: bytes, card: bytes | None, verdict: Verdict
) -> Iterator[tuple[FindingKind, str]]:
    """Yield everything wrong with a record whose bytes are here."""
    entry = subject.entry
    if not verdict.ok:
        yield _KINDS.get(verdict.failure_class or "", FindingKind.REJECTED), verdict.reason
    # What a rejected record says is not believed, so that nothing can disagree with it.
    if entry.state not in GONE and verdict.signature_holds:
        yield from place_problems(entry, envelope, card, verified=verdict.ok)


def _same_question(known: RepoVerdict, subject: Subject) -> bool:
    """Return whether a verdict is on the very bytes, in the very place, under the very rules."""
    entry = subject.entry
    return known.has_marks and (
        known.repo_id,
        known.organisation,
        known.envelope_sha256,
        known.traces_sha256,
        Rules.of(known.verdict),
    ) == (
        entry.repo_id,
        entry.organisation,
        entry.envelope_sha256,
        entry.traces_sha256,
        subject.rules,
    )


def _body_sha256(envelope: bytes) -> str:
    """Return the digest of all that a record says but its run id, its date and its signature.

    For records without traces, whose numbers are all that could be recognised. It is taken over
    what the verifier reads, so that blanks around a text make no other record.

    Raises:
        EnvelopeError: the bytes are no envelope that could have been accepted.
    """
    said = read_unambiguous(envelope).envelope.model_dump(mode="json", exclude={*_OF_THE_SIGNING})
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
