"""Arrival schedules: drawn or read before the run, hashed, the same for the same seed."""

from __future__ import annotations

import hashlib
import json
import math
import random
import struct
from collections.abc import Iterator
from itertools import islice, pairwise

from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.spec.load import ClosedLoad, OpenLoad, ReplayLoad
from inferencebench_pipeline.measure.workloads.resolution import read_schedule

_NS_PER_S = 10**9
_MOST_OFFSET_S = 604_800.0
"""A week: the longest run that ``deadlines.run_s`` allows."""


def arrival_offsets_ns(load: OpenLoad | ReplayLoad, seed: int) -> list[int]:
    """Return when each request, warm-up included, is due: nanoseconds after the origin.

    A constant process has equal gaps, a Poisson process exponential ones, a gamma process gaps of
    shape ``burstiness`` and the same mean. They are not rescaled to end at requests / rate, which
    would make their number and their rate depend on each other.

    Raises:
        SpecError: a schedule to replay cannot be read, is not one, or is too short.
    """
    count = load.warmup_requests + load.requests
    if isinstance(load, ReplayLoad):
        return _replayed(load, count)
    if load.process == "constant":
        # From the index, not from the gap before: the rounding of one gap must not add up.
        return [round(index * _NS_PER_S / load.rate_per_s) for index in range(count)]
    # The Mersenne Twister: random() is the one method that Python promises not to change.
    generator = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    gaps = (
        _exponential(generator)
        if load.burstiness is None
        else _gamma(generator, load.burstiness, 1.0 / load.burstiness)
    )
    offsets: list[int] = []
    elapsed_s = 0.0
    # The first request is due at the origin, so each gap counts for the request after it.
    for gap in islice(gaps, count):
        offsets.append(round(elapsed_s * _NS_PER_S))
        elapsed_s += gap / load.rate_per_s
    return offsets


def _exponential(generator: random.Random) -> Iterator[float]:
    while True:
        # random() may return 0 but never 1, and the logarithm must not see 0.
        yield -math.log(1.0 - generator.random())


def _gamma(generator: random.Random, shape: float, scale: float) -> Iterator[float]:
    """Yield gamma variates: Marsaglia and Tsang, ACM TOMS 26(3), 2000.

    A shape below one is drawn from the one above it and a power of a uniform variate (section 6).
    """
    # Not random.gammavariate, since Python promises the sequence of random() alone.
    d = (shape if shape >= 1.0 else shape + 1.0) - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        radius = math.sqrt(-2.0 * math.log(1.0 - generator.random()))
        normal = radius * math.cos(2.0 * math.pi * generator.random())  # Box and Muller
        v = (1.0 + c * normal) ** 3
        uniform = 1.0 - generator.random()
        if v <= 0.0 or math.log(uniform) >= 0.5 * normal**2 + d * (1.0 - v + math.log(v)):
            continue
        boost = 1.0 if shape >= 1.0 else (1.0 - generator.random()) ** (1.0 / shape)
        yield d * v * boost * scale


def _replayed(load: ReplayLoad, count: int) -> list[int]:
    lines = (line.partition(b"#")[0].strip() for line in read_schedule(load).splitlines())
    offsets_s = [_seconds(text, number, load) for number, text in enumerate(lines, start=1) if text]
    if len(offsets_s) < count:
        raise SpecError(
            f"load.schedule = {load.schedule!r} holds {len(offsets_s)} arrivals, and "
            f"load.warmup_requests + load.requests = {count}; lower load.requests"
        )
    if any(later < earlier for earlier, later in pairwise(offsets_s)):
        raise SpecError(f"load.schedule = {load.schedule!r} goes back in time; sort its lines")
    # A recording may begin with any offset. Its first arrival is our origin.
    first = offsets_s[0]
    return [round((offset - first) / load.speed * _NS_PER_S) for offset in offsets_s[:count]]


def _seconds(text: bytes, number: int, load: ReplayLoad) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    # NaN fails every comparison, so this refuses text, "nan" and "inf" alike.
    if not 0.0 <= seconds <= _MOST_OFFSET_S * load.speed:
        raise SpecError(
            f"line {number} of load.schedule = {load.schedule!r} is {text[:40]!r}; write the "
            "seconds since the schedule's start, up to a week"
        )
    return seconds


def schedule_sha256(load: ClosedLoad | OpenLoad | ReplayLoad, seed: int) -> str:
    """Return the SHA-256 that identifies the schedule.

    Open loop and replay: SHA-256 of the offsets as little-endian int64. Closed loop: SHA-256 of
    the load settings as canonical JSON, since the engine's answers decide when requests start.
    """
    if not isinstance(load, ClosedLoad):
        return offsets_sha256(arrival_offsets_ns(load, seed))
    text = json.dumps(load.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def offsets_sha256(offsets_ns: list[int]) -> str:
    """Return the SHA-256 of arrival offsets as little-endian int64."""
    # The byte order is fixed, so that every machine states the same digest.
    return hashlib.sha256(struct.pack(f"<{len(offsets_ns)}q", *offsets_ns)).hexdigest()
