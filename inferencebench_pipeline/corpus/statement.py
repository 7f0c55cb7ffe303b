"""The corpus statement: it is made when everything that is published is verified, and kept.

The stored verdicts say whether there is anything new to state. Before anything is signed, each
record is verified again from its bytes: a line on a disk is no reason to sign.

``corpus/statement/`` holds what is published: the signed bundle and the table of what it covers.
``corpus/statement/signed.jsonl`` names every statement that was ever about to be signed, so that
its log entry is one we know.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

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
from inferencebench_pipeline.files import (
    is_as_written,
    read_plain,
    read_twice,
    restore,
    write_atomically,
    write_twice,
)
from inferencebench_pipeline.trust import (
    TABLE_FILE,
    CorpusRow,
    build_statement,
    logged_digests,
)

STATEMENT_FILE: Final = "corpus_statement.sigstore.json"
STATEMENT_FILES: Final = (STATEMENT_FILE, TABLE_FILE)
"""The files of a statement in the dataset of the index."""
_SHOWN = 5

Sign = Callable[[bytes], bytes]
"""Signs the bytes of a statement and returns the JSON of a Sigstore bundle."""


Holds = Callable[[bytes], bool]
"""Says whether a bundle's signature holds."""
Published = Callable[[], bytes | None]
"""Returns the bundle that is on the Hub; None where there is none."""


class StatementStateError(PermanentError):
    """The records of earlier statements cannot be read."""


class CorpusNotCleanError(PermanentError):
    """Something published is not verified, or has a finding; nothing is stated about the corpus."""


@dataclass(frozen=True)
class VerifiedRecord:
    """A published record with a good verdict on its very bytes, and when that was reached."""

    entry: InventoryEntry
    verified_at: datetime


@dataclass(frozen=True)
class CorpusDraft:
    """What a statement will say, before anything is signed."""

    organisation: str
    """Whose corpus it is."""
    records: list[VerifiedRecord]
    """Everything that it has published."""
    rules: Rules
    """What the records were verified under."""
    index: Mapping[str, str]
    """The SHA-256 of each file of the leaderboard, by its path in the published dataset."""

    @property
    def rows(self) -> list[CorpusRow]:
        """The rows of the table, ordered by repository."""
        return [
            CorpusRow(
                repo_id=record.entry.repo_id,
                revision=record.entry.revision,
                created_day=record.entry.created_day,
                run_id=record.entry.run_id,
                envelope_sha256=record.entry.envelope_sha256 or "",
                traces_sha256=record.entry.traces_sha256,
            )
            for record in self.records
        ]

    def statement(self) -> bytes:
        """Return the exact bytes to sign.

        Raises:
            CorpusNotCleanError: there is nothing to state.
        """
        if not self.records:
            raise CorpusNotCleanError(
                f"{self.organisation} has published nothing; there is nothing to state"
            )
        return build_statement(
            self.rows,
            self.index,
            organisation=self.organisation,
            policy_sha256=self.rules.policy_sha256,
            trust_root_sha256=self.rules.trust_root_sha256,
            # The newest verdict and no clock, so that the same corpus gives the same statement.
            verified_at=max(record.verified_at for record in self.records),
        )


@dataclass(frozen=True)
class StatedCorpus:
    """A statement that was made."""

    folder: Path
    subjects: int
    statement_sha256: str
    signed_now: bool
    """True when it was signed now. The last one still holds when nothing changed."""


def statement_files(store: CorpusStore) -> dict[str, Path]:
    """Return the files of the statement that was made last, by name; none before the first."""
    folder = store.statement_folder
    # What is damaged must not be published over what is good.
    return {name: folder / name for name in STATEMENT_FILES if restore(folder / name)}


def stated_index(store: CorpusStore) -> dict[str, str] | None:
    """Return the SHA-256 of the leaderboard's files that the kept statement names, by their paths.

    The signature is not looked at. None where there is no statement, or none that names any.
    """
    bundle = _kept_bundle(store.statement_folder)
    try:
        corpus = orjson.loads(_payload(bundle or b""))["predicate"]["inferencebench_corpus"]
        return {file["name"]: file["digest"]["sha256"] for file in corpus["index"]}
    except (ValueError, LookupError, TypeError):
        return None


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


def state_corpus(
    store: CorpusStore,
    draft: CorpusDraft,
    sign: Sign,
    *,
    anew: Callable[[], CorpusDraft],
    holds: Holds = lambda _bundle: True,
    published: Published = lambda: None,
) -> StatedCorpus:
    """Sign the statement that ``draft`` makes and keep it with its table.

    Nothing is signed again when the statement would say what the kept one says, or, where that is
    lost or damaged, the published one. Otherwise ``draft``, which rests on stored verdicts, only
    says that there is something to sign, and what is signed is the draft that ``anew`` returns.

    Args:
        store: the store.
        draft: what is to be stated, according to what is stored.
        sign: signs it.
        anew: verifies each record again (:func:`verified_anew`) and drafts the statement from that.
        holds: whether a kept signature is still one.
        published: fetches the bundle of the last statement.

    Raises:
        CorpusNotCleanError: there is nothing to state.
        StatementStateError: what is kept about earlier statements cannot be read.
        StoreError: it cannot be written.
    """
    folder = store.statement_folder
    statement = draft.statement()
    kept = _kept_bundle(folder)
    signed_now = False
    if kept is None or not _states(kept, statement) or not holds(kept):
        # What is lost here is fetched back first, since each signature is in a public log for ever.
        kept = published()
        if kept is None or not _states(kept, statement) or not holds(kept):
            draft = anew()
            statement = draft.statement()
            _register(folder, statement)
            kept, signed_now = sign(statement), True
        write_twice(folder / STATEMENT_FILE, kept)
    elif not is_as_written(folder / STATEMENT_FILE):
        write_twice(folder / STATEMENT_FILE, kept)
    _write_table(folder, draft.rows)
    return StatedCorpus(folder, len(draft.records), logged_digests(statement)[0], signed_now)


def registered_digests(store: CorpusStore) -> Iterator[str]:
    """Yield the digests by which logs know the statements that were ever about to be signed.

    Raises:
        StatementStateError: what is kept about them cannot be read.
    """
    path = store.statement_folder / "signed.jsonl"
    try:
        lines = read_plain(path).splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unreadable_register(path, error.strerror or str(error)) from error
    for number, line in enumerate(lines, start=1):
        try:
            logged = orjson.loads(line)["logged"]
            yield from (str(digest) for digest in logged)
        except (ValueError, KeyError, TypeError) as error:
            raise _unreadable_register(path, f"line {number} is not ours") from error


def stated_bundle(store: CorpusStore) -> bytes:
    """Return the kept statement's bundle.

    Raises:
        StatementStateError: there is none that can be read.
    """
    path = store.statement_folder / STATEMENT_FILE
    try:
        return read_twice(path)
    except OSError as error:
        raise StatementStateError(
            f"cannot read {path}: {error.strerror or error}; materialise corpus_statement again"
        ) from error


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


def _kept_bundle(folder: Path) -> bytes | None:
    try:
        return read_twice(folder / STATEMENT_FILE)
    except OSError:
        return None


def _states(bundle: bytes | None, statement: bytes) -> bool:
    """Return whether a bundle is about exactly this statement; its signature is not looked at."""
    try:
        return bundle is not None and _payload(bundle) == statement
    except (ValueError, LookupError, TypeError):
        return False


def _payload(bundle: bytes) -> bytes:
    """Return the statement in a bundle of ours, as it was signed."""
    return base64.b64decode(orjson.loads(bundle)["dsseEnvelope"]["payload"])


def _unreadable_register(path: Path, problem: str) -> StatementStateError:
    return StatementStateError(
        f"cannot read {path}: {problem}; restore it from a copy. Without it, the entries of "
        "earlier statements in the logs are reported as unknown"
    )


def _register(folder: Path, statement: bytes) -> None:
    """Name the statement before it is signed: a crash after logging leaves no unknown entry."""
    path = folder / "signed.jsonl"
    try:
        before = read_plain(path)
    except FileNotFoundError:
        before = b""
    except OSError as error:
        raise _unreadable_register(path, error.strerror or str(error)) from error
    if before and not before.endswith(b"\n"):
        before += b"\n"  # the end of the last line is lost; the next one must not be
    line = {"at": datetime.now(UTC).isoformat(), "logged": logged_digests(statement)}
    # Written as a whole and not appended, so that a crash leaves no half line.
    write_atomically(path, before + orjson.dumps(line) + b"\n")


def _write_table(folder: Path, rows: list[CorpusRow]) -> None:
    table = pa.table(
        {
            name: pa.array([row[at] for row in rows], pa.string())
            for at, name in enumerate(CorpusRow._fields)
        }
    )
    with io.BytesIO() as buffer:
        pq.write_table(table, buffer, compression="zstd")
        data = buffer.getvalue()
    if not is_as_written(folder / TABLE_FILE) or read_twice(folder / TABLE_FILE) != data:
        write_twice(folder / TABLE_FILE, data)
