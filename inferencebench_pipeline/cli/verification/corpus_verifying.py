"""The option ``verify --corpus``: one signature covers every result of an organisation.

Everything that the statement binds is compared with what is there, and each way to differ is an
outcome of its own. Reading a target is elsewhere (``corpus_targets``), and so is the comparison
itself, which knows neither disks nor networks.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from inferencebench_pipeline.cli.layout import Row, lines_of, rows_of
from inferencebench_pipeline.cli.terminal import console, say_hanging, say_json
from inferencebench_pipeline.cli.verification.corpus_targets import Corpus
from inferencebench_pipeline.cli.verification.exit_codes import ExitCode
from inferencebench_pipeline.cli.verification.seen_statements import keep_seen, seen_statement
from inferencebench_pipeline.cli.verification.verdict_report import moment
from inferencebench_pipeline.files import StoreError
from inferencebench_pipeline.trust import (
    CorpusDifference,
    CorpusProblem,
    CorpusStatement,
    IdentityPolicy,
    NewerStatementError,
    StatementRejectedError,
    TrustRoot,
    compare_age,
    compare_files,
    compare_index,
    compare_rules,
    compare_table,
    policy_source,
    trust_source,
    verify_corpus_statement,
)
from inferencebench_pipeline.untrusted import printable

ACCEPT_OLDER: Final = frozenset({CorpusDifference.OLDER_THAN_SEEN})
"""The differences that ``--accept-older`` lets pass."""
ACCEPT_OTHER_RULES: Final = frozenset(
    {CorpusDifference.OTHER_POLICY, CorpusDifference.OTHER_TRUST_ROOT}
)
"""The differences that ``--accept-other-rules`` lets pass."""

_CODES: Final = {
    CorpusDifference.EMPTY: ExitCode.EMPTY,
    CorpusDifference.ROWS_LEFT_OUT: ExitCode.ROWS_DIFFER,
    CorpusDifference.ROWS_ADDED: ExitCode.ROWS_DIFFER,
    CorpusDifference.NAMES_DIFFER: ExitCode.ROW_NAMES_DIFFER,
    CorpusDifference.REVISIONS_DIFFER: ExitCode.ROW_NAMES_DIFFER,
    CorpusDifference.DAYS_DIFFER: ExitCode.ROW_NAMES_DIFFER,
    CorpusDifference.RUN_IDS_DIFFER: ExitCode.ROW_NAMES_DIFFER,
    CorpusDifference.TRACES_DIFFER: ExitCode.ROW_NAMES_DIFFER,
    CorpusDifference.INDEX_DIFFERS: ExitCode.PARTITIONS_DIFFER,
    CorpusDifference.OLDER_THAN_SEEN: ExitCode.STATEMENT_SUPERSEDED,
    CorpusDifference.OTHER_POLICY: ExitCode.STATEMENT_SUPERSEDED,
    CorpusDifference.OTHER_TRUST_ROOT: ExitCode.STATEMENT_SUPERSEDED,
    CorpusDifference.RECORDS_MISSING: ExitCode.INCOMPLETE,
    CorpusDifference.INDEX_MISSING: ExitCode.INCOMPLETE,
}
"""The exit code of each difference, the most serious first: a corpus ends with its first one."""

_SENTENCES: Final = {
    CorpusDifference.EMPTY: "there is nothing to verify.",
    CorpusDifference.ROWS_LEFT_OUT: "the table lacks records of the signed statement.",
    CorpusDifference.ROWS_ADDED: "the table has records that the signed statement does not name.",
    CorpusDifference.NAMES_DIFFER: "records stand under other names than in the signed statement.",
    CorpusDifference.REVISIONS_DIFFER: "the revisions are not those of the signed statement.",
    CorpusDifference.DAYS_DIFFER: "the days are not those of the signed statement.",
    CorpusDifference.RUN_IDS_DIFFER: "the run ids are not those of the signed statement.",
    CorpusDifference.TRACES_DIFFER: "the traces are not those of the signed statement.",
    CorpusDifference.INDEX_DIFFERS: "the leaderboard's files are not those that were signed.",
    CorpusDifference.RECORDS_MISSING: "some of the signed records are not here to be checked.",
    CorpusDifference.INDEX_MISSING: "the leaderboard's files are not here to be checked.",
    CorpusDifference.OLDER_THAN_SEEN: "you have verified a later statement before.",
    CorpusDifference.OTHER_POLICY: "the records were judged under a policy that is not yours.",
    CorpusDifference.OTHER_TRUST_ROOT: "the records were judged under another trust root.",
}
"""Each difference in our own words, which quote nothing that was found."""
_NOT_PROVEN: Final = {
    ExitCode.REJECTED: "the statement is not proven.",
    ExitCode.NEWER: "the statement has a form that only a later release knows.",
}
_NOT_BOUND_BY_VERSION_1: Final = ("revision", "created_day", "run_id", "traces_sha256", "index")
_HELP: Final = {
    CorpusDifference.OLDER_THAN_SEEN: "--accept-older takes it all the same",
    CorpusDifference.OTHER_POLICY: "name that policy with --policy or --policy-from, or take the "
    "statement all the same with --accept-other-rules",
    CorpusDifference.OTHER_TRUST_ROOT: "name that root with --trust-config, or take the statement "
    "all the same with --accept-other-rules",
}


@dataclass(frozen=True)
class CorpusVerdict:
    """The outcome for a corpus, and everything that it rests on."""

    code: ExitCode
    """The exit code."""
    outcome: str
    """A stable name: ``verified``, ``rejected``, ``newer`` or that of the first difference."""
    reason: str
    """The outcome in one sentence."""
    statement: CorpusStatement | None = None
    """The statement; None where it is not proven."""
    problems: tuple[CorpusProblem, ...] = ()
    """Everything that differs."""
    accepted: tuple[CorpusProblem, ...] = ()
    """The differences that were accepted beforehand."""


def verify_corpus(
    corpus: Corpus,
    *,
    trust: TrustRoot,
    policy: IdentityPolicy,
    endpoint: str,
    seen_folder: Path,
    accept: Collection[CorpusDifference] = (),
    as_json: bool,
    command: str,
) -> ExitCode:
    """Print and return whether everything that the statement binds is as it says.

    Args:
        corpus: the statement and what it should cover.
        trust: the certificates, logs and clocks that count.
        policy: the identities that may state a corpus.
        endpoint: the address of the Hub that the corpus is on.
        seen_folder: where the newest verified statement of each organisation is kept.
        accept: the differences that are told and do not decide.
        as_json: whether to print a JSON object instead of sentences.
        command: the command line that the reader typed, to which a way to go on is added.
    """
    verdict = _judged(
        corpus,
        trust=trust,
        policy=policy,
        endpoint=endpoint,
        seen_folder=seen_folder,
        accept=accept,
    )
    if as_json:
        rules = {
            "policy": policy_source(policy).model_dump(mode="json"),
            "trust_root": trust_source(trust).model_dump(mode="json"),
        }
        go_on = {"go_on": dict(_ways_on(corpus, verdict, policy, command))}
        say_json(json.dumps(_document(corpus, verdict) | rules | go_on))
    else:
        out = console()
        for line in _page(corpus, verdict, policy, trust, command, out):
            out.print(line, soft_wrap=True)
    if verdict.statement is not None:
        _remember(seen_folder, endpoint, corpus.organisation, verdict.statement)
    return verdict.code


def _judged(
    corpus: Corpus,
    *,
    trust: TrustRoot,
    policy: IdentityPolicy,
    endpoint: str,
    seen_folder: Path,
    accept: Collection[CorpusDifference],
) -> CorpusVerdict:
    try:
        statement = verify_corpus_statement(
            corpus.bundle, trust=trust, policy=policy, organisation=corpus.organisation
        )
    except NewerStatementError as error:
        return CorpusVerdict(ExitCode.NEWER, "newer", str(error))
    except StatementRejectedError as error:
        # A rejection is an answer of this command, and no failure of it.
        return CorpusVerdict(ExitCode.REJECTED, "rejected", str(error))
    seen = seen_statement(seen_folder, corpus.organisation, endpoint)
    problems = [
        *(
            compare_files(statement, corpus.envelopes)
            if corpus.rows is None
            else compare_table(statement, corpus.rows)
        ),
        *compare_index(statement, _found_index(corpus, statement)),
        *(
            compare_age(statement, seen_sha256=seen.statement_sha256, seen_signed_at=seen.signed_at)
            if seen
            else ()
        ),
        *compare_rules(
            statement, policy_sha256=policy.reviewed_sha256, trust_root_sha256=trust.sha256
        ),
    ]
    order = list(_CODES)
    problems.sort(key=lambda problem: order.index(problem.difference))
    accepted = tuple(problem for problem in problems if problem.difference in accept)
    deciding = tuple(problem for problem in problems if problem.difference not in accept)
    if not deciding:
        return CorpusVerdict(
            ExitCode.VERIFIED, "verified", _verified(corpus, statement), statement, (), accepted
        )
    first = deciding[0]
    said = (
        f"{first.detail}; {_HELP[first.difference]}" if first.difference in _HELP else first.detail
    )
    return CorpusVerdict(
        _CODES[first.difference], str(first.difference), said, statement, deciding, accepted
    )


def _found_index(corpus: Corpus, statement: CorpusStatement) -> dict[str, str] | None:
    bound = statement.summary.corpus
    return None if bound is None else corpus.find_index(bound.files)


def _verified(corpus: Corpus, statement: CorpusStatement) -> str:
    bound = statement.summary.corpus
    if bound is None:
        return (
            f"{corpus.results} results, each a subject of the signed statement, which is of "
            "version 1 and binds envelopes and a repository for each, and nothing else that is "
            "shown."
        )
    return (
        f"{corpus.results} results and {len(bound.index)} files of the leaderboard, just as the "
        "signed statement says."
    )


def _remember(folder: Path, endpoint: str, organisation: str, statement: CorpusStatement) -> None:
    try:
        keep_seen(folder, endpoint, organisation, statement)
    except StoreError as error:
        # The verdict stands; only the next one cannot be compared with this statement.
        say_hanging(f"note: this statement is not remembered: {error}", stderr=True)


_LABELS: Final = 12
"""Cells of the column of labels."""
_SHOWN: Final = 4_000
"""Characters of a text of others that are shown."""


def _page(
    corpus: Corpus,
    verdict: CorpusVerdict,
    policy: IdentityPolicy,
    trust: TrustRoot,
    command: str,
    out: Console,
) -> Iterator[Text]:
    """Yield the lines for people: the statement, the rules, what differs, and the outcome."""
    yield from rows_of(_statement_rows(corpus, verdict.statement), _LABELS, out)
    yield Text()
    yield from rows_of(_rule_rows(verdict.statement, policy, trust), _LABELS, out)
    yield Text()
    told = [
        *((f"✗ {problem.difference}", problem.detail) for problem in verdict.problems),
        *((f"– {problem.difference}, accepted", problem.detail) for problem in verdict.accepted),
        *([(f"✗ {verdict.outcome}", verdict.reason)] if verdict.statement is None else ()),
    ]
    for label, detail in told:
        yield from rows_of([(Text(label), Text(printable(detail, _SHOWN)))], _LABELS, out)
    yield from [Text()] * bool(told)
    for purpose, line in _ways_on(corpus, verdict, policy, command):
        yield from rows_of([(Text(), Text(f"To {purpose}:"))], 0, out)
        yield from _typed(line, out)
        yield Text()
    word = verdict.outcome.replace("_", " ").upper()
    yield from rows_of([(Text(), Text(f"{word}: {_in_our_words(verdict, policy)}"))], 0, out)


def _in_our_words(verdict: CorpusVerdict, policy: IdentityPolicy) -> str:
    if verdict.problems:
        return _sentence(verdict.problems[0].difference, policy)
    accepted = [
        f"Accepted: {_sentence(problem.difference, policy)}" for problem in verdict.accepted
    ]
    return " ".join((_NOT_PROVEN.get(verdict.code, verdict.reason), *accepted))


def _sentence(difference: CorpusDifference, policy: IdentityPolicy) -> str:
    if difference is CorpusDifference.OTHER_POLICY and policy.reviewed_sha256 is None:
        return "the records were judged under the owner's own policy, which you have not compared."
    return _SENTENCES[difference]


def _typed(command: str, out: Console) -> Iterator[Text]:
    """Yield a command as a person copies it: a line that is too long goes on after a backslash."""
    line = ""
    for word in (shlex.quote(printable(word, _SHOWN)) for word in shlex.split(command)):
        if line and cell_len(f"{line} {word}") > out.width - 6:
            yield Text(f"  {line} \\")
            line = "  "
        line = f"{line} {word}" if line.strip() else line + word
    yield from (Text("  ") + part for part in lines_of(Text(line), max(out.width - 2, 40), out))


def _ways_on(
    corpus: Corpus, verdict: CorpusVerdict, policy: IdentityPolicy, command: str
) -> Iterator[tuple[str, str]]:
    """Yield what a reader who named only the signer can do about the policy, and the command."""
    first = verdict.problems[:1]
    unknown = policy.reviewed_sha256 is None
    if unknown and first and first[0].difference is CorpusDifference.OTHER_POLICY:
        address = shlex.quote(f"hf://datasets/{corpus.organisation}/inferencebench-policy")
        yield (
            "judge by that policy, if it is published and the same signer has signed it",
            f"{command} --policy-from {address}",
        )
        yield "take the signer's word for the policy", f"{command} --accept-other-rules"


def _statement_rows(corpus: Corpus, statement: CorpusStatement | None) -> Iterator[Row]:
    yield _row("Corpus", corpus.organisation)
    yield _row("Place", corpus.where)
    if statement is None:
        return
    summary, signer = statement.summary, statement.proof.signer
    versions = ", ".join(f"{name} {number}" for name, number in summary.verifier.version.items())
    yield _row("Records", str(len(statement.subjects)))
    yield _row("Verified", f"{moment(summary.time_verified)} by {summary.verifier.id} ({versions})")
    yield _row("Signed by", signer.identity)
    yield _row("", f"vouched for by {signer.issuer}")
    yield _row("Signed", f"not later than {moment(statement.proof.times[0])}")
    yield _row("Log entry", str(statement.proof.log_index))
    if statement.version == 1:
        names = ", ".join(_NOT_BOUND_BY_VERSION_1)
        yield _row("Not bound", f"{names} (a statement of version 1)")


def _rule_rows(
    statement: CorpusStatement | None, policy: IdentityPolicy, trust: TrustRoot
) -> Iterator[Row]:
    """Yield the reader's rules, and beside each whether the records were judged under the same."""
    root = trust_source(trust)
    age = "" if root.age_days is None else f", confirmed {root.age_days} days ago"
    yield _row("Trust root", f"{root.name}{age}")
    yield _row("sha256", trust.sha256)
    if statement is not None:
        theirs = statement.summary.trust_root.digest.sha256
        yield _row("", _beside(theirs, trust.sha256))
    yield _row("Policy", policy.origin)
    reviewed = policy.reviewed_sha256
    if reviewed is not None:
        yield _row("sha256", reviewed)
    if statement is not None:
        yield _row("", _beside(statement.summary.policy.digest.sha256, reviewed))
    if warning := root.warning():
        yield Text("Warning", style="yellow"), Text(warning)


def _beside(theirs: str, ours: str | None) -> str:
    if theirs == ours:
        return "the records were judged under the same"
    return f"the records were judged under {theirs}"


def _row(label: str, text: str) -> Row:
    style = "bold" if label[:1].isupper() else "dim"
    return Text(label, style=style), Text(printable(text, _SHOWN))


def _document(corpus: Corpus, verdict: CorpusVerdict) -> dict[str, object]:
    document: dict[str, object] = {
        "ok": verdict.code is ExitCode.VERIFIED,
        "outcome": verdict.outcome,
        "exit_code": int(verdict.code),
        "reason": verdict.reason,
        "differences": _listed(verdict.problems),
        "accepted": _listed(verdict.accepted),
        "where": corpus.where,
        "organisation": corpus.organisation,
        "results": corpus.results,
    }
    statement = verdict.statement
    if statement is not None:
        document |= {
            "subjects": len(statement.subjects),
            "statement_version": statement.version,
            "not_bound": list(_NOT_BOUND_BY_VERSION_1) if statement.version == 1 else [],
            "statement_sha256": statement.statement_sha256,
            "summary": statement.summary.model_dump(mode="json", by_alias=True),
            "signer": statement.proof.signer.identity,
            "issuer": statement.proof.signer.issuer,
            "signed_at": statement.proof.times[0].isoformat(),
            "log_index": statement.proof.log_index,
        }
    return document


def _listed(problems: tuple[CorpusProblem, ...]) -> list[dict[str, str]]:
    return [
        {"difference": str(problem.difference), "detail": problem.detail} for problem in problems
    ]
