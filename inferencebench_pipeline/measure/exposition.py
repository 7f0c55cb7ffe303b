"""Reads the text that an engine's ``/metrics`` answers with (Prometheus exposition format)."""

from __future__ import annotations

import math
import re
from typing import Final

_SERIES: Final = re.compile(
    r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[^\"}]|\"(?:[^\"\\]|\\.)*\")*)\})?\s+(\S+)", re.MULTILINE
)
_MODEL: Final = re.compile(r'(?:^|,)\s*model_name="((?:[^"\\]|\\.)*)"')


def read_exposition(text: str, model: str) -> dict[str, float]:
    """Return each metric's value, summed over its series.

    Series of another model (label ``model_name``) are left out, and so are values that are not
    numbers (``NaN`` until something happened).

    Args:
        text: what ``/metrics`` answered.
        model: the name the engine serves our model by.
    """
    totals: dict[str, float] = {}
    for name, labels, written in _SERIES.findall(text):
        named = _MODEL.search(labels)
        if named is not None and named[1] != model:
            continue
        try:
            value = float(written)
        except ValueError:
            continue
        if math.isfinite(value):
            totals[name] = totals.get(name, 0.0) + value
    return totals
