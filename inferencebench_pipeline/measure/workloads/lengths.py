"""Token lengths drawn from the distributions of a spec, the same for the same key for ever."""

from __future__ import annotations

import hashlib
import math
import random
from statistics import NormalDist

from inferencebench_pipeline.measure.spec.workload import FixedLength, Length, NormalLength

_MOST_DRAWS = 10_000


def generator(key: str) -> random.Random:
    """Return a random generator seeded by text; only its ``random()`` never changes in Python."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest())
    return random.Random(seed)  # noqa: S311 - a workload, not a secret


def draw_length(length: Length, key: str) -> int:
    """Return a length in tokens, decided by ``key``."""
    if isinstance(length, FixedLength):
        return length.tokens
    chance = generator(key)
    for _ in range(_MOST_DRAWS):
        # Inverse transform: 0 and 1 themselves have no quantile.
        share = min(max(chance.random(), 1e-12), 1 - 1e-12)
        drawn = round(_quantile(length, share))
        if length.min <= drawn <= length.max:
            return drawn
    # The bounds leave nearly nothing of the distribution. Its mean always lies within them.
    return round(length.mean)


def _quantile(length: Length, share: float) -> float:
    assert not isinstance(length, FixedLength), "it has no distribution"
    standard = NormalDist().inv_cdf(share)
    if isinstance(length, NormalLength):
        return length.mean + length.stdev * standard
    # The parameters of the logarithm, from the mean and the deviation of the length itself.
    variance = math.log1p((length.stdev / length.mean) ** 2)
    return math.exp(math.log(length.mean) - variance / 2 + math.sqrt(variance) * standard)
