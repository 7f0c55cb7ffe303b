"""The corpus statement made: from stored verdicts, when all of them are good, and kept.

``corpus/statement/`` holds what is published: the signed bundle and the table of what it covers.
``corpus/statement/signed.jsonl`` names every statement that was ever about to be signed, so that
its log entry is one we know.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from inferencebench_pipeline.corpus.findings import Finding, Severity
from inferencebench_pipeline.corpus.inventory import Inventory, InventoryEntry, RepoState
from inferencebench_pipeline.corpus.logs import LogReport, load_reports, log_findings
from inferencebench_pipeline.corpus.verdicts import RepoVerdict, Rules, read_lines
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.runs import replaced_atomically, write_atomically
from inferencebench_pipeline.trust.statement import (
    Counts,
    Subject,
    build_statement,
    logged_digests,
)

STATEMENT_FILE: Final = "corpus_statement.sigstore.json"
TABLE_FILE: Final = "corpus.parquet"
_SHOWN = 5

Sign = Callable[[bytes], bytes]
"""Signs the bytes of a statement and returns the JSON of a Sigstore bundle."""


class CorpusNotCleanError(PermanentError):
    """Something published is not verified, or has a finding; nothing is stated about the corpus."""


@dataclass(frozen=True)
class VerifiedRecord:
    """A published record with a good verdict on its very bytes, and when that was reached."""

    entry: InventoryEntry
    verified_at: datetime


@dataclass(frozen=True)
class StatedCorpus:
    """A statement that was made."""

    folder: Path
    subjects: int
    statement_sha256: str
    signed_now: bool
    """Whether it was signed now; the one of before still holds when nothing changed."""


def statement_folder(store_root: Path) -> Path:
    """Return where the statement and its table lie."""
    return store_root / "corpus" / "statement"


def statement_files(store_root: Path) -> dict[str, Path]:
    """Return the files of the statement that was made last, by name; none before the first."""
    folder = statement_folder(store_root)
    return {
        name: folder / name for name in (STATEMENT_FILE, TABLE_FILE) if (folder / name).is_file()
    }


def verified_records(store_root: Path, organisation: str, rules: Rules) -> list[VerifiedRecord]:
    """Return everything an organisation has published, when all of it is verified.

    Raises:
        CorpusNotCleanError: a published record has no verdict under these rules, was rejected, or
            has a finding of severity error, or a log is not honest; the message names some.
        InventoryError, VerdictsError, LogStateError: what is stored cannot be read.
    """
    inventory = Inventory.load(store_root)
    published = {
        entry.repo_id: entry
        for entry in inventory.entries
        if entry.organisation == organisation and entry.state is RepoState.PUBLISHED
    }
    findings: list[Finding] = [*inventory.findings, *log_findings(store_root)]
    records: dict[str, VerifiedRecord] = {}
    for day in sorted({entry.created_day for entry in published.values()}):
        for line in read_lines(store_root, day):
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
    _require_honest_logs(load_reports(store_root))
    _require_clean(published.keys() | unread, records, findings)
    return [records[repo_id] for repo_id in sorted(records)]


def state_corpus(
    store_root: Path, organisation: str, records: list[VerifiedRecord], rules: Rules, sign: Sign
) -> StatedCorpus:
    """Sign the statement about ``records`` and keep it with its table.

    Nothing is signed again when the statement would say what the kept one says.

    Raises:
        CorpusNotCleanError: there is nothing to state.
        StoreError: it cannot be written.
    """
    if not records:
        raise CorpusNotCleanError(
            f"{organisation} has published nothing; there is nothing to state"
        )
    statement = build_statement(
        _subjects(records),
        organisation=organisation,
        policy_sha256=rules.policy_sha256,
        trust_root_sha256=rules.trust_root_sha256,
        counts=Counts(
            envelopes=len({record.entry.envelope_sha256 for record in records}),
            with_traces=sum(record.entry.traces_sha256 is not None for record in records),
            days=len({record.entry.created_day for record in records}),
        ),
        verified_at=max(record.verified_at for record in records),
    )
    folder = statement_folder(store_root)
    payload_sha256, _ = logged_digests(statement)
    signed_now = _kept_payload(folder) != statement
    if signed_now:
        _register(folder, statement)
        bundle = sign(statement)
        write_atomically(folder / STATEMENT_FILE, bundle)
    _write_table(folder, records)
    return StatedCorpus(folder, len(records), payload_sha256, signed_now)


def registered_digests(store_root: Path) -> Iterator[str]:
    """Yield the digests by which logs know the statements that were ever about to be signed."""
    try:
        lines = (statement_folder(store_root) / "signed.jsonl").read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        yield from orjson.loads(line)["logged"]


_UNREAD = frozenset({RepoState.MALFORMED, RepoState.NO_ENVELOPE, RepoState.UNREADABLE})


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


def _subjects(records: Iterable[VerifiedRecord]) -> list[Subject]:
    """Return one subject per envelope; a run that is published twice is named once."""
    found: dict[str, Subject] = {}
    for record in records:
        sha256 = record.entry.envelope_sha256 or ""
        found.setdefault(sha256, Subject(record.entry.repo_id, sha256))
    return list(found.values())


def _kept_payload(folder: Path) -> bytes | None:
    try:
        bundle = orjson.loads((folder / STATEMENT_FILE).read_bytes())
        return base64.b64decode(bundle["dsseEnvelope"]["payload"])
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError, ValueError):
        return None


def _register(folder: Path, statement: bytes) -> None:
    """Name the statement before it is signed: a crash after logging leaves no unknown entry."""
    path = folder / "signed.jsonl"
    before = path.read_bytes() if path.exists() else b""
    line = {"at": datetime.now(UTC).isoformat(), "logged": logged_digests(statement)}
    write_atomically(path, before + orjson.dumps(line) + b"\n")


def _write_table(folder: Path, records: list[VerifiedRecord]) -> None:
    entries = [record.entry for record in records]
    columns = ("repo_id", "revision", "created_day", "run_id", "envelope_sha256", "traces_sha256")
    table = pa.table({name: [getattr(entry, name) for entry in entries] for name in columns})
    with replaced_atomically(folder / TABLE_FILE) as temporary:
        pq.write_table(table, temporary, compression="zstd")
