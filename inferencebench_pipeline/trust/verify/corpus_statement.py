"""The corpus statement, one signature over all verified records of a corpus.

An in-toto Statement v1 whose subjects are the verified envelopes, by the SHA-256 of their bytes,
with a SLSA Verification Summary (https://slsa.dev/spec/v1.0/verification_summary) as predicate.
Signed as DSSE in a Sigstore bundle; verified here without any network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

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

STATEMENT_SUITE: Final = "inferencebench.corpus-statement"
"""Name of the suite that the policy must allow to a signer of statements."""
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/verification_summary/v1"
VERIFIED_LEVEL: Final = "INFERENCEBENCH_ENVELOPE_VERIFIED"
VERIFIER_ID: Final = "pkg:pypi/inferencebench-pipeline"
# A subject takes 165 bytes of the bundle (measured with 1,000 and 10,000 of them).
MAX_STATEMENT_BYTES: Final = 192 << 20
"""Largest bundle read: a million subjects."""

_Sha256 = Field(pattern="^[0-9a-f]{64}$")


class StatementRejectedError(PermanentError):
    """A corpus statement does not say, or does not prove, what it should."""


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


@dataclass(frozen=True)
class Subject:
    """One verified envelope."""

    name: str
    """The repository it is published in."""
    sha256: str
    """SHA-256 of the exact bytes of ``envelope.json``."""


@dataclass(frozen=True)
class CorpusStatement:
    """The contents of a verified statement, and its signer."""

    subjects: Mapping[str, str]
    """The repository of each envelope, by the SHA-256 of its bytes."""
    summary: VerificationSummary
    proof: VerifiedBundle
    statement_sha256: str


def corpus_resource(organisation: str) -> str:
    """Return what a statement about an organisation's corpus calls it."""
    return f"hf://datasets/{organisation}"


def build_statement(
    subjects: Iterable[Subject],
    *,
    organisation: str,
    policy_sha256: str,
    trust_root_sha256: str,
    counts: Counts,
    verified_at: datetime,
) -> bytes:
    """Return the exact bytes to sign; the same corpus at the same time gives the same bytes.

    Args:
        subjects: the verified envelopes.
        organisation: whose corpus it is.
        policy_sha256: the identity policy they were verified under.
        trust_root_sha256: the trust root.
        counts: how much was verified.
        verified_at: when the last of them was found to be verified.
    """
    summary = VerificationSummary(
        verifier=VerifierName(id=VERIFIER_ID, version={"verifier": VERIFIER_VERSION}),
        time_verified=verified_at.astimezone(UTC).replace(microsecond=0),
        resource_uri=corpus_resource(organisation),
        policy=_resource("policy.yaml", policy_sha256),
        verification_result="PASSED",
        verified_levels=(VERIFIED_LEVEL,),
        trust_root=_resource("trusted_root.json", trust_root_sha256),
        counts=counts,
    )
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": item.name, "digest": {"sha256": item.sha256}}
            for item in sorted(subjects, key=lambda item: (item.name, item.sha256))
        ],
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
        document: Any = orjson.loads(payload)
        kinds = (document["_type"], document["predicateType"])
        if kinds != (STATEMENT_TYPE, PREDICATE_TYPE):
            raise StatementRejectedError(f"the statement is of type {kinds[0]}, {kinds[1]}")
        summary = VerificationSummary.model_validate(document["predicate"])
        found = {item["digest"]["sha256"]: item["name"] for item in document["subject"]}
        stated = len(document["subject"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValidationError) as error:
        raise StatementRejectedError(f"the statement cannot be read: {error}") from error
    # A summary may name levels of others as well, and only this one is about envelopes.
    if VERIFIED_LEVEL not in summary.verified_levels:
        raise StatementRejectedError(f"the statement does not say {VERIFIED_LEVEL}")
    if not all(map(_is_sha256, found)) or not stated == len(found) == summary.counts.envelopes:
        raise StatementRejectedError(
            f"the statement counts {summary.counts.envelopes} envelopes, and names {stated} "
            f"subjects with {len(found)} digests"
        )
    return summary, found


def _is_sha256(text: object) -> bool:
    return isinstance(text, str) and len(text) == 64 and not text.strip("0123456789abcdef")


def _resource(uri: str, sha256: str) -> Resource:
    return Resource(uri=uri, digest=_Digest(sha256=sha256))
