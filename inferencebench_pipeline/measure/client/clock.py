"""Clocks of the client: the kernel's receive stamps brought onto the monotonic clock."""

from __future__ import annotations

import time
from typing import Final

_NS_PER_S: Final = 10**9


class ClockBridge:
    """Converts the kernel's receive stamps (``CLOCK_REALTIME``) to ``CLOCK_MONOTONIC``.

    The two clocks differ by a constant until the wall clock is stepped, so the offset is sampled
    again and again, and how far it ever moved is reported.
    """

    def __init__(self) -> None:
        self.first_offset_ns = self._sample()
        """Wall clock minus monotonic clock when the bridge was made."""
        self.offset_ns = self.first_offset_ns
        """Wall clock minus monotonic clock at the last sample."""
        self.largest_step_ns = 0
        """The largest distance of the offset from the first one, in nanoseconds."""

    def refresh(self) -> None:
        """Sample the offset again; it takes microseconds, so call it often."""
        self.offset_ns = self._sample()
        self.largest_step_ns = max(self.largest_step_ns, abs(self.drift_ns))

    @property
    def drift_ns(self) -> int:
        """The change of the offset since the first sample, in nanoseconds."""
        return self.offset_ns - self.first_offset_ns

    @staticmethod
    def _sample() -> int:
        """Return the offset from the tightest of five readings, so preemption cannot bend it."""
        best_gap, best_offset = _NS_PER_S, 0
        for _ in range(5):
            before = time.monotonic_ns()
            wall = time.time_ns()
            gap = time.monotonic_ns() - before
            if gap < best_gap:
                # The wall clock was read within the gap, so its middle is off by half at most.
                best_gap, best_offset = gap, wall - before - gap // 2
        return best_offset
