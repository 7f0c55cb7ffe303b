"""The sentence of a check over findings is true, and its plurals are right."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from inferencebench_pipeline.corpus.findings import Finding, FindingKind, Severity
from inferencebench_pipeline.lifecycle.corpus.findings import check_result

SEEN = datetime(2026, 5, 18, tzinfo=UTC)


def found(count: int, owner: str, severity: Severity = Severity.ERROR) -> list[Finding]:
    return [
        Finding(
            kind=FindingKind.REJECTED,
            severity=severity,
            repo_id=f"{owner}/{number}",
            revision="a" * 40,
            detail="the signature does not hold",
            seen_at=SEEN,
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("ours", "others", "sentence"),
    [
        ([], [], "no findings"),
        (found(1, "ours"), [], "1 error: rejected"),
        (found(2, "ours"), [], "2 errors: rejected"),
        (found(1, "ours", Severity.WARN), [], "1 finding, no error"),
        (found(2, "ours", Severity.WARN), [], "2 findings, no error"),
        (
            found(1, "ours"),
            found(3, "them"),
            "1 error: rejected; 3 findings about records of others",
        ),
        ([], found(1, "them"), "no findings; 1 finding about records of others"),
    ],
)
def test_ours_and_those_of_others_are_counted_apart(ours, others, sentence):
    community = {item.repo_id for item in others}
    result = check_result([*ours, *others], community)
    assert result.description == sentence
    assert result.passed == (not any(item.severity is Severity.ERROR for item in ours))
