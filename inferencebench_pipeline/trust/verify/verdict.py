"""The verdict on a record: every check with its result, and the conclusion."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import Field

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.measure import METRIC_DEFINITIONS_VERSION, TRACES_SCHEMA_VERSION
from inferencebench_pipeline.trust.log.checkpoints import Checkpoint

RULES_VERSION: Final = 4
"""Raised whenever the same bytes under the same policy could get another verdict, for any other
reason than a further version of the definitions or of the traces."""
VERIFIER_VERSION: Final = f"{RULES_VERSION}.{METRIC_DEFINITIONS_VERSION}.{TRACES_SCHEMA_VERSION}"
"""The rules, and the newest definitions and traces that are judged by them. A verdict of another
version is reached anew, so raising either of these can be forgotten nowhere."""


class CheckStatus(StrEnum):
    """The result of a check."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Outcome(StrEnum):
    """The verdict in one word."""

    VERIFIED = "verified"
    """Everything that the record binds was there, was checked, and holds."""
    REJECTED = "rejected"
    """A check failed."""
    INCOMPLETE = "incomplete"
    """Nothing contradicts, but the traces that the record binds were not there to check."""
    NEWER = "newer"
    """The record names a schema or definitions later than this verifier knows."""


class FailureClass(StrEnum):
    """The kind of fault of a record that is not accepted."""

    MALFORMED = "malformed"
    UNSIGNED = "unsigned"
    TAMPERED = "tampered"
    SIGNATURE_INVALID = "signature_invalid"
    IDENTITY_NOT_ALLOWED = "identity_not_allowed"
    TRACES_MISMATCH = "traces_mismatch"
    METRICS_DO_NOT_REDERIVE = "metrics_do_not_rederive"
    NEWER_THAN_VERIFIER = "newer_than_verifier"
    TRACES_MISSING = "traces_missing"
    TRACES_CONTRADICT = "traces_contradict"
    TIME_CONTRADICTS = "time_contradicts"
    PLACE_DISAGREES = "place_disagrees"


_OUTCOMES: Final = {
    FailureClass.NEWER_THAN_VERIFIER: Outcome.NEWER,
    FailureClass.TRACES_MISSING: Outcome.INCOMPLETE,
}


def outcome_of(failure: FailureClass | None) -> Outcome:
    """Return the outcome of a record with that failure; verified for one without."""
    if failure is None:
        return Outcome.VERIFIED
    return _OUTCOMES.get(failure, Outcome.REJECTED)


class Check(DocumentPart):
    """One check: its name, its result, one sentence on what was found, and the values seen."""

    name: str
    """The name of the check."""
    status: CheckStatus
    """The result of the check."""
    detail: str
    """The finding in one sentence."""
    evidence: dict[str, str] = Field(default_factory=dict)
    """The values that were seen, by their names."""


class VerifiedSigner(DocumentPart):
    """The signer of a signature that verifies."""

    method: str
    """The method of the signature."""
    identity: str
    """The certificate's subject alternative name, or the pinned key's fingerprint."""
    issuer: str
    """Party that vouched for the identity: the OIDC issuer, or ``policy`` for a pinned key."""


class LogPosition(DocumentPart):
    """The position of the signature in the transparency log."""

    index: int
    """The index of the entry in the log."""
    log_id: str
    """The hex of the id of the log."""
    url: str | None
    """The page of the entry, where the log has one."""
    integrated_time: datetime | None
    """Time at which the log took the entry in, when the log signs it (Rekor v1)."""


class Verdict(DocumentPart):
    """The content of ``verdict.json``."""

    verifier_version: str = VERIFIER_VERSION
    """The version of the verifier's rules."""
    content_hash: str | None
    """None when the bytes are not an envelope."""
    ok: bool
    """True when the outcome is ``verified``, and for no other."""
    outcome: Outcome
    """The outcome in one word."""
    reason: str
    """The outcome in one sentence."""
    checks: tuple[Check, ...]
    """The checks in their order."""
    signer: VerifiedSigner | None = None
    """The signer, when the signature verifies."""
    log: LogPosition | None = None
    """The position of the signature in the log."""
    signed_at: datetime | None = None
    """The earliest time a trusted clock vouches for; proof of "not later than", never before."""
    policy_sha256: str
    """The SHA-256 of the policy."""
    trust_root_sha256: str
    """The SHA-256 of the trust root."""
    failure_class: FailureClass | None = None
    """The class of the failure, null for an accepted record."""

    @property
    def signature_holds(self) -> bool:
        """True when who signed, what and when is proven, whether or not the rest can be judged."""
        return self.outcome is not Outcome.REJECTED


class Proven(NamedTuple):
    """A verdict, and what the verifier has proven beside it, so that nobody reads it again."""

    verdict: Verdict
    """The verdict on the record."""
    checkpoint: Checkpoint | None = None
    """The signed state of the log that the proof leads to; None for a record that is rejected or
    in no log."""
    content_sha256: str | None = None
    """The digest of what the traces of an accepted record hold, however they are encoded; None
    without traces."""


Verify = Callable[[bytes, bytes | None], Verdict]
"""Verifies envelope bytes, and the traces when they are given."""
ProveFor = Callable[[bytes, Path | bytes | None, str], Proven]
"""Verifies for the organisation that published the record, and says what else was proven. The
traces are a file or its bytes."""
