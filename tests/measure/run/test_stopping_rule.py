"""The stopping rule: its quantiles, its error over all looks, and what a look says."""

from __future__ import annotations

import pytest

from inferencebench_pipeline.measure.run.stopping_rule import error_to_spend, look, t_quantile
from inferencebench_pipeline.measure.spec.stated_parts import Repeats
from tests.chance import dice, examples

RULE = Repeats(least=5, most=12, relative_half_width=0.05, metrics=("ttft_p50_ms",))


@pytest.mark.parametrize(
    ("share", "degrees", "expected"),
    [(0.975, 1, 12.7062), (0.975, 4, 2.77645), (0.995, 4, 4.60409), (0.9995, 30, 3.64596)],
)
def test_the_quantile_is_that_of_published_tables(share, degrees, expected) -> None:
    assert t_quantile(share, degrees) == pytest.approx(expected, rel=1e-5)


def test_all_looks_together_spend_the_error_and_the_first_ones_little() -> None:
    spent = [error_to_spend(RULE, repeats) for repeats in range(5, 13)]
    assert sum(spent) == pytest.approx(0.05)
    assert min(spent) > 0
    assert spent[0] < 0.01


def test_a_look_says_how_wide_each_interval_is() -> None:
    rule = RULE.model_copy(update={"metrics": ("a", "b")})
    seen = look(rule, [{"a": 100.0 + n, "b": None if n == 3 else 1.0} for n in range(5)])
    assert seen.estimates[0].mean == 102.0
    assert seen.estimates[0].relative_half_width == pytest.approx(0.0474, rel=0.01)
    assert seen.estimates[1].relative_half_width is None
    assert not seen.narrow_enough
    assert look(RULE, [{"ttft_p50_ms": 100.0 + n / 10} for n in range(5)]).narrow_enough


def test_looking_after_every_repeat_still_covers_as_often_as_it_claims() -> None:
    """A rule that stopped at the first narrow 95 % interval would miss the truth more often."""
    chance = dice("repeats that vary")
    missed = 0
    runs = examples(400)
    for _ in range(runs):
        values = []
        while len(values) < RULE.at_most:
            values.append({"ttft_p50_ms": chance.gauss(100.0, 6.0)})
            if len(values) >= RULE.least:
                seen = look(RULE, values)
                if seen.narrow_enough:
                    break
        (found,) = seen.estimates
        missed += abs(found.mean - 100.0) > found.relative_half_width * found.mean
    assert missed <= 0.05 * runs + 2 * (0.05 * 0.95 * runs) ** 0.5
