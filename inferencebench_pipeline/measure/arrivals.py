"""Arrival schedules of the open loop: drawn before the run, hashed, the same for the same seed."""

from __future__ import annotations

import hashlib
import json
import math
import random
import struct

from inferencebench_pipeline.measure.spec import ClosedLoad, OpenLoad

_NS_PER_S = 10**9


def arrival_offsets_ns(load: OpenLoad, seed: int) -> list[int]:
    """Return when each request, warm-up included, is due: nanoseconds after the origin.

    A Poisson process has exponential gaps; a constant one, equal gaps. ``random.Random(seed)`` is
    the Mersenne Twister, whose ``random()`` Python promises not to change.
    """
    count = load.warmup_requests + load.requests
    if load.process == "constant":
        return [round(index * _NS_PER_S / load.rate_per_s) for index in range(count)]
    generator = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    offsets: list[int] = []
    elapsed_s = 0.0
    for _ in range(count):
        offsets.append(round(elapsed_s * _NS_PER_S))
        elapsed_s += -math.log(1.0 - generator.random()) / load.rate_per_s
    return offsets


def schedule_sha256(load: ClosedLoad | OpenLoad, seed: int) -> str:
    """Return what identifies the schedule.

    Open loop: SHA-256 of the offsets as little-endian int64. Closed loop: SHA-256 of the load
    settings as canonical JSON, since the engine's answers decide when requests start.
    """
    if isinstance(load, OpenLoad):
        offsets = arrival_offsets_ns(load, seed)
        return hashlib.sha256(struct.pack(f"<{len(offsets)}q", *offsets)).hexdigest()
    text = json.dumps(load.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
