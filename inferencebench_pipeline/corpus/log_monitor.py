"""Monitor of the transparency logs: they may only grow, and hold no record of ours but known ones.

Each record's own proof leads to a checkpoint; a checkpoint that is proved to be a past state of
the newest trusted one puts the record into the log as everybody sees it. Entries that an identity
of the policy signed, and that are about nothing we know, are what a stolen identity looks like.
What was trusted and proved is kept: ``corpus/logs/<name>.json`` and ``.proved``.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter, ValidationError
from sigstore_models.trustroot.v1 import TransparencyLogInstance

from inferencebench_pipeline.corpus.findings import Finding, FindingKind, finding
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.files import (
    UnsealedError,
    read_plain,
    sealed,
    unsealed,
    write_atomically,
)
from inferencebench_pipeline.trust import (
    Checkpoint,
    CheckpointRefusedError,
    Frontier,
    IdentityPolicy,
    LogReader,
    ProofError,
    SignerRule,
    TrustRoot,
    log_ids,
    newest_states,
    reader_of,
    require_consistency,
    signed_entry,
    within,
)

REQUESTS_PER_LOG = 400
"""The most entry pages, and the most proofs of a Rekor v1 log, that one pass asks for."""
_DIGEST_BYTES = 32


class LogStateError(PermanentError):
    """The file that is kept about a log cannot be read."""


class TrustedState(DocumentPart):
    """The newest state of a log, or a shard of one, that is trusted: signed, and only grown."""

    checkpoint: Checkpoint
    """The size and the root hash of the log."""
    note: str
    """The signed note itself: evidence, should the log ever show another history."""
    seen_at: AwareDatetime
    """The time at which the state was seen (UTC)."""


class UnknownEntry(DocumentPart):
    """A log entry under an identity of ours that matches nothing we know."""

    log_id: str
    """The hex of the id of the log."""
    index: int
    """The index of the entry in the log."""
    kind: str
    """The kind of the entry."""
    identity: str
    """The identity that signed the entry."""
    issuer: str
    """The issuer that vouched for the identity."""
    sha256: str | None
    """The SHA-256 that the entry is about."""
    first_seen: AwareDatetime
    """The time at which the entry was first seen (UTC)."""

    @property
    def detail(self) -> str:
        """The alarm in one sentence."""
        return (
            f"entry {self.index} of log {self.log_id[:16]} is signed by {self.identity} "
            f"({self.issuer}) and is about {self.sha256 or 'something unstated'} ({self.kind}), "
            "which no envelope, run or statement of ours is"
        )


class LogState(DocumentPart):
    """The content of ``corpus/logs/<name>.json``: one log of the trust root."""

    log_id: str
    """The hex of the id that entries of the log carry."""
    url: str
    """The address of the log."""
    trusted: dict[str, TrustedState] = Field(default_factory=dict)
    """The last trusted state of each shard, by its origin."""
    scanned_from: int | None = None
    """Index of the first entry that was ever looked at; None before the first pass."""
    scanned_to: int = 0
    """Index of the first entry not looked at yet."""
    frontier: tuple[str, ...] | None = ()
    """Hashes of the tree over all entries looked at, whose root must be the signed one. None
    when the first entries were not looked at, or a shard's tree starts in between."""
    unknown: tuple[UnknownEntry, ...] = ()
    """The entries under an identity of ours that match nothing we know."""
    dishonest: str | None = None
    """The reason why the log contradicts itself; it stays until a person removes the file."""


@dataclass(frozen=True)
class SeenCheckpoint:
    """A checkpoint that a record's proof leads to."""

    repo_id: str
    revision: str
    checkpoint: Checkpoint


class LogReport(BaseModel):
    """The report of a pass over one log."""

    url: str
    size: int = 0
    proved_now: int = 0
    not_proved_yet: int = 0
    scanned_now: int = 0
    not_scanned_yet: int = 0
    unknown: tuple[UnknownEntry, ...] = ()
    problem: str | None = None
    """The reason why the log itself is not to be trusted; None when it is."""
    findings: list[Finding] = []
    """Records whose proof leads to a state that the log never went through."""

    @property
    def is_honest(self) -> bool:
        """True when nothing speaks against the log."""
        return self.problem is None and not self.findings


def examine_logs(
    store: CorpusStore,
    trust: TrustRoot,
    policy: IdentityPolicy,
    *,
    seen: Sequence[SeenCheckpoint],
    known_digests: frozenset[str],
    organisation: str | None = None,
    requests_per_log: int = REQUESTS_PER_LOG,
) -> list[LogReport]:
    """Examine every log of the trust root that a record is in, or that is signed into now.

    Args:
        store: keeps what was trusted and proved.
        trust: whose logs count.
        policy: whose signers are ours, as far as they sign for ``organisation``.
        seen: the checkpoints of accepted records.
        known_digests: SHA-256 (hex) of everything that was signed knowingly.
        organisation: our own namespace. What other organisations' signers sign is their affair.
            None counts every signer of the policy as ours.
        requests_per_log: bounds the pages of entries, and the proofs a v1 log is asked for; what
            is left over is counted, and done by the next passes.

    Raises:
        LogUnavailableError: a log does not answer; nothing is held against it.
        LogStateError: what is kept about a log cannot be read.
    """
    by_log: dict[str, list[SeenCheckpoint]] = {}
    for item in seen:
        by_log.setdefault(item.checkpoint.log_id, []).append(item)
    now = datetime.now(UTC)
    ours = [rule for rule in policy.signers if organisation in (None, rule.organisation)]
    reports = []
    for log in trust.logs:
        mine = [item for log_id in log_ids(log) for item in by_log.get(log_id.hex(), [])]
        if mine or within(log.public_key.valid_for, now):
            examination = _Examination(store, log, ours, requests_per_log, now)
            reports.append(examination.report(mine, known_digests))
    return reports


def load_reports(store: CorpusStore) -> list[LogReport]:
    """Return what the last pass found about each log; nothing before the first.

    Raises:
        LogStateError: it cannot be read.
    """
    path = store.log_reports_path
    try:
        return _REPORTS.validate_json(read_plain(path))
    except FileNotFoundError:
        return []
    except (OSError, ValidationError) as error:
        raise LogStateError(f"cannot read {path}: {error}; examine the logs again") from error


def keep_reports(store: CorpusStore, reports: list[LogReport]) -> None:
    """Store what a pass found, for the checks, the leaderboard and the statement."""
    write_atomically(store.log_reports_path, _REPORTS.dump_json(reports, indent=1) + b"\n")


def log_findings(store: CorpusStore) -> list[Finding]:
    """Return the records that the last pass found in no honest log."""
    return [item for report in load_reports(store) for item in report.findings]


def signature_digest_of(content_hash: str) -> str:
    """Return the digest under which a log knows an envelope: its signed message is the hash."""
    return hashlib.sha256(content_hash.encode("ascii")).hexdigest()


_REPORTS = TypeAdapter(list[LogReport])


class _Problem(NamedTuple):
    """The reason why a log is not to be trusted, and True when it never will be again."""

    text: str
    lasting: bool


class _Examination:
    """One pass over one log."""

    def __init__(
        self,
        store: CorpusStore,
        log: TransparencyLogInstance,
        signers: Sequence[SignerRule],
        requests: int,
        now: datetime,
    ) -> None:
        self._log = log
        self._signers = signers
        self._requests = requests
        self._now = now
        self._reader: LogReader = reader_of(log)
        name = hashlib.sha256(log.log_id.key_id).hexdigest()[:16]
        self._path = store.logs_folder / f"{name}.json"
        self._proved_path = self._path.with_suffix(".proved")
        self._state = self._load()
        self._proved = self._load_proved()

    def report(self, seen: list[SeenCheckpoint], known: frozenset[str]) -> LogReport:
        """Look at the log, keep what was learned, and return what was found."""
        report = LogReport(url=self._log.base_url, problem=self._state.dishonest)
        if report.problem is None:
            self._note(report, self._advance())
        states = self._state.trusted
        report.size = sum(item.checkpoint.size for item in states.values())
        for item in seen:
            self._prove(item, report)
        if report.problem is None:
            self._note(report, self._scan(report, known))
        report.unknown = self._state.unknown
        state = self._state.model_dump_json(indent=1).encode() + b"\n"
        write_atomically(self._path, sealed(state))
        if report.proved_now:
            write_atomically(self._proved_path, b"".join(sorted(self._proved)))
        return report

    def _note(self, report: LogReport, found: _Problem | None) -> None:
        if found is None:
            return
        report.problem = found.text
        if found.lasting:
            self._state = self._state.model_copy(update={"dishonest": found.text})

    def _advance(self) -> _Problem | None:
        """Trust the newest states if they extend those trusted before; else say why not.

        What a stale trust root or a wrong address could cause as well does not last.
        """
        # A copy, which counts only when every shard has extended its past.
        trusted = dict(self._state.trusted)
        try:
            newest = newest_states(self._reader, self._log)
        except CheckpointRefusedError as error:
            return _Problem(str(error), lasting=False)
        for origin, (checkpoint, note) in newest.items():
            before = trusted.get(origin)
            # An append-only log cannot shrink, and both sizes are signed by it (RFC 6962).
            if before is not None and checkpoint.size < before.checkpoint.size:
                return _Problem(
                    f"the log shows {checkpoint.size} entries of {origin}, and had signed for "
                    f"{before.checkpoint.size} at {before.seen_at:%Y-%m-%d %H:%M}Z",
                    lasting=True,
                )
            # Everything extends the empty tree, from which RFC 6962 defines no proof.
            if before is not None and before.checkpoint.size > 0:
                problem = self._inconsistency(before.checkpoint, checkpoint)
                if problem is not None:
                    text = f"{origin} has rewritten its history: {problem}"
                    return _Problem(text, lasting=True)
            trusted[origin] = TrustedState(checkpoint=checkpoint, note=note, seen_at=self._now)
        gone = sorted(trusted.keys() - newest.keys())
        if gone:
            return _Problem(f"the log no longer shows {', '.join(gone)}", lasting=False)
        self._state = self._state.model_copy(update={"trusted": trusted})
        return None

    def _prove(self, item: SeenCheckpoint, report: LogReport) -> None:
        """Prove that a record's checkpoint is a past state of the newest trusted one."""
        checkpoint = item.checkpoint
        digest = _identity(checkpoint)
        if digest in self._proved:
            return
        newest = self._state.trusted.get(checkpoint.origin)
        if self._state.dishonest is not None:
            problem: str | None = self._state.dishonest
        elif report.problem is not None or self._requests <= 0:
            report.not_proved_yet += 1
            return
        elif newest is None:
            problem = f"the log has no shard {checkpoint.origin}"
        elif checkpoint.size > newest.checkpoint.size:
            problem = (
                f"its proof is for {checkpoint.size} entries, the log shows only "
                f"{newest.checkpoint.size}"
            )
        else:
            problem = self._inconsistency(checkpoint, newest.checkpoint)
        if problem is None:
            self._proved.add(digest)
            report.proved_now += 1
            return
        report.findings.append(
            finding(FindingKind.LOG_INCONSISTENT, item.repo_id, item.revision, problem, self._now)
        )

    def _inconsistency(self, first: Checkpoint, second: Checkpoint) -> str | None:
        """Return why ``second`` does not extend ``first``; None once it is proved to."""
        proof: list[bytes] = []
        if first.size != second.size:
            self._requests -= self._reader.requests_per_proof
            proof = self._reader.consistency(first, second)
        try:
            require_consistency(first.size, first.root, second.size, second.root, proof)
        except ProofError as error:
            return str(error)
        return None

    def _scan(self, report: LogReport, known: frozenset[str]) -> _Problem | None:
        """Look at the entries that are new, and again at those that were unknown.

        Returns why they are not the entries that the log has signed for, if they are not.
        """
        size, state = report.size, self._state
        # One page at least, so that every pass gets further, however many proofs it had to ask for.
        budget = max(self._requests, 1) * self._reader.entries_at_once
        # The first pass begins near the end: a public log holds more than one pass may ask for.
        start = state.scanned_to if state.scanned_from is not None else max(0, size - budget)
        stop = min(size, start + budget)
        frontier = self._frontier(start)
        # What something of ours explains by now is unknown no more.
        found = [item for item in state.unknown if item.sha256 not in known]
        for index, body in self._reader.entries(start, stop):
            found.extend(self._unknown(index, body, known))
            if frontier is not None:
                frontier.append(body)
        report.scanned_now, report.not_scanned_yet = stop - start, size - stop
        if frontier is not None and stop == size and frontier.root() != self._only_root():
            text = f"the {size} entries that the log serves are not those it has signed for"
            return _Problem(text, lasting=False)
        self._state = state.model_copy(
            update={
                "unknown": tuple(found),
                "scanned_to": stop,
                "scanned_from": start if state.scanned_from is None else state.scanned_from,
                "frontier": None
                if frontier is None
                else tuple(item.hex() for item in frontier.hashes),
            }
        )
        return None

    def _frontier(self, start: int) -> Frontier | None:
        known = self._state.frontier
        first = self._state.scanned_from is None and start > 0
        # A frontier is of one tree that was read from its beginning, and each shard is a tree.
        if known is None or first or len(self._state.trusted) != 1:
            return None
        return Frontier(start, [bytes.fromhex(item) for item in known])

    def _only_root(self) -> bytes:
        (state,) = self._state.trusted.values()
        return state.checkpoint.root

    def _unknown(self, index: int, body: bytes, known: frozenset[str]) -> Iterator[UnknownEntry]:
        entry = signed_entry(index, body)
        if entry is None or (entry.sha256 is not None and entry.sha256 in known):
            return
        for signer in entry.signers:
            if any(rule.names(signer) for rule in self._signers):
                yield UnknownEntry(
                    log_id=self._state.log_id,
                    index=index,
                    kind=entry.kind,
                    identity=signer.identity,
                    issuer=signer.issuer,
                    sha256=entry.sha256,
                    first_seen=self._now,
                )
                return

    def _load(self) -> LogState:
        try:
            data = read_plain(self._path)
            with contextlib.suppress(UnsealedError):  # a version before wrote it
                data = unsealed(data)
            return LogState.model_validate_json(data)
        except FileNotFoundError:
            return LogState(log_id=self._log.log_id.key_id.hex(), url=self._log.base_url)
        except (OSError, ValueError) as error:
            raise LogStateError(
                f"cannot read {self._path}: {error}; restore it from a copy. Without it the log's "
                "past is taken as it shows it now"
            ) from error

    def _load_proved(self) -> set[bytes]:
        try:
            data = read_plain(self._proved_path)
        except OSError:
            return set()  # what was proved is proved again
        return {data[at : at + _DIGEST_BYTES] for at in range(0, len(data), _DIGEST_BYTES)}


def _identity(checkpoint: Checkpoint) -> bytes:
    return hashlib.sha256(checkpoint.model_dump_json().encode()).digest()
