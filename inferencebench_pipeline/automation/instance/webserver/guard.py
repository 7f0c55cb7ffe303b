"""The decisions about a request before Dagster sees it: names, origins, kinds, sizes.

What a request would execute is not decided here but in ``app``, behind the router.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .environment import LOOPBACK

HOSTS_VARIABLE = "INFERENCEBENCH_UI_HOSTS"
"""Names under which the UI is reached beside loopback, with commas, such as ``ui.example.org``."""
MAX_QUERY_BYTES = 1024 * 1024
MAX_BODY_BYTES = 16 * 1024 * 1024
"""The most that is read of a post where changes are allowed, such as a run's configuration."""
# A body is read whole before it is passed on, so a slow sender holds a connection and memory.
MAX_BODY_SECONDS = 30.0
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
# ``none`` is an address that a person typed or a bookmark (W3C Fetch Metadata Request Headers).
_OWN_SITES = frozenset({"same-origin", "none"})
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]{1,5})?")
_HEADERS = {
    # Nor may a page show the UI in a frame and have it clicked, load a part of it, or hold on to
    # the window it opened it in.
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass(frozen=True)
class Refusal:
    """The reason that a request is not passed on, with its status."""

    status: HTTPStatus
    reason: str


_OTHER_SITE = Refusal(HTTPStatus.FORBIDDEN, "requests of other sites are not answered")


class Guard:
    """Passes on the requests of the UI, and refuses those that another page could cause.

    Programs that speak GraphQL as JSON, under a known host name and without an ``Origin``, pass.
    """

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str] = (), read_only: bool = False) -> None:
        """Put a guard before ``app``.

        Args:
            app: Dagster's webserver, as ``app`` builds it.
            hosts: names it is reached under beside loopback, without ports.
            read_only: refuse every post that is no GraphQL; what GraphQL may do is ``app``'s to
                decide.
        """
        self._app = app
        self._hosts = LOOPBACK | {host.lower() for host in hosts}
        self._read_only = read_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer why not."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None and scope["type"] == "http" and scope["method"] not in _READS:
            body = await _whole_body(receive, self._max_bytes())
            if isinstance(body, Refusal):
                refusal = body
            else:
                receive = _replayed(body, receive)
        if refusal is None:
            await self._app(scope, receive, _hardened(send) if scope["type"] == "http" else send)
        elif scope["type"] == "websocket":
            # Before it is accepted, closing answers the handshake with 403.
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.reason})
        else:
            # The rest of the body is not read, so the connection can carry no other request.
            answer = JSONResponse(
                {"error": refusal.reason, "errors": [{"message": refusal.reason}]},
                refusal.status,
                {"Connection": "close"},
            )
            await answer(scope, receive, _hardened(send))

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        # Of two Host headers, a proxy and an application may each believe another one.
        if len(hosts) != 1 or _host_name(hosts[0]) not in self._hosts:
            return Refusal(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"this UI is not served under that name; {HOSTS_VARIABLE} lists those it is",
            )
        if scope["type"] == "http" and _asks_graphql_by_address(scope):
            return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "send GraphQL as a POST of JSON")
        if _is_of_another_site(scope, headers, hosts[0]):
            return _OTHER_SITE
        if not _is_printable(scope["path"]):
            return Refusal(HTTPStatus.BAD_REQUEST, "that path holds characters that no page has")
        return None if scope["type"] == "websocket" else self._method_refusal(scope, headers)

    def _method_refusal(self, scope: Scope, headers: Headers) -> Refusal | None:
        if scope["method"] in _READS:
            return None
        if scope["method"] != "POST":
            return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "nothing here is asked for in that way")
        kinds = [kind.partition(";")[0].strip().lower() for kind in headers.getlist("content-type")]
        # A page of another site cannot send JSON without a CORS
        # preflight, which nothing here grants.
        if kinds != ["application/json"]:
            return Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON, and say so")
        if self._read_only and not scope["path"].endswith("/graphql"):
            return Refusal(HTTPStatus.FORBIDDEN, "this UI is for reading only")
        return None

    def _max_bytes(self) -> int:
        return MAX_QUERY_BYTES if self._read_only else MAX_BODY_BYTES


def _host_name(host: str) -> str | None:
    """Return the name in a ``Host`` header, in lower case; None for one that no browser sends."""
    found = _HOST.fullmatch(host)
    return found.group(1).strip("[]").lower() if found else None


def _is_of_another_site(scope: Scope, headers: Headers, host: str) -> bool:
    """Return whether a page of another site made the browser send the request.

    Following a link to the UI is not refused: it opens a page, and opening one changes nothing.
    """
    for origin in headers.getlist("origin"):
        # Both schemes count, since a proxy ends TLS: the page's
        # origin is https, and this request http.
        if origin.lower() not in {f"http://{host.lower()}", f"https://{host.lower()}"}:
            return True
    # A program or an old browser sends none of these, and passes by the Origin and the type alone.
    sites = [site.strip().lower() for site in headers.getlist("sec-fetch-site")]
    if all(site in _OWN_SITES for site in sites):
        return False
    return not (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and headers.getlist("sec-fetch-mode") == ["navigate"]
        and headers.getlist("sec-fetch-dest") == ["document"]
    )


def _is_printable(path: str) -> bool:
    """Return whether a decoded path holds nothing that two readers could read as two paths.

    A line break at its end is one to Starlette's router, and none to whoever compares texts.
    """
    return not any(
        unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} or character == "\ufffd"
        for character in path
    )


def _asks_graphql_by_address(scope: Scope) -> bool:
    """Return whether a request is for GraphQL by its address, which is read loosely.

    ``app`` refuses what its router takes for GraphQL; this also tells off what it does not.
    """
    if scope["method"] == "POST":
        return False
    parts = [part.strip() for part in re.split(r"[/\\;]", scope["path"].casefold())]
    is_graphql = next((part for part in reversed(parts) if part), "") == "graphql"
    query = scope["query_string"].decode("latin-1")
    return is_graphql and "query" in {name for name, _ in parse_qsl(query, keep_blank_values=True)}


async def _whole_body(receive: Receive, max_bytes: int) -> bytes | Refusal:
    """Return the body of a request, if it comes whole, in time and no longer than allowed."""
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(MAX_BODY_SECONDS):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return Refusal(HTTPStatus.BAD_REQUEST, "the request ended early")
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > max_bytes:
                    return Refusal(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                        f"a request has at most {max_bytes} bytes",
                    )
    except TimeoutError:
        return Refusal(
            HTTPStatus.REQUEST_TIMEOUT, f"a request is sent in at most {MAX_BODY_SECONDS:g} s"
        )
    return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        # After the body, the server itself tells the application when the client has gone.
        return messages.pop() if messages else await receive()

    return replay


def _hardened(send: Send) -> Send:
    async def harden(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return harden
