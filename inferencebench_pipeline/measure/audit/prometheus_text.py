"""Reads the text that an engine's ``/metrics`` answers with (Prometheus exposition format)."""

from __future__ import annotations

import math
import re
from typing import Final

_SERIES: Final = re.compile(
    r"^([a-zA-Z_:][a-zA-Z0-9_:]*+)"
    r'(?:\{((?:[^"}\n]|"(?:[^"\\\n]|\\.)*+")*+)\})?+'
    r"[ \t]++([^\s]{1,64}+)(?!\S)",
    re.MULTILINE,
)
"""The form of one line of the text. No repetition ever gives back what it took, and none goes
beyond its line, so the time is linear in the text whatever an engine sends."""
_MODEL: Final = re.compile(r'(?:^|,)[ \t]*+model_name="((?:[^"\\]|\\.)*+)"')


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
