"""Verification of the published records, day by day, from the stored bytes alone.

A verdict is about bytes, a namespace and the rules it was reached under. Bytes that were already
judged under the same rules are recognised; nothing is verified twice. What is left to verify is
shared among processes when there is enough of it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import orjson

from inferencebench_pipeline.corpus.examination import (
    Examined,
    Examiner,
    Subject,
    subjects_of_days,
)
from inferencebench_pipeline.corpus.findings import Finding, Severity
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.corpus.verdicts import (
    DamagedLineError,
    DayVerdicts,
    is_sealed,
    raw_lines,
    require_sound,
    unreadable,
)
from inferencebench_pipeline.corpus.verifier import Judge
from inferencebench_pipeline.files import is_plain_file, is_there, write_atomically, write_changed
from inferencebench_pipeline.worker_pool import WorkerPool

SHARED_FROM_RECORDS = 500
"""So many records are verified in this process before others are started to help."""
_CHUNK_RECORDS = 64
_DAYS_READ_TOGETHER = 100
"""Each reading goes through the whole inventory; a month of the busiest is some megabytes."""
_DAYS_IN_FLIGHT = 3
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class DaySummary:
    """The result of a pass over one day, in numbers and findings."""

    day: str
    verified: int
    rejected: int
    recognised: int
    """Number of verdicts that were taken over instead of reached anew."""
    findings: tuple[Finding, ...]
    cleared: tuple[str, ...] = ()
    """Repositories that had a finding of severity ``error`` in the last pass and have none now."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings of severity ``error``: what blocks."""
        return tuple(item for item in self.findings if item.severity is Severity.ERROR)


def verify_day(store: CorpusStore, day: str, judge: Judge) -> DayVerdicts:
    """Verify every record whose repository was created on ``day``; return the stored verdicts.

    Raises:
        VerdictsError: ``day`` is not a date, or the stored verdicts are unreadable.
    """
    (summary,) = verify_days(store, [day], judge)
    stored = DayVerdicts.load(store, day)
    return stored.model_copy(update={"recognised": summary.recognised})


def verify_days(
    store: CorpusStore,
    days: Sequence[str],
    judge: Judge,
    *,
    processes: int = 1,
    again: bool = False,
) -> list[DaySummary]:
    """Verify every record whose repository was created on ``days``, and store the verdicts.

    A record that fails is a finding, never an exception. Memory holds a few days at a time. One
    pass at a time writes into a store; another waits. A stored line that the disk has changed is
    made anew.

    Args:
        store: the store whose ``corpus/`` is read and written.
        days: UTC dates, ISO 8601.
        judge: judges the records; the same rules for all of them.
        processes: how many may share the work, when there is enough of it.
        again: verify also what would be recognised.

    Raises:
        VerdictsError: a day is not a date, or its stored verdicts are unreadable.
        InventoryError: the inventory cannot be read.
        LockedError: another pass is not finished yet.
        StoreError: the verdicts cannot be written.
    """
    summaries: list[DaySummary] = []
    waiting: deque[tuple[_Plan, list[Future[list[Examined]]]]] = deque()
    pool = WorkerPool(
        Examiner(store, judge),
        partial(Examiner, store, judge),
        processes=processes,
        shared_from=SHARED_FROM_RECORDS,
    )
    met = 0
    with store.verifying(), pool:
        for plan in _plans(store, days, judge, again=again):
            # Many small days are as much work as a large one.
            met += len(plan.tasks)
            pool.announce(met)
            waiting.append((plan, _start(pool, plan.tasks)))
            if len(waiting) > _DAYS_IN_FLIGHT:
                summaries.append(_finish(store, *waiting.popleft()))
        summaries.extend(_finish(store, plan, work) for plan, work in waiting)
    return summaries


class _Task(NamedTuple):
    """A record to examine, and the line of the last pass about the same repository."""

    subject: Subject
    line_before: bytes | None
    again: bool


class _Line(NamedTuple):
    """A record's line, and what a pass needs to know of it; the rest need not stay in memory."""

    repo_id: str
    line: bytes
    inputs_sha256: str
    ok: bool | None
    """The verdict's; None when none was reached."""
    findings: list[dict[str, Any]]

    @property
    def failed(self) -> bool:
        """True when a finding is of severity ``error``."""
        return any(item["severity"] == Severity.ERROR for item in self.findings)


@dataclass
class _Plan:
    """One day's records: lines that stay as they are, and what has to be examined."""

    day: str
    kept: list[_Line] = field(default_factory=list)
    tasks: list[_Task] = field(default_factory=list)
    lines_before: int = 0
    damaged: bool = False
    """True when something in the file is not what was written."""
    failed_before: set[str] = field(default_factory=set)
    """Repositories whose line had a finding of severity ``error``."""


def _plans(
    store: CorpusStore, days: Sequence[str], judge: Judge, *, again: bool
) -> Iterator[_Plan]:
    examiner = Examiner(store, judge)
    for start in range(0, len(days), _DAYS_READ_TOGETHER):
        group = days[start : start + _DAYS_READ_TOGETHER]
        subjects = subjects_of_days(store, group, judge.rules)
        for day in group:
            yield _plan(store, day, subjects.pop(day), examiner, again=again)


def _plan(
    store: CorpusStore, day: str, subjects: list[Subject], examiner: Examiner, *, again: bool
) -> _Plan:
    plan = _Plan(day)
    before: dict[str, _Line] = {}
    for line in _lines(store, day):
        try:
            read = _read(store, day, line)
        except DamagedLineError as error:
            _LOG.warning("%s: %s; verified anew", store.verdicts_path(day), error)
            plan.damaged = True
        else:
            before[read.repo_id] = read
    plan.failed_before = {read.repo_id for read in before.values() if read.failed}
    plan.lines_before = len(before)
    for subject in subjects:
        known = before.get(subject.repo_id)
        if (
            known is not None
            and known.ok is not None
            and known.inputs_sha256 == subject.inputs_sha256
            # A line of an earlier version has no digest that could
            # tell whether the disk has changed it.
            and is_sealed(known.line)
            and not again
            and examiner.bytes_are_sound(subject)
        ):
            plan.kept.append(known)
        else:
            plan.tasks.append(_Task(subject, None if known is None else known.line, again))
    return plan


def _finish(store: CorpusStore, plan: _Plan, work: Iterable[Future[list[Examined]]]) -> DaySummary:
    """Write a day's lines, ordered by repository, unless they are what the file holds already."""
    examined = [item for future in work for item in future.result()]
    lines = sorted(
        [*plan.kept, *(_read(store, plan.day, item.line) for item in examined)],
        key=lambda read: read.repo_id,
    )
    path = store.verdicts_path(plan.day)
    changed = bool(examined) or len(plan.kept) != plan.lines_before or plan.damaged
    # Written only when it differs, since the index recognises a day by the state of this file.
    if not is_plain_file(path):
        write_atomically(path, b"".join(read.line + b"\n" for read in lines))
    elif changed:
        write_changed(path, b"".join(read.line + b"\n" for read in lines))
    findings = tuple(
        Finding.model_validate_json(orjson.dumps(item)) for read in lines for item in read.findings
    )
    failed = {read.repo_id for read in lines if read.failed}
    return DaySummary(
        day=plan.day,
        verified=sum(read.ok is True for read in lines),
        rejected=sum(read.ok is False for read in lines),
        recognised=len(plan.kept) + sum(item.recognised for item in examined),
        findings=findings,
        cleared=tuple(sorted(plan.failed_before - failed)),
    )


def _lines(store: CorpusStore, day: str) -> Iterator[bytes]:
    """Yield the stored lines; what stands in the file's place and is none is written over."""
    path = store.verdicts_path(day)
    if is_there(path) and not is_plain_file(path):
        _LOG.warning("%s is not a plain file; the day is verified anew", path)
        return iter(())
    return raw_lines(store, day)


def _read(store: CorpusStore, day: str, line: bytes) -> _Line:
    """Return what a pass needs of a stored line.

    Raises:
        DamagedLineError: it is not what was written.
        VerdictsError: it is something else than verdicts; nothing is written over it.
    """
    require_sound(line)
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DamagedLineError(f"a line is no JSON ({error})") from error
    try:
        judged = document["judged"]
        return _Line(
            repo_id=document["repo_id"],
            line=line,
            inputs_sha256=document["inputs_sha256"],
            ok=None if judged is None else bool(judged["verdict"]["ok"]),
            # The severity is asked for by name, so that a line without it is refused here.
            findings=[{**item, "severity": item["severity"]} for item in document["findings"]],
        )
    except (KeyError, TypeError) as error:
        raise unreadable(store.verdicts_path(day), error) from error


def _start(pool: WorkerPool[Examiner], tasks: list[_Task]) -> list[Future[list[Examined]]]:
    """Return the records' lines, in order, now or when they are ready."""
    chunks = (tasks[at : at + _CHUNK_RECORDS] for at in range(0, len(tasks), _CHUNK_RECORDS))
    return [pool.submit(_examine, chunk) for chunk in chunks]


def _examine(examiner: Examiner, tasks: list[_Task]) -> list[Examined]:
    return [examiner.examine(*task) for task in tasks]
