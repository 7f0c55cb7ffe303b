"""The Hub's documented request limits: so many requests of a kind in a fixed window.

Each answer carries ``RateLimit`` and ``RateLimit-Policy`` (draft-ietf-httpapi-ratelimit-headers-09,
as the Hub writes them); a request too many is refused with 429. Without limits there are neither.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

KINDS = ("api", "resolvers", "pages")


@dataclass
class _Count:
    started_s: float
    used: int = 0


@dataclass(frozen=True)
class Allowance:
    """The rest of a caller's limit after the present request."""

    kind: str
    limit: int
    remaining: int
    """The remaining requests; negative when the present one exceeds the limit."""
    reset_s: int
    window_s: int

    def headers(self) -> dict[str, str]:
        """Return the headers that the Hub sends about the limit."""
        left = max(0, self.remaining)
        return {
            "RateLimit": f'"{self.kind}";r={left};t={self.reset_s}',
            "RateLimit-Policy": f'"fixed window";"{self.kind}";q={self.limit};w={self.window_s}',
        }


class RequestWindows:
    """Counts requests per caller and kind, in memory."""

    def __init__(self) -> None:
        self._limits: Mapping[str, int] = {}
        self._window_s = 300
        self._counts: dict[tuple[str, str], _Count] = {}
        self._lock = threading.Lock()

    def set_limits(self, limits: Mapping[str, int], window_s: int) -> None:
        """Allow so many requests of each kind per window from now on; an absent kind is free."""
        with self._lock:
            self._limits, self._window_s = dict(limits), window_s
            self._counts.clear()

    def spend(self, caller: str, path: str) -> Allowance | None:
        """Count one request; return what is left, or None where nothing is limited."""
        kind = kind_of(path)
        now_s = time.monotonic()
        with self._lock:
            limit = self._limits.get(kind)
            if limit is None:
                return None
            count = self._counts.get((caller, kind))
            if count is None or now_s >= count.started_s + self._window_s:
                count = self._counts[caller, kind] = _Count(now_s)
            count.used += 1
            reset_s = int(count.started_s + self._window_s - now_s)
            return Allowance(kind, limit, limit - count.used, reset_s, self._window_s)


def kind_of(path: str) -> str:
    """Return the limit that a request counts against: downloads, the API, or pages."""
    if "/resolve/" in path:
        return "resolvers"
    return "api" if path.startswith("/api/") else "pages"


class RateLimiting:
    """Puts the limits between the server and the app."""

    def __init__(self, app: ASGIApp, windows: RequestWindows) -> None:
        self._app = app
        self._windows = windows

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request that exceeds the limit, or pass it on and report the rest."""
        # The controls of the sandbox and the store of large files count against nothing.
        if scope["type"] != "http" or scope["path"].startswith("/_"):
            await self._app(scope, receive, send)
            return
        # Whoever sends no token shares one window, as those behind one address do on the Hub.
        caller = Headers(scope=scope).get("authorization", "")
        allowance = self._windows.spend(caller, scope["path"])
        if allowance is None:
            await self._app(scope, receive, send)
        elif allowance.remaining < 0:
            body = {"error": "We had to rate limit you, retry later"}
            refusal = JSONResponse(body, 429, headers=allowance.headers())
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, _telling(send, allowance.headers()))


def _telling(send: Send, headers: Mapping[str, str]) -> Send:
    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return tell
