"""The comparison of a corpus with its statement: the table's rows, and the leaderboard's files.

Plain data in and plain data out: nothing is read from a disk or a network here. Each way to differ
is a value of its own, and everything that differs is returned, not the first of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from inferencebench_pipeline.trust.verify.corpus_statement import (
    BoundCorpus,
    CorpusRow,
    CorpusStatement,
    column_digests,
)
from inferencebench_pipeline.untrusted import printable

_SHOWN: Final = 10
_NAME_CHARACTERS: Final = 120


class CorpusDifference(StrEnum):
    """A way in which a corpus is not what a statement binds, or is not to be gone by."""

    EMPTY = "empty"
    """There is no row at all, and so nothing was verified."""
    ROWS_LEFT_OUT = "rows_left_out"
    """The statement names records that are not in the table."""
    ROWS_ADDED = "rows_added"
    """The table has records that the statement does not name."""
    NAMES_DIFFER = "names_differ"
    """A record stands under another repository than the statement names."""
    REVISIONS_DIFFER = "revisions_differ"
    """The column of commits is another one."""
    DAYS_DIFFER = "days_differ"
    """The column of days is another one."""
    RUN_IDS_DIFFER = "run_ids_differ"
    """The column of run ids is another one."""
    TRACES_DIFFER = "traces_differ"
    """The column of the traces' digests is another one."""
    INDEX_DIFFERS = "index_differs"
    """A file of the leaderboard was changed, left out or added."""
    RECORDS_MISSING = "records_missing"
    """Not every record is here, of files that are compared without a table."""
    INDEX_MISSING = "index_missing"
    """None of the files of the leaderboard is here."""
    OLDER_THAN_SEEN = "older_than_seen"
    """A later statement about the same corpus was verified before."""
    OTHER_POLICY = "other_policy"
    """The records were verified under another policy than the reader's."""
    OTHER_TRUST_ROOT = "other_trust_root"
    """The records were verified under another trust root than the reader's."""


@dataclass(frozen=True)
class CorpusProblem:
    """A difference, in one sentence."""

    difference: CorpusDifference
    detail: str


_BY_COLUMN: Final = {
    # The same envelopes may be there, each another number of times.
    "envelope_sha256": (CorpusDifference.NAMES_DIFFER, "envelopes"),
    "repo_id": (CorpusDifference.NAMES_DIFFER, "repositories"),
    "revision": (CorpusDifference.REVISIONS_DIFFER, "revisions"),
    "created_day": (CorpusDifference.DAYS_DIFFER, "days"),
    "run_id": (CorpusDifference.RUN_IDS_DIFFER, "run ids"),
    "traces_sha256": (CorpusDifference.TRACES_DIFFER, "digests of the traces"),
}


def compare_table(statement: CorpusStatement, rows: Sequence[CorpusRow]) -> list[CorpusProblem]:
    """Return every difference between a table and what the statement binds of it.

    A statement of version 1 binds the envelopes, each with one repository, and nothing else of a
    row. Later ones bind every value of every row.
    """
    if not rows:
        return [_empty(statement, "the table has no rows")]
    names = _names_by_envelope(rows)
    corpus = statement.summary.corpus
    problems = [
        *_left_out(statement, names),
        *_added(statement, rows, names),
        *_misnamed(statement, names),
    ]
    if corpus is None:
        return problems
    counted = {problem.difference for problem in problems} & _OTHER_ROWS
    # Where rows are missing or too many, each column differs, which would say nothing more.
    if not counted:
        problems.extend(_of_columns(corpus, rows, {problem.difference for problem in problems}))
    return problems


def compare_files(
    statement: CorpusStatement, envelopes: Mapping[str, Sequence[str]]
) -> list[CorpusProblem]:
    """Return the differences between envelopes that lie in a folder, without a table, and these.

    Args:
        statement: the statement.
        envelopes: the places of each envelope, by the SHA-256 of its bytes.
    """
    if not envelopes:
        return [_empty(statement, "there is no envelope")]
    foreign = [name for sha256 in envelopes if sha256 not in statement.subjects
               for name in envelopes[sha256]]  # fmt: skip
    absent = [name for sha256, name in statement.subjects.items() if sha256 not in envelopes]
    problems = []
    if foreign:
        problems.append(
            CorpusProblem(
                CorpusDifference.ROWS_ADDED,
                f"{len(foreign)} envelopes here are not in the statement: {_list(foreign)}",
            )
        )
    if absent:
        problems.append(
            CorpusProblem(
                CorpusDifference.RECORDS_MISSING,
                f"{len(absent)} of the {len(statement.subjects)} envelopes of the statement are "
                f"not here to be checked: {_list(absent)}",
            )
        )
    return problems


def compare_index(
    statement: CorpusStatement, found: Mapping[str, str] | None
) -> list[CorpusProblem]:
    """Return the differences between the leaderboard's files and those that the statement binds.

    Args:
        statement: the statement; one of version 1 binds no file.
        found: the SHA-256 of each file of the leaderboard that is there, by its path. None where
            a copy holds none of them, which is no contradiction.
    """
    corpus = statement.summary.corpus
    if corpus is None or not corpus.index:
        return []
    bound = corpus.files
    if found is None:
        return [
            CorpusProblem(
                CorpusDifference.INDEX_MISSING,
                f"the statement covers {len(bound)} files of the leaderboard, and none of them is "
                "here to be checked; fetch the whole dataset, or verify it on the Hub",
            )
        ]
    changed = [name for name in bound if name in found and found[name] != bound[name]]
    absent = [name for name in bound if name not in found]
    added = [name for name in sorted(found) if name not in bound]
    said = [
        f"{len(names)} {kind} ({_list(names)})"
        for names, kind in ((changed, "changed"), (absent, "left out"), (added, "added"))
        if names
    ]
    if not said:
        return []
    return [
        CorpusProblem(
            CorpusDifference.INDEX_DIFFERS,
            f"the files of the leaderboard are not those of the statement: {', '.join(said)}",
        )
    ]


def compare_rules(
    statement: CorpusStatement, *, policy_sha256: str | None, trust_root_sha256: str
) -> list[CorpusProblem]:
    """Return whether the records were verified under other rules than the reader's.

    Args:
        statement: the statement.
        policy_sha256: the digest of the reader's policy. None for a reader who has none and named
            the signer, so that nobody has compared the policy of the statement with anything.
        trust_root_sha256: the digest of the reader's trust root.
    """
    summary = statement.summary
    policy, root = summary.policy.digest.sha256, summary.trust_root.digest.sha256
    problems = []
    if policy_sha256 is None:
        owner = printable(summary.resource_uri.rpartition("/")[2], _NAME_CHARACTERS)
        problems.append(
            CorpusProblem(
                CorpusDifference.OTHER_POLICY,
                f"the records were judged under {owner}'s own policy {policy}, which you have not "
                "compared",
            )
        )
    elif policy != policy_sha256:
        problems.append(_other_rule(CorpusDifference.OTHER_POLICY, policy, policy_sha256))
    if root != trust_root_sha256:
        problems.append(_other_rule(CorpusDifference.OTHER_TRUST_ROOT, root, trust_root_sha256))
    return problems


def _other_rule(difference: CorpusDifference, theirs: str, ours: str) -> CorpusProblem:
    name = "policy" if difference is CorpusDifference.OTHER_POLICY else "trust root"
    return CorpusProblem(
        difference,
        f"the records were verified under the {name} {theirs}, which is not the one you use "
        f"({ours})",
    )


def compare_age(
    statement: CorpusStatement, *, seen_sha256: str, seen_signed_at: datetime
) -> list[CorpusProblem]:
    """Return whether a statement was signed before one that the reader has verified already.

    Args:
        statement: the statement.
        seen_sha256: the digest of the newest statement that was seen about the same corpus.
        seen_signed_at: the time that a trusted clock gave that one.
    """
    signed_at = statement.proof.times[0]
    if statement.statement_sha256 == seen_sha256 or signed_at >= seen_signed_at:
        return []
    return [
        CorpusProblem(
            CorpusDifference.OLDER_THAN_SEEN,
            f"it was signed {signed_at.isoformat()}, and you have verified one of "
            f"{seen_signed_at.isoformat()}: this is an old statement shown again",
        )
    ]


_OTHER_ROWS: Final = {CorpusDifference.ROWS_LEFT_OUT, CorpusDifference.ROWS_ADDED}


def _empty(statement: CorpusStatement, what: str) -> CorpusProblem:
    return CorpusProblem(
        CorpusDifference.EMPTY,
        f"{what}, and the statement names {len(statement.subjects)} records; nothing was verified",
    )


def _names_by_envelope(rows: Iterable[CorpusRow]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        names[row.envelope_sha256].append(row.repo_id)
    return names


def _left_out(
    statement: CorpusStatement, names: Mapping[str, Sequence[str]]
) -> Iterator[CorpusProblem]:
    absent = [name for sha256, name in statement.subjects.items() if sha256 not in names]
    if absent:
        yield CorpusProblem(
            CorpusDifference.ROWS_LEFT_OUT,
            f"{len(absent)} of the {len(statement.subjects)} records of the statement are not in "
            f"the table: {_list(absent)}",
        )


def _added(
    statement: CorpusStatement, rows: Sequence[CorpusRow], names: Mapping[str, Sequence[str]]
) -> Iterator[CorpusProblem]:
    foreign = [
        name for sha256 in names if sha256 not in statement.subjects for name in names[sha256]
    ]
    if foreign:
        yield CorpusProblem(
            CorpusDifference.ROWS_ADDED,
            f"{len(foreign)} of {len(rows)} results are not in the statement: {_list(foreign)}",
        )
    corpus = statement.summary.corpus
    covered = len(rows) - len(foreign)
    # The envelopes are compared above, so that only rows with the same envelope are left to count.
    if corpus is not None and covered > corpus.table.rows:
        yield CorpusProblem(
            CorpusDifference.ROWS_ADDED,
            f"the table has {covered} rows of records that the statement names, which counts "
            f"{corpus.table.rows}: some stand in it twice",
        )


def _misnamed(
    statement: CorpusStatement, names: Mapping[str, Sequence[str]]
) -> Iterator[CorpusProblem]:
    wrong = []
    for sha256, here in names.items():
        stated = statement.subjects.get(sha256)
        # Version 1 names one repository for each envelope; later ones bind the column as well.
        more = len(here) > 1 and statement.version == 1
        if stated is not None and (stated not in here or more):
            wrong.append(f"{', '.join(here)} instead of {stated}")
    if wrong:
        yield CorpusProblem(
            CorpusDifference.NAMES_DIFFER,
            f"{len(wrong)} records stand under another repository than the statement names: "
            f"{_list(wrong)}",
        )


def _of_columns(
    corpus: BoundCorpus, rows: Sequence[CorpusRow], known: set[CorpusDifference]
) -> Iterator[CorpusProblem]:
    if len(rows) < corpus.table.rows:
        yield CorpusProblem(
            CorpusDifference.ROWS_LEFT_OUT,
            f"the table has {len(rows)} rows, and the statement counts {corpus.table.rows}: some "
            "of a record that is published several times are not there",
        )
        return
    actual = column_digests(rows)
    for column, (difference, what) in _BY_COLUMN.items():
        stated = corpus.table.columns[column].sha256
        if actual[column] != stated and difference not in known:
            yield CorpusProblem(
                difference,
                f"the {what} of the table are not those that the statement covers (the column "
                f"{column} has the SHA-256 {actual[column]}, the statement says {stated})",
            )


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name, _NAME_CHARACTERS) for name in names[:_SHOWN])
    return f"{shown}, …" if len(names) > _SHOWN else shown
