"""A run ends before it is signed, as far as the clock of the machine that measured is right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from inferencebench_pipeline.trust.verify.times import CLOCK_TOLERANCE, time_contradiction

SIGNED = datetime(2026, 5, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("late", "contradicts"),
    [
        (timedelta(days=-400), False),
        (timedelta(0), False),
        (CLOCK_TOLERANCE, False),
        (CLOCK_TOLERANCE + timedelta(microseconds=1), True),
        (timedelta(days=26_000), True),
    ],
)
def test_a_run_ends_before_its_signature(late: timedelta, contradicts: bool) -> None:
    problem = time_contradiction(SIGNED + late, SIGNED)
    assert (problem is not None) == contradicts
    if problem is not None:
        assert "2026-05-15T12:00:00+00:00" in problem


def test_instants_are_compared_and_not_their_texts() -> None:
    elsewhere = timezone(timedelta(hours=14))
    assert time_contradiction(SIGNED.astimezone(elsewhere), SIGNED) is None
