"""The rolling share: everything within four weeks, and each day's share as few runs."""

from __future__ import annotations

from datetime import date, timedelta

from inferencebench_pipeline.automation.schedules.rolling_reverification import (
    ROUND_DAYS,
    rolling_share,
)

START = date(2026, 1, 1)
DAYS = [(START + timedelta(days=number)).isoformat() for number in range(400)]


def span(first: str, last: str) -> list[str]:
    return [day for day in DAYS if first <= day <= last]


def test_every_day_is_due_exactly_once_in_a_round():
    due = [
        day
        for offset in range(ROUND_DAYS)
        for share in rolling_share(DAYS, date(2027, 3, 1) + timedelta(days=offset))
        for day in span(*share)
    ]

    assert sorted(due) == DAYS


def test_a_days_share_is_a_few_runs_of_a_week_each():
    shares = [rolling_share(DAYS, START + timedelta(days=offset)) for offset in range(ROUND_DAYS)]

    assert max(map(len, shares)) <= 3
    assert all(len(span(*one)) <= 7 for share in shares for one in share)


def test_days_on_which_nothing_was_published_ask_for_no_run():
    asked = [rolling_share([DAYS[3]], START + timedelta(days=offset)) for offset in range(28)]

    assert [share for share in asked if share] == [[(DAYS[3], DAYS[3])]]
