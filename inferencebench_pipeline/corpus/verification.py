"""Re-verification of what is published, day by day, from the stored bytes alone.

A verdict is about bytes, a namespace and the rules it was reached under. Bytes that were already
judged under the same rules are recognised; nothing is verified twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from inferencebench_pipeline.corpus.blobs import BlobError
from inferencebench_pipeline.corpus.cards import card_differences
from inferencebench_pipeline.corpus.findings import (
    Finding,
    FindingKind,
    Severity,
    finding,
    keep_first_seen,
)
from inferencebench_pipeline.corpus.inventory import (
    GONE,
    Inventory,
    InventoryEntry,
    RepoState,
    corpus_blobs,
)
from inferencebench_pipeline.envelope.canonical import EnvelopeError, parse_envelope
from inferencebench_pipeline.envelope.extension import TRACES_FILE
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.runs import write_atomically
from inferencebench_pipeline.trust.verdict import Verdict

VERDICTS_SCHEMA_VERSION = "1"

Verify = Callable[[bytes, bytes | None, str], Verdict]
"""Judges envelope bytes, with the traces when there are any, published under an organisation."""


class VerdictsError(PermanentError):
    """A day is not a date, or its stored verdicts cannot be read."""


class Rules(NamedTuple):
    """What a verdict depends on besides the bytes and the namespace."""

    verifier_version: str
    policy_sha256: str
    trust_root_sha256: str

    @classmethod
    def of(cls, verdict: Verdict) -> Rules:
        """Return the rules a verdict was reached under."""
        return cls(verdict.verifier_version, verdict.policy_sha256, verdict.trust_root_sha256)


class RepoVerdict(BaseModel):
    """The verdict on one repository's bytes, and when it was first reached."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repo_id: str
    organisation: str
    revision: str
    envelope_sha256: str
    traces_sha256: str | None
    verified_at: AwareDatetime
    verdict: Verdict

    @property
    def outcome(self) -> str:
        """The verdict in one word."""
        return self.verdict.outcome

    @property
    def reason(self) -> str:
        """The verdict in one sentence."""
        return self.verdict.reason


class DayVerdicts(BaseModel):
    """All verdicts on the repositories created on one day: ``corpus/verdicts/<day>.json``.

    Nothing in it changes when nothing changed: verifying a day again under the same rules writes
    the same bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: str = VERDICTS_SCHEMA_VERSION
    day: str
    entries: tuple[RepoVerdict, ...] = ()
    findings: tuple[Finding, ...] = ()
    recognised: int = Field(default=0, exclude=True)
    """How many verdicts this pass took over instead of reaching anew."""

    @classmethod
    def load(cls, store_root: Path, day: str) -> DayVerdicts:
        """Return the stored verdicts of ``day``; an empty document when there are none.

        Raises:
            VerdictsError: ``day`` is not a date, or the file is not what this version writes.
        """
        path = verdicts_path(store_root, day)
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return cls(day=day)
        except (OSError, ValidationError) as error:
            raise VerdictsError(
                f"cannot read the verdicts {path}: {error}; delete the file and verify the day "
                "again"
            ) from error

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
    return store_root / "corpus" / "verdicts" / f"{day}.json"


def days(store_root: Path) -> list[str]:
    """Return the days on which a known repository was created, oldest first."""
    return Inventory.load(store_root).days()


def verify_day(
    store_root: Path, day: str, verify: Verify, *, rules: Rules | None = None
) -> DayVerdicts:
    """Verify every record whose repository was created on ``day``, and store the verdicts.

    Args:
        store_root: the store whose ``corpus/`` is read and written.
        day: UTC date, ISO 8601.
        verify: judges one record; the same rules for all of a day.
        rules: what ``verify`` judges by, when known beforehand. Otherwise they are learnt from the
            first record, which is therefore verified each time.

    Returns:
        The day's verdicts and findings, failed records included. A record that fails is a finding,
        never an exception.

    Raises:
        VerdictsError: ``day`` is not a date, or the stored verdicts are unreadable.
    """
    before = DayVerdicts.load(store_root, day)
    inventory = Inventory.load(store_root)
    work = _Day(store_root, verify, before, rules)
    for entry in inventory.entries:
        if entry.created_day == day:
            work.judge(entry)
    repeated = _duplicates(inventory.entries, day, work.now)
    result = DayVerdicts(
        day=day,
        entries=tuple(work.entries),
        findings=tuple(keep_first_seen([*work.findings, *repeated], before.findings)),
        recognised=work.recognised,
    )
    write_atomically(verdicts_path(store_root, day), result.model_dump_json(indent=2).encode())
    return result


class _Day:
    """One pass over a day's records."""

    def __init__(
        self, store_root: Path, verify: Verify, before: DayVerdicts, rules: Rules | None
    ) -> None:
        self._blobs = corpus_blobs(store_root)
        self._verify = verify
        self._before = {_subject(item): item for item in before.entries}
        self._rules = rules
        self.now = datetime.now(UTC)
        self.entries: list[RepoVerdict] = []
        self.findings: list[Finding] = []
        self.recognised = 0

    def judge(self, entry: InventoryEntry) -> None:
        """Record the verdict on an entry that has bytes, and everything wrong with it."""
        if entry.envelope_sha256 is None:
            return
        try:
            envelope = self._blobs.get(entry.envelope_sha256)
            known = self._recognise(entry)
            item = known or self._verified(entry, entry.envelope_sha256, envelope)
        except BlobError as error:
            self._note(FindingKind.BLOB_DAMAGED, entry, str(error))
            return
        self.entries.append(item)
        if entry.traces_sha256 is None and _binds_traces(envelope):
            detail = f"the envelope binds {TRACES_FILE}, the repository does not hold it"
            self._note(FindingKind.TRACES_MISSING, entry, detail)
        if not item.verdict.ok:
            self._note(_kind(item.verdict), entry, item.verdict.reason)
        if entry.state not in GONE:
            for detail in card_differences(entry.card_json, envelope, item.verdict):
                self._note(FindingKind.CARD_DISAGREES, entry, detail)

    def _recognise(self, entry: InventoryEntry) -> RepoVerdict | None:
        item = self._before.get(_subject(entry))
        if item is None or self._rules is None or Rules.of(item.verdict) != self._rules:
            return None
        self.recognised += 1
        return item.model_copy(update={"revision": entry.revision})

    def _verified(self, entry: InventoryEntry, sha256: str, envelope: bytes) -> RepoVerdict:
        traces = None if entry.traces_sha256 is None else self._blobs.get(entry.traces_sha256)
        verdict = self._verify(envelope, traces, entry.organisation)
        self._rules = self._rules or Rules.of(verdict)
        item = RepoVerdict(
            repo_id=entry.repo_id,
            organisation=entry.organisation,
            revision=entry.revision,
            envelope_sha256=sha256,
            traces_sha256=entry.traces_sha256,
            verified_at=self.now,
            verdict=verdict,
        )
        known = self._before.get(_subject(entry))
        same = known is not None and known.verdict == verdict
        return (
            item.model_copy(update={"verified_at": known.verified_at}) if same and known else item
        )

    def _note(self, kind: FindingKind, entry: InventoryEntry, detail: str) -> None:
        self.findings.append(finding(kind, entry.repo_id, entry.revision, detail, self.now))


def _binds_traces(envelope_bytes: bytes) -> bool:
    """Return whether an envelope names the traces its metrics come from.

    Such a record is only complete with them: a verdict without traces has skipped the metrics.
    """
    try:
        return TRACES_FILE in parse_envelope(envelope_bytes).distributions
    except EnvelopeError:
        return False


def _subject(item: InventoryEntry | RepoVerdict) -> tuple[str, str, str | None, str | None]:
    """Return what a verdict is about: where the bytes are, under whose name, and which bytes."""
    return (item.repo_id, item.organisation, item.envelope_sha256, item.traces_sha256)


def _kind(verdict: Verdict) -> FindingKind:
    known = {kind.value: kind for kind in FindingKind}
    return known.get(verdict.failure_class or "", FindingKind.REJECTED)


def _duplicates(entries: Iterable[InventoryEntry], day: str, now: datetime) -> Iterator[Finding]:
    """Yield a finding per repository of ``day`` that repeats a run published before it."""
    first: dict[str, InventoryEntry] = {}
    for entry in sorted(entries, key=lambda item: (item.created_at, item.repo_id)):
        if entry.run_id is None or entry.state is not RepoState.PUBLISHED:
            continue
        original = first.setdefault(entry.run_id, entry)
        if original is not entry and entry.created_day == day:
            same = original.content_hash == entry.content_hash
            detail = (
                f"run {entry.run_id} was first published as {original.repo_id}, "
                f"with {'the same' if same else 'another'} content"
            )
            yield finding(FindingKind.DUPLICATE_RUN, entry.repo_id, entry.revision, detail, now)
