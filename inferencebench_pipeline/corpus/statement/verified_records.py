"""The records that a statement covers: everything published, when all of it is verified.

Nothing is signed or kept here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from inferencebench_pipeline.corpus.findings import Finding, Severity
from inferencebench_pipeline.corpus.inventory import (
    Inventory,
    InventoryEntry,
    RepoState,
    created_days,
)
from inferencebench_pipeline.corpus.log_monitor import LogReport, load_reports, log_findings
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.corpus.verdicts import RepoVerdict, Rules, read_lines
from inferencebench_pipeline.corpus.verification import verify_days
from inferencebench_pipeline.corpus.verifier import Judge
from inferencebench_pipeline.errors import PermanentError

_UNREAD: Final = frozenset({RepoState.MALFORMED, RepoState.NO_ENVELOPE, RepoState.UNREADABLE})
_SHOWN: Final = 5


class CorpusNotCleanError(PermanentError):
    """Something published is not verified, or has a finding; nothing is stated about the corpus."""


@dataclass(frozen=True)
class VerifiedRecord:
    """A published record with a good verdict on its very bytes, and when that was reached."""

    entry: InventoryEntry
    verified_at: datetime


def verified_records(store: CorpusStore, organisation: str, rules: Rules) -> list[VerifiedRecord]:
    """Return everything an organisation has published, when all of it is verified.

    Raises:
        CorpusNotCleanError: a published record has no verdict under these rules, was rejected, or
            has a finding of severity error, or a log is not honest; the message names some.
        InventoryError, VerdictsError, LogStateError: what is stored cannot be read.
    """
    inventory = Inventory.load(store)
    published = {
        entry.repo_id: entry
        for entry in inventory.entries
        if entry.organisation == organisation and entry.state is RepoState.PUBLISHED
    }
    findings: list[Finding] = [*inventory.findings, *log_findings(store)]
    records: dict[str, VerifiedRecord] = {}
    for day in sorted({entry.created_day for entry in published.values()}):
        for line in read_lines(store, day):
            findings.extend(line.findings)
            entry = published.get(line.repo_id)
            judged = line.judged
            if entry is not None and judged is not None and _holds(judged, entry, rules):
                records[entry.repo_id] = VerifiedRecord(entry, judged.verified_at)
    unread = {
        entry.repo_id
        for entry in inventory.entries
        if entry.organisation == organisation and entry.state in _UNREAD
    }
    _require_honest_logs(load_reports(store))
    _require_clean(published.keys() | unread, records, findings)
    return [records[repo_id] for repo_id in sorted(records)]


def verified_anew(
    store: CorpusStore, organisation: str, judge: Judge, *, processes: int = 1
) -> list[VerifiedRecord]:
    """Verify every record of the corpus again from its bytes; return those of an organisation.

    The records of others are among them, since the leaderboard shows those as well. A stored line
    that says anything else than what was found now is written anew, and the index that was built
    from it is then known to be out of date.

    Args:
        store: the store.
        organisation: whose records are returned.
        judge: judges the records.
        processes: how many may share the work.

    Raises:
        CorpusNotCleanError: see :func:`verified_records`.
        InventoryError, VerdictsError, LogStateError: what is stored cannot be read.
        LockedError: another verification is not finished yet.
        StoreError: the verdicts cannot be written.
    """
    verify_days(store, created_days(store), judge, processes=processes, again=True)
    return verified_records(store, organisation, judge.rules)


def _holds(judged: RepoVerdict, entry: InventoryEntry, rules: Rules) -> bool:
    """Return whether a verdict is good, and on what is published now, under these rules."""
    return (
        judged.verdict.ok
        and Rules.of(judged.verdict) == rules
        and (judged.organisation, judged.envelope_sha256, judged.traces_sha256)
        == (entry.organisation, entry.envelope_sha256, entry.traces_sha256)
    )


def _require_honest_logs(reports: Iterable[LogReport]) -> None:
    for report in reports:
        if report.problem is not None:
            raise CorpusNotCleanError(f"the log {report.url} is not honest: {report.problem}")
        if report.not_proved_yet:
            raise CorpusNotCleanError(
                f"{report.not_proved_yet} records are not proved to be in the log {report.url} "
                "yet; examine the logs again"
            )


def _require_clean(
    present: Iterable[str], records: dict[str, VerifiedRecord], findings: Iterable[Finding]
) -> None:
    """Refuse a corpus of which not everything that is on the Hub now is in order.

    What has gone from the Hub is no subject, and its finding is no obstacle.
    """
    here = set(present)
    errors = [item for item in findings if item.severity is Severity.ERROR and item.repo_id in here]
    if errors:
        shown = "; ".join(f"{item.repo_id}: {item.kind}" for item in errors[:_SHOWN])
        raise CorpusNotCleanError(
            f"{len(errors)} findings of severity error ({shown}); nothing is stated before they "
            "are put right and verified again"
        )
    missing = sorted(here - records.keys())
    if missing:
        raise CorpusNotCleanError(
            f"{len(missing)} published records have no good verdict under the current policy, "
            f"trust root and verifier ({', '.join(missing[:_SHOWN])}); backfill "
            "corpus_verification over their days"
        )
