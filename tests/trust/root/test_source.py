"""The origin and age of a trust root, as a verdict states them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from inferencebench_pipeline.trust.root.source import OLD_AFTER, trust_source
from inferencebench_pipeline.trust.root.trust_root import Origin
from tests.trust.conftest import World

CHECKED = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("passed", "days", "old"),
    [
        (timedelta(hours=-5), 0, False),
        (timedelta(hours=23), 0, False),
        (OLD_AFTER, 180, False),
        (OLD_AFTER + timedelta(seconds=1), 180, True),
        (timedelta(days=400), 400, True),
    ],
)
def test_a_root_is_old_when_nobody_has_confirmed_it_for_half_a_year(
    world: World, passed: timedelta, days: int, old: bool
) -> None:
    root = replace(world.trust, origin=Origin("a name", CHECKED, "do this"))
    source = trust_source(root, now=CHECKED + passed)
    assert (source.name, source.sha256, source.age_days, source.old) == (
        "a name",
        world.trust.sha256,
        days,
        old,
    )
    warning = source.warning()
    assert (warning is not None) == old
    if warning is not None:
        assert f"{days} days ago" in warning
        assert warning.endswith("renew it: do this")


def test_nobody_knows_the_age_of_a_file_that_was_named(world: World) -> None:
    source = trust_source(world.trust)
    assert source.name == "named by INFERENCEBENCH_TRUST_CONFIG"
    assert source.place == str(world.trust_config)
    assert (source.checked_at, source.age_days, source.old) == (None, None, False)
    assert source.warning() is None
