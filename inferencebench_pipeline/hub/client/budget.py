"""Client-side accounting of the Hub's rate-limit windows.

The Hub counts requests in fixed windows of five minutes, apart for its API, for files (the
"resolvers") and for pages, and says with each answer what is left. A client that heeds it never
runs into a refusal, and one that keeps a reserve leaves room for others under the same account: a
crawl must not be why a publication has to wait.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from huggingface_hub.utils._http import parse_ratelimit_headers

from inferencebench_pipeline.hub.client.errors import HubRateLimitError

# Requests pass through the one HTTP client of huggingface_hub, which cannot be handed a budget.
_active: ContextVar[RateBudget | None] = ContextVar("rate_budget", default=None)


@dataclass(frozen=True)
class Window:
    """The rest of one window of one kind of request."""

    remaining: int
    limit: int | None
    resets_at_s: float
    """On the budget's clock."""


@dataclass(frozen=True)
class BudgetReport:
    """The requests that were sent, and those that are left."""

    requests: Mapping[str, int]
    """Number of requests of each kind (see :func:`kind_of`)."""
    remaining: Mapping[str, str]
    """Last statement of the Hub for each kind, such as ``4210 of 5000 for 120 s``."""

    @property
    def total(self) -> int:
        """All requests, redirects and repetitions included."""
        return sum(self.requests.values())

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.requests.items()))
        left = "; ".join(f"{kind} {text}" for kind, text in sorted(self.remaining.items()))
        said = f"{self.total} requests" + (f" ({kinds})" if kinds else "")
        return f"{said}; left: {left}" if left else said


class RateBudget:
    """Counts the requests of one client, on any number of threads, and holds them to the limits."""

    def __init__(
        self, *, reserve: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start with nothing known.

        Args:
            reserve: share of each window, from 0 to 1, that is left to others.
            clock: seconds, monotonic.
        """
        self._reserve = reserve
        self._clock = clock
        self._requests: Counter[str] = Counter()
        self._windows: dict[str, Window] = {}
        self._lock = threading.Lock()

    def spend(self, path: str) -> None:
        """Count one request that is about to be sent.

        Raises:
            HubRateLimitError: none is left in this window; says when the next one begins.
        """
        kind = kind_of(path)
        with self._lock:
            window = self._windows.get(kind)
            if window is not None:
                wait_s = window.resets_at_s - self._clock()
                if wait_s > 0 and window.remaining <= self._reserve * (window.limit or 0):
                    raise HubRateLimitError(
                        f"the Hub allows {window.limit or 'no more'} requests of kind {kind} in a "
                        f"window and {window.remaining} are left, kept for others; the next window "
                        f"begins in {wait_s:.0f} s",
                        retry_after_s=wait_s,
                    )
                # Other threads must see this request now, and not only when its answer says what is
                # left.
                left = window.remaining - 1
                self._windows[kind] = Window(left, window.limit, window.resets_at_s)
            self._requests[kind] += 1

    def note(self, headers: Mapping[str, str]) -> None:
        """Take in what an answer says about its window."""
        told = parse_ratelimit_headers(headers)
        if told is None:
            return
        # A second more, as the client library waits: the Hub rounds down.
        resets_at_s = self._clock() + told.reset_in_seconds + 1.0
        with self._lock:
            self._windows[told.resource_type] = Window(told.remaining, told.limit, resets_at_s)

    def report(self) -> BudgetReport:
        """Return what was asked for so far, and what was left when last told."""
        now_s = self._clock()
        with self._lock:
            return BudgetReport(
                requests=dict(self._requests),
                remaining={
                    kind: f"{window.remaining} of {window.limit or '?'} for "
                    f"{window.resets_at_s - now_s:.0f} s"
                    for kind, window in self._windows.items()
                    if window.resets_at_s > now_s
                },
            )

    @contextmanager
    def active(self) -> Iterator[None]:
        """Have the requests that this thread sends meanwhile counted here."""
        token = _active.set(self)
        try:
            yield
        finally:
            _active.reset(token)


def active_budget() -> RateBudget | None:
    """Return the budget that the current thread's requests count against."""
    return _active.get()


def kind_of(path: str) -> str:
    """Return which of the Hub's limits a path counts against.

    ``api``, ``resolvers``, or ``other``: the store of large files, which has none that are told.
    """
    if "/resolve/" in path:
        return "resolvers"
    return "api" if path.startswith("/api/") else "other"
