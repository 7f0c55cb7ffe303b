"""Pareto fronts: the fast sweep says what comparing every pair says, whatever the intervals."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from inferencebench_pipeline.leaderboard.analysis.pareto import Measured, standings

# Few distinct numbers, so that ties on one axis and on both are common.
numbers = st.integers(-4, 4).map(float)


@st.composite
def measured(draw: st.DrawFn) -> Measured:
    value = draw(numbers)
    if draw(st.booleans()):
        return Measured(value)
    return Measured(value, value - draw(st.integers(0, 3)), value + draw(st.integers(0, 3)))


points = st.lists(st.tuples(measured(), measured()), max_size=12)
directions = st.sampled_from(["lower", "higher"])


def dominates(a, b, better):
    """Whether values ``a`` dominate values ``b``: at least as good on both, better on one."""
    gains = [
        (p - q) * (1 if way == "higher" else -1) for p, q, way in zip(a, b, better, strict=True)
    ]
    return min(gains) >= 0 and max(gains) > 0


def corners(point):
    return list(product(*([item.low, item.high] for item in point)))


@given(points, directions, directions)
def test_the_front_is_what_comparing_every_pair_gives(cloud, x_better, y_better):
    found = standings(cloud, x_better=x_better, y_better=y_better)
    values = [(x.value, y.value) for x, y in cloud]
    for own, standing in zip(values, found, strict=True):
        beaten = any(dominates(other, own, (x_better, y_better)) for other in values)
        assert standing.on_front == (not beaten)


@given(points, directions, directions)
def test_dominated_for_sure_means_for_every_choice_within_the_intervals(cloud, x_better, y_better):
    found = standings(cloud, x_better=x_better, y_better=y_better)
    for at, (point, standing) in enumerate(zip(cloud, found, strict=True)):
        known = all(item.low is not None for item in point)
        sure = known and any(
            all(
                dominates(theirs, ours, (x_better, y_better))
                for theirs in corners(other)
                for ours in corners(point)
            )
            for index, other in enumerate(cloud)
            if index != at and all(item.low is not None for item in other)
        )
        assert standing.dominated_for_sure == sure
        assert not (standing.on_front and standing.dominated_for_sure)


def test_a_wide_interval_is_not_beaten_by_a_better_number():
    slow, fast = Measured(90, 70, 110), Measured(100, 95, 105)
    same = Measured(10, 10, 10)
    first, second = standings([(slow, same), (fast, same)], x_better="higher", y_better="lower")
    assert not first.on_front and not first.dominated_for_sure
    assert second.on_front


def test_a_number_without_an_interval_proves_nothing():
    better, worse = (Measured(100), Measured(100)), (Measured(1, 1, 1), Measured(1, 1, 1))
    found = standings([better, worse], x_better="higher", y_better="higher")
    assert [item.on_front for item in found] == [True, False]
    assert not any(item.dominated_for_sure for item in found)


def test_an_interval_that_misses_its_own_value_is_widened_to_hold_it():
    odd, other = Measured(5, 1, 2), Measured(4, 4, 4)
    flat = Measured(0, 0, 0)
    found = standings([(odd, flat), (other, flat)], x_better="higher", y_better="higher")
    assert found[0].on_front and not found[0].dominated_for_sure
