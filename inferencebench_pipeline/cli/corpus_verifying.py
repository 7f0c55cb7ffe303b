"""The option ``verify --corpus``: one signature covers every result of an organisation."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from inferencebench_pipeline.cli.terminal import say, say_json
from inferencebench_pipeline.corpus import STATEMENT_FILE, TABLE_FILE
from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.files import sha256_of
from inferencebench_pipeline.hub import Hub, Repo, fetch_file
from inferencebench_pipeline.trust import (
    CorpusStatement,
    IdentityPolicy,
    StatementRejectedError,
    TrustRoot,
    verify_corpus_statement,
)

_HUB_TARGET = re.compile(
    r"hf://datasets/(?P<organisation>[^/@]+)/(?P<name>[^/@]+)(?:@(?P<rev>.+))?"
)
_SHOWN = 10


class CorpusTargetError(PermanentError):
    """The target holds no corpus statement, or no results that it could cover."""


@dataclass(frozen=True)
class Corpus:
    """A statement, and the results that it should cover.

    Attributes:
        where: the place of the corpus, for people.
        organisation: the namespace whose corpus it is.
        bundle: the signed statement.
        results: the name of each result, by the SHA-256 of its envelope.
    """

    where: str
    organisation: str
    bundle: bytes
    results: dict[str, str]


def read_corpus(
    target: str,
    deployment: Deployment,
    *,
    organisation: str | None,
    revision: str | None = None,
    offline: bool = False,
) -> Corpus:
    """Return the statement at ``target`` and the results that it should cover.

    Args:
        target: ``hf://datasets/ORG/NAME[@revision]``, or a folder that holds the statement with
            its table, or with envelopes.
        deployment: the deployment whose Hub is asked.
        organisation: the organisation whose corpus it must be. If None, an ``hf://`` target
            names it.
        revision: a branch, tag or commit on the Hub, in place of ``@revision``.
        offline: whether to refuse a target that needs a network.

    Raises:
        CorpusTargetError: there is nothing to verify there.
    """
    if target.startswith("hf://"):
        if offline:
            raise CorpusTargetError(f"{target} is on the Hub, which --offline does not allow")
        return _from_hub(target, deployment.hub(), revision)
    if revision is not None:
        raise CorpusTargetError(f"--revision is for hf:// targets; {target} is a path")
    folder = Path(target)
    owner = organisation or deployment.settings.organisation
    if owner is None:
        raise CorpusTargetError(
            f"name the organisation of the corpus in {folder} with --organisation"
        )
    try:
        bundle = (folder / STATEMENT_FILE).read_bytes()
    except OSError as error:
        raise CorpusTargetError(
            f"cannot read {folder / STATEMENT_FILE} ({error.strerror}); name the folder that holds "
            "it, or hf://datasets/ORG/NAME"
        ) from error
    # The published table names each result; without it the envelopes are hashed.
    table = folder / TABLE_FILE
    results = _of_table(table.read_bytes()) if table.is_file() else dict(_of_files(folder))
    if not results:
        raise CorpusTargetError(f"{folder} holds neither {TABLE_FILE} nor any envelope.json")
    return Corpus(str(folder), owner, bundle, results)


def verify_corpus(
    corpus: Corpus,
    *,
    trust: TrustRoot,
    policy: IdentityPolicy,
    issuer: str | None = None,
    identity: str | None = None,
    as_json: bool,
) -> bool:
    """Print and return whether the statement covers every result.

    Args:
        corpus: the result of :func:`read_corpus`.
        trust: the certificates, logs and clocks that count.
        policy: the identities that may state a corpus.
        issuer: the exact issuer that must have vouched for the signer. If None, any that the
            policy allows.
        identity: the exact identity that must have signed. If None, any that the policy allows.
        as_json: whether to print a JSON object instead of sentences.
    """
    statement: CorpusStatement | None = None
    try:
        statement = verify_corpus_statement(
            corpus.bundle, trust=trust, policy=policy, organisation=corpus.organisation
        )
    except StatementRejectedError as error:
        # A rejection is an answer of this command (exit code 1), and no failure of it.
        ok, reason = False, str(error)
    else:
        ok, reason = _judged(corpus, statement, issuer, identity)
    if as_json:
        say_json(json.dumps(_document(corpus, statement, ok, reason)))
    else:
        for line in _lines(corpus, statement, policy.sha256, trust.sha256):
            say(line)
        say(f"{'VERIFIED' if ok else 'REJECTED'}: {reason}")
    return ok


def _from_hub(target: str, hub: Hub, asked: str | None) -> Corpus:
    match = _HUB_TARGET.fullmatch(target)
    if match is None:
        raise CorpusTargetError(f"{target!r} is not of the form hf://datasets/ORG/NAME[@revision]")
    repo = Repo("dataset", f"{match['organisation']}/{match['name']}")
    # Pinned once, so that the statement and the table are of the same commit.
    revision = hub.head(repo, asked or match["rev"] or "main").commit
    if revision is None:
        raise CorpusTargetError(f"{repo.id} has no commit; there is nothing to verify")
    return Corpus(
        where=f"{hub.page_url(repo)}/tree/{revision}",
        organisation=match["organisation"],
        bundle=fetch_file(hub, repo.id, revision, STATEMENT_FILE),
        results=_of_table(fetch_file(hub, repo.id, revision, TABLE_FILE)),
    )


def _of_table(data: bytes) -> dict[str, str]:
    try:
        table = pq.read_table(io.BytesIO(data), columns=["envelope_sha256", "repo_id"])
        digests, names = (column.to_pylist() for column in table.columns)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorpusTargetError(f"{TABLE_FILE} cannot be read: {error}") from error
    return {str(digest): str(name) for digest, name in zip(digests, names, strict=True)}


def _of_files(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("envelope.json")):
        yield sha256_of(path), str(path.relative_to(folder))


def _judged(
    corpus: Corpus, statement: CorpusStatement, issuer: str | None, identity: str | None
) -> tuple[bool, str]:
    signer = statement.proof.signer
    who = f"{signer.identity} ({signer.issuer})"
    if issuer not in (None, signer.issuer) or identity not in (None, signer.identity):
        return False, f"signed by {who}; required was {identity or 'any'} ({issuer or 'any'})"
    uncovered = sorted(
        name for sha256, name in corpus.results.items() if sha256 not in statement.subjects
    )
    if uncovered:
        more = ", …" if len(uncovered) > _SHOWN else ""
        return False, (
            f"{len(uncovered)} of {len(corpus.results)} results are not in the statement: "
            f"{', '.join(uncovered[:_SHOWN])}{more}"
        )
    return True, f"{len(corpus.results)} results, each a subject of the statement signed by {who}"


def _lines(
    corpus: Corpus, statement: CorpusStatement | None, policy_sha256: str, trust_sha256: str
) -> Iterator[str]:
    yield corpus.where
    if statement is None:
        return
    summary = statement.summary
    versions = ", ".join(f"{name} {number}" for name, number in summary.verifier.version.items())
    yield f"  verified {summary.time_verified.isoformat()} by {summary.verifier.id} ({versions})"
    for name, theirs, ours in (
        ("policy", summary.policy.digest.sha256, policy_sha256),
        ("trust root", summary.trust_root.digest.sha256, trust_sha256),
    ):
        yield f"  under {name} {theirs} ({'yours' if theirs == ours else 'not the one you use'})"
    yield f"  log index {statement.proof.log_index}, signed {statement.proof.times[0].isoformat()}"


def _document(
    corpus: Corpus, statement: CorpusStatement | None, ok: bool, reason: str
) -> dict[str, object]:
    document: dict[str, object] = {
        "ok": ok,
        "reason": reason,
        "where": corpus.where,
        "organisation": corpus.organisation,
        "results": len(corpus.results),
    }
    if statement is not None:
        document |= {
            "subjects": len(statement.subjects),
            "statement_sha256": statement.statement_sha256,
            "summary": statement.summary.model_dump(mode="json", by_alias=True),
            "signer": statement.proof.signer.identity,
            "issuer": statement.proof.signer.issuer,
            "log_index": statement.proof.log_index,
        }
    return document
