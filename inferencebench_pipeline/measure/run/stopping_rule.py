"""The stopping rule for repeats, fixed beforehand, and a record of every look.

Whoever looks at an interval after each repeat and stops when it pleases claims too much. So the
looks share one error: each may spend the part that a spending function allows it (Lan and DeMets
1983, of O'Brien and Fleming's shape: little at first, most at the end), and since the parts add up
to the whole, the intervals of all looks together hold with the confidence that the spec asks for.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean, stdev
from typing import Final

from pydantic import Field

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.measure.spec.stated_parts import Repeats

CONDUCT: Final = "conduct.json"
"""The file of a capture that holds its :class:`Conduct`."""

_STEPS: Final = 400
"""The steps of Simpson's rule. The quantile is then good to six digits, far more than the rule
needs."""


class Estimate(DocumentPart):
    """The estimate of one metric at a look."""

    metric: str
    """The name of the metric."""
    mean: float | None
    """The mean over repeats in the metric's unit, null when a repeat gave no value."""
    relative_half_width: float | None
    """Half the interval's width over the mean, null without a mean or with one of 0."""


class Look(DocumentPart):
    """One look at the intervals over the repeats so far."""

    repeats: int = Field(ge=1)
    """The number of repeats so far."""
    error_spent: float = Field(gt=0, lt=1)
    """The part of the whole error, 1 - confidence, that this look's intervals use."""
    estimates: tuple[Estimate, ...]
    """The estimates of the metrics of the rule."""
    narrow_enough: bool
    """True when all intervals are narrow enough."""


class Conduct(DocumentPart):
    """The conduct of a run: its repeats, and why there were no more (``conduct.json``)."""

    repeats: int = Field(ge=1)
    """The number of repeats that were measured."""
    rule: Repeats
    """The rule that the spec states."""
    looks: tuple[Look, ...]
    """The looks at the intervals, in their order."""
    stopped_because: str
    """The reason why there were no more repeats."""


def error_to_spend(rule: Repeats, repeats: int) -> float:
    """Return the error that the look after so many repeats may spend."""
    # The first look comes after `least` repeats, and may spend what no look spent before.
    spent_before = _spent(rule, repeats - 1) if repeats > rule.least else 0.0
    return _spent(rule, repeats) - spent_before


def _spent(rule: Repeats, repeats: int) -> float:
    """Return the error that all looks up to this one may spend together."""
    normal = NormalDist()
    whole = 1.0 - rule.confidence
    # Lan and DeMets (1983), the O'Brien-Fleming shape, at the share of repeats that are done.
    z = normal.inv_cdf(1.0 - whole / 2)
    return 2.0 - 2.0 * normal.cdf(z / math.sqrt(repeats / rule.at_most))


def look(rule: Repeats, values: Sequence[Mapping[str, float | None]]) -> Look:
    """Return the look after a repeat.

    Args:
        rule: the spec's, with ``most``.
        values: the metrics of each repeat.
    """
    error = error_to_spend(rule, len(values))
    reach = t_quantile(1.0 - error / 2, len(values) - 1) / math.sqrt(len(values))
    estimates = tuple(
        _estimate(name, [repeat.get(name) for repeat in values], reach) for name in rule.metrics
    )
    return Look(
        repeats=len(values),
        error_spent=error,
        estimates=estimates,
        narrow_enough=all(
            estimate.relative_half_width is not None
            and estimate.relative_half_width <= rule.relative_half_width
            for estimate in estimates
        ),
    )


def _estimate(name: str, values: Sequence[float | None], reach: float) -> Estimate:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return Estimate(metric=name, mean=None, relative_half_width=None)
    mean = fmean(known)
    width = reach * stdev(known) / abs(mean) if mean else None
    return Estimate(metric=name, mean=mean, relative_half_width=width)


@functools.cache
def t_quantile(share: float, degrees: int) -> float:
    """Return the quantile of Student's t distribution, for a share of more than one half."""
    # Written out, because scipy is 35 MB and changes last digits with its versions.
    low, high = 0.0, 1.0
    while _t_below(high, degrees) < share:
        low, high = high, 2 * high
    # Sixty halvings use up the 53 bits of a float.
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_below(middle, degrees) < share else (low, middle)
    return high


def _t_below(value: float, degrees: int) -> float:
    """Return the share of Student's t distribution below a value that is not negative.

    With t = sqrt(degrees) tan(a) its density becomes cos(a) ** (degrees - 1), smooth and bounded.
    """
    end = math.atan(value / math.sqrt(degrees))
    width = end / _STEPS
    heights = [math.cos(step * width) ** (degrees - 1) for step in range(_STEPS + 1)]
    area = (heights[0] + heights[-1] + 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2])) / 3
    log_scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)
    return 0.5 + area * width * math.exp(log_scale) / math.sqrt(math.pi)
