"""Clocks of the client: kernel stamps brought onto the monotonic clock, and an exact timer."""

from __future__ import annotations

import ctypes
import os
import struct
import time
from typing import Final

_CLOCK_MONOTONIC: Final = 1
_TFD_NONBLOCK: Final = os.O_NONBLOCK
_TFD_CLOEXEC: Final = os.O_CLOEXEC
_TFD_TIMER_ABSTIME: Final = 1
_PR_SET_TIMERSLACK: Final = 29
_NS_PER_S: Final = 10**9

_libc = ctypes.CDLL(None, use_errno=True)


class ClockBridge:
    """Converts the kernel's receive stamps (``CLOCK_REALTIME``) to ``CLOCK_MONOTONIC``.

    The two clocks differ by a constant until the wall clock is stepped, so the offset is sampled
    again and again, and how far it ever moved is reported.
    """

    def __init__(self) -> None:
        self._offset_ns = self._sample()
        self._first_offset_ns = self._offset_ns
        self.largest_step_ns = 0

    def refresh(self) -> None:
        """Sample the offset again; it takes microseconds, so call it often."""
        self._offset_ns = self._sample()
        step = abs(self._offset_ns - self._first_offset_ns)
        self.largest_step_ns = max(self.largest_step_ns, step)

    def to_monotonic(self, realtime_ns: int) -> int:
        """Return the monotonic instant of a wall-clock stamp."""
        return realtime_ns - self._offset_ns

    @property
    def offset_ns(self) -> int:
        """Wall clock minus monotonic clock, now."""
        return self._offset_ns

    @staticmethod
    def _sample() -> int:
        """Return the offset from the tightest of five readings, so preemption cannot bend it."""
        best_gap, best_offset = _NS_PER_S, 0
        for _ in range(5):
            before = time.monotonic_ns()
            wall = time.time_ns()
            gap = time.monotonic_ns() - before
            if gap < best_gap:
                best_gap, best_offset = gap, wall - before - gap // 2
        return best_offset


class Timer:
    """A file descriptor that becomes readable at an instant, to the microsecond.

    ``epoll`` rounds its own timeout up to whole milliseconds. Python offers ``timerfd`` from 3.13.
    """

    def __init__(self) -> None:
        self._descriptor: int = _libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")

    def fileno(self) -> int:
        """Return the descriptor, for epoll."""
        return self._descriptor

    def set(self, monotonic_ns: int) -> None:
        """Become readable at ``monotonic_ns``; at once when that has passed."""
        seconds, nanoseconds = divmod(max(monotonic_ns, 1), _NS_PER_S)
        setting = struct.pack("qqqq", 0, 0, seconds, nanoseconds)
        if _libc.timerfd_settime(self._descriptor, _TFD_TIMER_ABSTIME, setting, None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

    def clear(self) -> None:
        """Stop being readable until set again."""
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Release the descriptor."""
        os.close(self._descriptor)


def minimise_timer_slack() -> None:
    """Ask the kernel to wake this thread on time instead of up to 50 microseconds late."""
    _libc.prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0)
