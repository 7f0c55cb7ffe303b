"""Waiting for sockets until an instant: epoll and timerfd on Linux, ``selectors`` elsewhere."""

from __future__ import annotations

import ctypes
import os
import select
import selectors
import struct
import sys
import time
from collections.abc import Iterator
from typing import Final, Protocol

_CLOCK_MONOTONIC: Final = 1
# The kernel's own values: Python 3.11 exports neither timerfd's constants nor those of prctl.
_TFD_TIMER_ABSTIME: Final = 1
_PR_SET_TIMERSLACK: Final = 29
_NS_PER_S: Final = 10**9


class Poller(Protocol):
    """Tells which descriptors are readable, and which are writable where that was asked for."""

    def add(self, descriptor: int) -> None:
        """Report ``descriptor`` when it is readable or writable."""
        ...

    def watch(self, descriptor: int, *, write: bool) -> None:
        """Report it when it is readable, and when it is writable only if ``write``."""
        ...

    def remove(self, descriptor: int) -> None:
        """Forget it; before it is closed."""
        ...

    def wait(self, until_ns: int) -> Iterator[int]:
        """Yield the descriptors that are ready, after ``until_ns`` (monotonic) at the latest."""
        ...

    def close(self) -> None:
        """Release what the poller holds."""
        ...


def platform_poller() -> Poller:
    """Return the most exact poller that this platform has."""
    return LinuxPoller() if sys.platform == "linux" else PortablePoller()


class LinuxPoller:
    """``epoll`` woken by a timer to the microsecond.

    ``epoll_wait`` rounds its own timeout up to whole milliseconds. Python offers ``timerfd`` from
    3.13. Setting the timer also clears it, and an instant that is waited for again is not set
    again.
    """

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        # Wakes on time instead of up to 50 microseconds late.
        libc.prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0)
        self._timer: int = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._timer < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._set_timer = libc.timerfd_settime
        self._set_for = 0
        self._epoll = select.epoll()
        self._epoll.register(self._timer, select.EPOLLIN)

    def add(self, descriptor: int) -> None:
        """Report ``descriptor`` when it is readable or writable."""
        # A socket that connects becomes writable once it is established, or has failed.
        self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLOUT)

    def watch(self, descriptor: int, *, write: bool) -> None:
        """Report it when it is readable, and when it is writable only if ``write``."""
        mask = select.EPOLLIN | select.EPOLLOUT if write else select.EPOLLIN
        self._epoll.modify(descriptor, mask)

    def remove(self, descriptor: int) -> None:
        """Forget it; before it is closed."""
        self._epoll.unregister(descriptor)

    def wait(self, until_ns: int) -> Iterator[int]:
        """Yield the descriptors that are ready, after ``until_ns`` (monotonic) at the latest."""
        if until_ns != self._set_for:
            # A timer that is set to zero is disarmed (timerfd_settime(2)), so it gets 1 at least.
            setting = struct.pack("qqqq", 0, 0, *divmod(max(until_ns, 1), _NS_PER_S))
            if self._set_timer(self._timer, _TFD_TIMER_ABSTIME, setting, None) != 0:
                raise OSError(ctypes.get_errno(), "timerfd_settime failed")
            self._set_for = until_ns
        # Without a timeout of its own: the timer is one of the descriptors that are waited for.
        for descriptor, _ in self._epoll.poll():
            if descriptor != self._timer:
                yield descriptor

    def close(self) -> None:
        """Release what the poller holds."""
        self._epoll.close()
        os.close(self._timer)


class PortablePoller:
    """The poller that ``selectors`` chooses (kqueue on macOS), with its own coarser timeout."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def add(self, descriptor: int) -> None:
        """Report ``descriptor`` when it is readable or writable."""
        self._selector.register(descriptor, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def watch(self, descriptor: int, *, write: bool) -> None:
        """Report it when it is readable, and when it is writable only if ``write``."""
        mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if write else 0)
        self._selector.modify(descriptor, mask)

    def remove(self, descriptor: int) -> None:
        """Forget it; before it is closed."""
        self._selector.unregister(descriptor)

    def wait(self, until_ns: int) -> Iterator[int]:
        """Yield the descriptors that are ready, after ``until_ns`` (monotonic) at the latest."""
        timeout_s = max(until_ns - time.monotonic_ns(), 0) / _NS_PER_S
        for key, _ in self._selector.select(timeout_s):
            yield key.fd

    def close(self) -> None:
        """Release what the poller holds."""
        self._selector.close()
