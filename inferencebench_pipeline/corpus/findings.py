"""Findings of the crawl and the verification about a repository, each since an instant."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from pydantic import AwareDatetime

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.untrusted import printable

MAX_DETAIL_CHARACTERS = 2000
"""The longest text of a finding; the rest of a longer one is left out."""


class Severity(StrEnum):
    """The weight of a finding; ``error`` blocks the corpus verification."""

    ERROR = "error"
    WARN = "warn"
    INFO = "info"


class FindingKind(StrEnum):
    """The things that can be wrong with a published record.

    The first group is noticed while crawling, the second while verifying, the third while the
    transparency logs are examined. A verdict's failure class is the name of a kind.
    """

    NO_ENVELOPE = "no_envelope"
    MALFORMED = "malformed"
    UNREADABLE = "unreadable"
    VANISHED = "vanished"
    MOVED = "moved"
    REVISION_CHANGED = "revision_changed"
    ENVELOPE_REPLACED = "envelope_replaced"
    TRACES_REPLACED = "traces_replaced"

    TAMPERED = "tampered"
    SIGNATURE_INVALID = "signature_invalid"
    IDENTITY_NOT_ALLOWED = "identity_not_allowed"
    METRICS_DO_NOT_REDERIVE = "metrics_do_not_rederive"
    TRACES_MISMATCH = "traces_mismatch"
    TRACES_MISSING = "traces_missing"
    TRACES_CONTRADICT = "traces_contradict"
    TIME_CONTRADICTS = "time_contradicts"
    NEWER_THAN_VERIFIER = "newer_than_verifier"
    PLACE_DISAGREES = "place_disagrees"
    UNSIGNED = "unsigned"
    REJECTED = "rejected"
    CARD_DISAGREES = "card_disagrees"
    CARD_INCOMPLETE = "card_incomplete"
    DUPLICATE_RUN = "duplicate_run"
    BLOB_DAMAGED = "blob_damaged"

    LOG_INCONSISTENT = "log_inconsistent"


SEVERITY: dict[FindingKind, Severity] = {
    FindingKind.NO_ENVELOPE: Severity.WARN,
    FindingKind.MOVED: Severity.WARN,
    FindingKind.REVISION_CHANGED: Severity.INFO,
    FindingKind.DUPLICATE_RUN: Severity.WARN,
    # Nothing speaks against it; a newer release is needed to say more.
    FindingKind.NEWER_THAN_VERIFIER: Severity.WARN,
    FindingKind.CARD_INCOMPLETE: Severity.WARN,
}
"""Severity of the kinds that are not errors; every other kind is one."""


class Finding(DocumentPart):
    """One thing that is wrong, or worth knowing, about one published repository."""

    kind: FindingKind
    """The kind of the finding."""
    severity: Severity
    """The severity of the finding."""
    repo_id: str
    """The id of the dataset repository on the Hub."""
    revision: str | None
    """The commit that the finding is about."""
    detail: str
    """The finding in one sentence."""
    seen_at: AwareDatetime
    """The instant (UTC) when it was first noticed, which a finding that persists keeps."""

    @property
    def identity(self) -> tuple[FindingKind, str, str | None, str]:
        """The parts that two findings share when they are one finding, seen at two times."""
        return (self.kind, self.repo_id, self.revision, self.detail)


def finding(
    kind: FindingKind, repo_id: str, revision: str | None, detail: str, seen_at: datetime
) -> Finding:
    """Return a finding with the severity of its kind; its detail is one printable line."""
    return Finding(
        kind=kind,
        severity=SEVERITY.get(kind, Severity.ERROR),
        repo_id=repo_id,
        revision=revision,
        detail=printable(detail, MAX_DETAIL_CHARACTERS),
        seen_at=seen_at,
    )


def keep_first_seen(new: Iterable[Finding], old: Iterable[Finding]) -> list[Finding]:
    """Return ``new`` in a stable order, each with the instant it was first seen at.

    An unchanged corpus therefore yields byte-identical finding files, however often it is crawled.
    """
    known = {item.identity: item for item in old}
    kept = {item.identity: known.get(item.identity, item) for item in new}
    return sorted(kept.values(), key=lambda item: (item.repo_id, item.kind, item.detail))
