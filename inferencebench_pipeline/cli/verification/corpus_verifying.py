"""The option ``verify --corpus``: one signature covers every result of an organisation.

Everything that the statement binds is compared with what is there, and each way to differ is an
outcome of its own. Reading a target is elsewhere (``corpus_targets``), and so is the comparison
itself, which knows neither disks nor networks.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inferencebench_pipeline.cli.terminal import say_hanging, say_json
from inferencebench_pipeline.cli.verification.corpus_targets import Corpus
from inferencebench_pipeline.cli.verification.exit_codes import ExitCode
from inferencebench_pipeline.cli.verification.seen_statements import keep_seen, seen_statement
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
"""What ``--accept-older`` lets pass."""
ACCEPT_OTHER_RULES: Final = frozenset(
    {CorpusDifference.OTHER_POLICY, CorpusDifference.OTHER_TRUST_ROOT}
)
"""What ``--accept-other-rules`` lets pass."""

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

_NOT_BOUND_BY_VERSION_1: Final = ("revision", "created_day", "run_id", "traces_sha256", "index")
_HELP: Final = {
    CorpusDifference.OLDER_THAN_SEEN: "--accept-older takes it all the same",
    CorpusDifference.OTHER_POLICY: "name that policy with --policy, or take the statement all the "
    "same with --accept-other-rules",
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
    """What differs, and was accepted beforehand."""


def verify_corpus(
    corpus: Corpus,
    *,
    trust: TrustRoot,
    policy: IdentityPolicy,
    endpoint: str,
    seen_folder: Path,
    accept: Collection[CorpusDifference] = (),
    as_json: bool,
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
        say_json(json.dumps(_document(corpus, verdict) | rules))
    else:
        say_hanging(printable(f"{corpus.organisation}: {corpus.where}", _LINE_CHARACTERS))
        for line in (*_ours(policy, trust), *_lines(verdict, policy, trust)):
            say_hanging(f"  {printable(line, _LINE_CHARACTERS)}")
        word = verdict.outcome.replace("_", " ").upper()
        say_hanging(printable(f"{word}: {verdict.reason}", _LINE_CHARACTERS))
    if verdict.statement is not None:
        _remember(seen_folder, endpoint, corpus.organisation, verdict.statement)
    return verdict.code


_LINE_CHARACTERS: Final = 4_000


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
        *compare_rules(statement, policy_sha256=policy.sha256, trust_root_sha256=trust.sha256),
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
    signer, bound = statement.proof.signer, statement.summary.corpus
    who = f"signed by {signer.identity} ({signer.issuer})"
    if bound is None:
        return (
            f"{corpus.results} results, each a subject of the statement {who}. It is of version 1, "
            "which binds envelopes and a repository for each, and nothing else that is shown"
        )
    return (
        f"{corpus.results} results and {len(bound.index)} files of the leaderboard, just as the "
        f"statement says, {who}"
    )


def _remember(folder: Path, endpoint: str, organisation: str, statement: CorpusStatement) -> None:
    try:
        keep_seen(folder, endpoint, organisation, statement)
    except StoreError as error:
        # The verdict stands; only the next one cannot be compared with this statement.
        say_hanging(f"note: this statement is not remembered: {error}", stderr=True)


def _ours(policy: IdentityPolicy, trust: TrustRoot) -> Iterator[str]:
    """Yield the rules that the statement was judged under, which are the reader's own."""
    root = trust_source(trust)
    age = "" if root.age_days is None else f", confirmed {root.age_days} days ago"
    yield f"judged under the trust root {root.name}{age}: {root.sha256}"
    yield f"and the policy {policy.origin}: {policy.sha256}"
    if warning := root.warning():
        yield f"warning: {warning}"


def _lines(verdict: CorpusVerdict, policy: IdentityPolicy, trust: TrustRoot) -> Iterator[str]:
    statement = verdict.statement
    if statement is None:
        return
    summary, signer = statement.summary, statement.proof.signer
    versions = ", ".join(f"{name} {number}" for name, number in summary.verifier.version.items())
    yield (
        f"{len(statement.subjects)} records verified {summary.time_verified.isoformat()} by "
        f"{summary.verifier.id} ({versions})"
    )
    for name, theirs, ours in (
        ("policy", summary.policy.digest.sha256, policy.sha256),
        ("trust root", summary.trust_root.digest.sha256, trust.sha256),
    ):
        yield f"under the {name} {theirs} ({'yours' if theirs == ours else 'not the one you use'})"
    yield (
        f"signed {statement.proof.times[0].isoformat()} by {signer.identity} ({signer.issuer}), "
        f"log index {statement.proof.log_index}"
    )
    if statement.version == 1:
        yield f"does not bind: {', '.join(_NOT_BOUND_BY_VERSION_1)} (statement of version 1)"
    for problem in verdict.accepted:
        yield f"– {problem.difference} (accepted): {problem.detail}"
    for problem in verdict.problems:
        yield f"✗ {problem.difference}: {problem.detail}"


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
