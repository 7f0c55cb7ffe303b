"""The corpus statement, one signature over all verified records of a corpus.

An in-toto Statement v1 whose subjects are the verified envelopes, by the SHA-256 of their bytes,
with a SLSA Verification Summary (https://slsa.dev/spec/v1.0/verification_summary) as predicate.
Signed as DSSE in a Sigstore bundle; verified here without any network. How a table and the files of
a leaderboard are compared with a statement is in ``corpus_comparison``.

What the standards have no field for is in one field of ours, ``inferencebench_corpus``, named as
SLSA asks of extensions (a vendor and an underscore), which any other reader ignores. It has a
version: a statement without it, which releases before made, is of version 1 and binds nothing but
the envelopes and a repository for each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Final, Literal, NamedTuple

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.trust.root.trust_root import TrustRoot
from inferencebench_pipeline.trust.verify.bundle import (
    INTOTO_PAYLOAD_TYPE,
    BundleRejectedError,
    VerifiedBundle,
    parse_bundle,
    verify_statement,
)
from inferencebench_pipeline.trust.verify.policy import IdentityPolicy
from inferencebench_pipeline.trust.verify.verdict import VERIFIER_VERSION
from inferencebench_pipeline.untrusted import Json, JsonDocumentError, parse_unambiguous_json

STATEMENT_SUITE: Final = "inferencebench.corpus-statement"
"""Name of the suite that the policy must allow to a signer of statements."""
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/verification_summary/v1"
VERIFIED_LEVEL: Final = "INFERENCEBENCH_ENVELOPE_VERIFIED"
VERIFIER_ID: Final = "pkg:pypi/inferencebench-pipeline"
STATEMENT_VERSION: Final = 2
"""The newest form of a statement: 2 binds every column of the table and the leaderboard's files."""
TABLE_FILE: Final = "corpus.parquet"
"""Name of the table that is published beside a statement."""
# A subject takes 165 bytes of the bundle (measured with 1,000 and 10,000 of them).
MAX_STATEMENT_BYTES: Final = 192 << 20
"""Largest bundle read: a million subjects."""
_MAX_VALUES: Final = 8 << 20
"""The most JSON values of a statement: a million subjects have six million."""

_CORPUS_FIELD: Final = "inferencebench_corpus"
"""Our one field of the predicate, named as SLSA asks of extensions: the vendor, and the name."""

_Sha256 = Field(pattern="^[0-9a-f]{64}$")


class StatementRejectedError(PermanentError):
    """A corpus statement does not say, or does not prove, what it should."""


class NewerStatementError(StatementRejectedError):
    """A corpus statement is of a version later than this verifier knows."""


class CorpusRow(NamedTuple):
    """One published record, as a row of the table beside a statement."""

    repo_id: str
    """The repository that it is published in."""
    revision: str | None
    """The commit of that repository."""
    created_day: str | None
    """The day on which the repository was created (UTC, ISO 8601)."""
    run_id: str | None
    """The id of the run."""
    envelope_sha256: str
    """The SHA-256 of the exact bytes of ``envelope.json``."""
    traces_sha256: str | None
    """The SHA-256 of ``traces.parquet``, None without traces."""


def column_digests(rows: Iterable[CorpusRow]) -> dict[str, str]:
    """Return the SHA-256 of each column of a table, by the column's name.

    The rows are ordered by the envelope's digest and then by the repository (both by code point),
    and a column is the JSON array of its values in UTF-8, without white space and with ``null``
    where there is none. Anybody computes it so from the table; docs/trust.md has the command. No
    column moves another one's values, so that a difference names the column that was changed.
    """
    ordered = sorted(rows, key=lambda row: (row.envelope_sha256, row.repo_id))
    return {
        name: hashlib.sha256(orjson.dumps([row[at] for row in ordered])).hexdigest()
        for at, name in enumerate(CorpusRow._fields)
    }


# Statement and summary are open standards: a reader ignores fields that it does not know.
class _StatementPart(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )


class _Digest(_StatementPart):
    sha256: str = _Sha256


class VerifierName(_StatementPart):
    """The program that verified, with the version of its rules."""

    id: str
    version: dict[str, str]


class Resource(_StatementPart):
    """A file by its digest."""

    uri: str
    digest: _Digest


class Counts(_StatementPart):
    """The number of records that were verified."""

    envelopes: int = Field(ge=0)
    with_traces: int = Field(ge=0)
    """Number of those whose metrics were derived again from their traces."""
    days: int = Field(ge=0)


class BoundTable(_StatementPart):
    """The table of the published records, column by column (:func:`column_digests`)."""

    name: str
    rows: int = Field(ge=0)
    """Number of repositories; an envelope that is published twice has two rows and one subject."""
    columns: dict[str, _Digest]


class BoundFile(_StatementPart):
    """A file of the leaderboard, as in-toto describes a resource."""

    name: str
    """Its path in the dataset of the index."""
    digest: _Digest


class BoundCorpus(_StatementPart):
    """The parts that a statement binds besides the envelopes: our one field of the predicate."""

    version: Literal[2]
    table: BoundTable
    index: tuple[BoundFile, ...]
    """The files that the leaderboard is shown from, ordered by their paths."""

    @property
    def files(self) -> dict[str, str]:
        """The SHA-256 of each file of the leaderboard, by its path."""
        return {file.name: file.digest.sha256 for file in self.index}


class VerificationSummary(_StatementPart):
    """The predicate: under which rules, when, and how much. Fields of the standard, and ours."""

    verifier: VerifierName
    time_verified: AwareDatetime
    resource_uri: str
    policy: Resource
    verification_result: Literal["PASSED"]
    verified_levels: tuple[str, ...]
    trust_root: Resource
    counts: Counts
    corpus: BoundCorpus | None = Field(
        default=None, validation_alias=_CORPUS_FIELD, serialization_alias=_CORPUS_FIELD
    )
    """The table and the files of the leaderboard; None in a statement of version 1."""


@dataclass(frozen=True)
class CorpusStatement:
    """The contents of a verified statement, and its signer."""

    subjects: Mapping[str, str]
    """The repository of each envelope, by the SHA-256 of its bytes."""
    summary: VerificationSummary
    proof: VerifiedBundle
    statement_sha256: str

    @property
    def version(self) -> int:
        """The version of its form, which says what it binds."""
        return 1 if self.summary.corpus is None else self.summary.corpus.version


def corpus_resource(organisation: str) -> str:
    """Return what a statement about an organisation's corpus calls it."""
    return f"hf://datasets/{organisation}"


def build_statement(
    rows: Sequence[CorpusRow],
    index: Mapping[str, str],
    *,
    organisation: str,
    policy_sha256: str,
    trust_root_sha256: str,
    verified_at: datetime,
) -> bytes:
    """Return the exact bytes to sign; the same corpus at the same time gives the same bytes.

    Args:
        rows: the published records, all of them verified.
        index: the SHA-256 of each file of the leaderboard, by its path in the published dataset.
        organisation: whose corpus it is.
        policy_sha256: the identity policy they were verified under.
        trust_root_sha256: the trust root.
        verified_at: when the last of them was found to be verified.
    """
    by_name = sorted(rows, key=lambda row: row.repo_id)
    # An envelope that is published twice is one subject, under the first of its repositories.
    names = {row.envelope_sha256: row.repo_id for row in reversed(by_name)}
    summary = VerificationSummary(
        verifier=VerifierName(id=VERIFIER_ID, version={"verifier": VERIFIER_VERSION}),
        time_verified=verified_at.astimezone(UTC).replace(microsecond=0),
        resource_uri=corpus_resource(organisation),
        policy=_resource("policy.yaml", policy_sha256),
        verification_result="PASSED",
        verified_levels=(VERIFIED_LEVEL,),
        trust_root=_resource("trusted_root.json", trust_root_sha256),
        counts=Counts(
            envelopes=len(names),
            with_traces=sum(row.traces_sha256 is not None for row in rows),
            days=len({row.created_day for row in rows}),
        ),
        corpus=BoundCorpus(
            version=STATEMENT_VERSION,
            table=BoundTable(
                name=TABLE_FILE,
                rows=len(rows),
                columns={name: _Digest(sha256=it) for name, it in column_digests(rows).items()},
            ),
            index=tuple(
                BoundFile(name=path, digest=_Digest(sha256=sha256))
                for path, sha256 in sorted(index.items())
            ),
        ),
    )
    subjects = sorted((name, sha256) for sha256, name in names.items())
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in subjects],
        "predicateType": PREDICATE_TYPE,
        "predicate": summary.model_dump(mode="json", by_alias=True),
    }
    return orjson.dumps(document)


def verify_corpus_statement(
    bundle: bytes, *, trust: TrustRoot, policy: IdentityPolicy, organisation: str
) -> CorpusStatement:
    """Return what the statement in ``bundle`` says of the corpus of ``organisation``.

    The bundle must prove it as a signature on an envelope is proven, by an identity that the
    policy lets speak for :data:`STATEMENT_SUITE` of that organisation. Whether it was verified
    under the reader's own policy and trust root is for the reader to compare.

    Raises:
        NewerStatementError: it is proven, and says what a later verifier can read.
        StatementRejectedError: naming what is wrong; whatever fails is a rejection.
    """
    try:
        parsed = parse_bundle(bundle, max_bytes=MAX_STATEMENT_BYTES)
        payload, proof = verify_statement(parsed, trust)
    except BundleRejectedError as error:
        raise StatementRejectedError(f"{error.check}: {error}") from error
    refusal = policy.signer_refusal(
        organisation=organisation,
        suite_id=STATEMENT_SUITE,
        signer=proof.signer,
        signed_at=proof.times,
    )
    if refusal is not None:
        raise StatementRejectedError(f"identity_policy: {refusal}")
    summary, subjects = _read(payload)
    if summary.resource_uri != corpus_resource(organisation):
        raise StatementRejectedError(
            f"the statement is about {summary.resource_uri}, not {corpus_resource(organisation)}"
        )
    return CorpusStatement(subjects, summary, proof, hashlib.sha256(payload).hexdigest())


def logged_digests(statement: bytes) -> tuple[str, str]:
    """Return the digests by which logs know a statement: Rekor v1 by payload, v2 by DSSE's PAE."""
    kind = INTOTO_PAYLOAD_TYPE.encode()
    # DSSE's pre-authentication encoding: the type and the payload, each behind its length.
    pae = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(statement), statement)
    return hashlib.sha256(statement).hexdigest(), hashlib.sha256(pae).hexdigest()


def _read(payload: bytes) -> tuple[VerificationSummary, dict[str, str]]:
    """Return the predicate and the subjects, each of which must have one digest of its own."""
    try:
        document = parse_unambiguous_json(
            payload, what="the statement", max_bytes=MAX_STATEMENT_BYTES, max_values=_MAX_VALUES
        )
        kinds = (document["_type"], document["predicateType"])
        if kinds != (STATEMENT_TYPE, PREDICATE_TYPE):
            raise StatementRejectedError(f"the statement is of type {kinds[0]}, {kinds[1]}")
        _require_known_version(document["predicate"])
        summary = VerificationSummary.model_validate(
            # A name in our spelling is not the standard's, and would be a second one for a field.
            document["predicate"],
            by_alias=True,
            by_name=False,
        )
        found = {item["digest"]["sha256"]: str(item["name"]) for item in document["subject"]}
        stated = len(document["subject"])
    except (JsonDocumentError, LookupError, TypeError, AttributeError, ValidationError) as error:
        raise StatementRejectedError(f"the statement cannot be read: {error}") from error
    # A summary may name levels of others as well, and only this one is about envelopes.
    if VERIFIED_LEVEL not in summary.verified_levels:
        raise StatementRejectedError(f"the statement does not say {VERIFIED_LEVEL}")
    if not all(map(_is_sha256, found)) or not stated == len(found) == summary.counts.envelopes:
        raise StatementRejectedError(
            f"the statement counts {summary.counts.envelopes} envelopes, and names {stated} "
            f"subjects with {len(found)} digests"
        )
    if summary.corpus is not None:
        _require_whole(summary.corpus)
    return summary, found


def _require_known_version(predicate: Json) -> None:
    """Refuse a later form before its fields are read, which may have changed."""
    version = predicate.get(_CORPUS_FIELD, {}).get("version", 1)
    if isinstance(version, int) and version > STATEMENT_VERSION:
        raise NewerStatementError(
            f"the statement is of version {version}, and this verifier reads up to "
            f"{STATEMENT_VERSION}; use a later release"
        )


def _require_whole(corpus: BoundCorpus) -> None:
    """Refuse a statement that binds no whole table, or a file outside of the dataset."""
    if set(corpus.table.columns) != set(CorpusRow._fields):
        raise StatementRejectedError(
            f"the statement binds the columns {', '.join(sorted(corpus.table.columns))} of the "
            f"table, not {', '.join(sorted(CorpusRow._fields))}"
        )
    if len(corpus.files) != len(corpus.index):
        raise StatementRejectedError("the statement names a file of the leaderboard twice")
    for name in corpus.files:
        path = PurePosixPath(name)
        # The name becomes part of a path and of an address.
        if path.is_absolute() or ".." in path.parts or str(path) != name:
            raise StatementRejectedError(f"the statement names the file {name!r}, which is no path")


def _is_sha256(text: object) -> bool:
    return isinstance(text, str) and len(text) == 64 and not text.strip("0123456789abcdef")


def _resource(uri: str, sha256: str) -> Resource:
    return Resource(uri=uri, digest=_Digest(sha256=sha256))
