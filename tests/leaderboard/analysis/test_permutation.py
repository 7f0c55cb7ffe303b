"""Permutation tests: chance is called chance as often as promised, effects are found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inferencebench_pipeline.leaderboard.analysis.permutation import (
    Stratum,
    adjusted_p_values,
    enough_runs,
    mid_ranks,
    p_value,
    p_values,
    seed_of,
)


def stratum(*groups):
    """One stratum of several levels' values."""
    values = np.concatenate([np.asarray(group, dtype=float) for group in groups])
    levels = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    return Stratum(values, levels)


def lognormal(random, size, level=100.0):
    return level * np.exp(random.normal(0, 0.1, size))


@pytest.mark.parametrize("sizes", [(5, 5), (12, 4), (4, 4, 4, 4)])
def test_without_an_effect_small_p_values_are_as_rare_as_promised(sizes):
    random = np.random.default_rng(7)
    found = np.array(
        [
            p_value(
                [
                    stratum(*(lognormal(random, size, level) for size in sizes))
                    for level in (100.0, 900.0)
                ],
                seed=trial,
            )
            for trial in range(400)
        ]
    )
    for nominal in (0.05, 0.2):
        # Four standard errors above the nominal rate of a binomial.
        most = nominal + 4 * np.sqrt(nominal * (1 - nominal) / len(found))
        assert (found <= nominal).mean() <= most
    assert (found <= 0.5).mean() > 0.3


def test_an_effect_is_found_although_the_strata_lie_far_apart():
    """One level was run on slow hardware mostly: pooled, it looks faster; alike, it is slower."""
    random = np.random.default_rng(3)
    slow = stratum(lognormal(random, 4, 1000), lognormal(random, 12, 1300))
    fast = stratum(lognormal(random, 12, 100), lognormal(random, 4, 130))
    assert p_value([slow, fast], seed=1) < 0.001


def test_pairs_alone_decide_when_there_are_enough():
    pairs = [stratum([base], [base * 1.1]) for base in range(10, 20)]
    assert enough_runs([pair.levels for pair in pairs])
    assert p_value(pairs, seed=1) < 0.01


def test_equal_values_are_no_difference():
    assert p_value([stratum([1.0] * 5, [1.0] * 5)], seed=1) == 1.0


@pytest.mark.parametrize(
    ("sizes", "enough"), [((3, 3), False), ((4, 4), True), ((1, 30), False), ((8, 2), True),
                          ((2, 2, 2), False), ((3, 3, 3), True)],
)  # fmt: skip
def test_too_few_runs_are_told_before_any_test(sizes, enough):
    assert enough_runs([stratum(*(range(size) for size in sizes)).levels]) is enough


def test_false_discovery_rate_adjustment_is_benjamini_hochbergs():
    assert adjusted_p_values([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])


def test_equal_values_share_the_mean_of_their_ranks():
    assert mid_ranks(np.array([3.0, 1.0, 3.0])).tolist() == [2.5, 1.0, 2.5]


@given(hnp.arrays(float, st.tuples(st.integers(1, 4), st.integers(1, 12)), elements=st.sampled_from(
    [0.0, 1.0, 1.5, 2.0, 9.0])))  # fmt: skip
def test_ranks_are_one_more_than_what_is_less_and_half_of_what_is_equal(values):
    for line, ranks in zip(values, mid_ranks(values), strict=True):
        for value, rank in zip(line, ranks, strict=True):
            assert rank == (line < value).sum() + ((line == value).sum() + 1) / 2


def test_what_is_said_of_a_metric_does_not_depend_on_the_others():
    """A clear effect, none at all, and only ties: each is drawn for as long as it needs."""
    random = np.random.default_rng(5)
    levels, within = np.tile([0, 0, 0, 0, 1, 1, 1, 1], 2), np.repeat([0, 1], 8)
    values = np.array([levels * 3 + random.normal(0, 0.1, 16), random.normal(0, 1, 16), [1.0] * 16])
    together = p_values(values, levels, within, seed=3)
    alone = [p_values(line[None, :], levels, within, seed=3)[0] for line in values]
    assert together == alone
    assert together[0] < 0.01 < together[1] < together[2] == 1.0


def test_the_same_runs_give_the_same_answer():
    runs = [stratum([1, 2, 3, 4, 5], [2, 3, 4, 5, 6])]
    assert p_value(runs, seed=seed_of("a")) == p_value(runs, seed=seed_of("a"))
