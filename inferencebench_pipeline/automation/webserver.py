"""Dagster's webserver behind a guard: the UI has no login, so at least no web page may drive it.

The stock webserver executes a GraphQL mutation that arrives as a plain GET from a foreign origin,
which any page open in the same browser can send, and answers under any host name, which DNS
rebinding needs. It is started from here instead, with the same options (``python -m
inferencebench_pipeline.automation.webserver -h 127.0.0.1 -p 3000 -w workspace.yaml``). With
``--read-only`` it is fit for the public: nothing that could change anything is passed on, whatever
Dagster itself would allow. It imports nothing of ours, so that an image needs no more than this
file and Dagster.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_webserver import cli
from dagster_webserver.app import create_app_from_workspace_process_context
from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS_VARIABLE = "INFERENCEBENCH_UI_HOSTS"
"""Names under which the UI is reached beside loopback, with commas, such as ``ui.example.org``."""
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
SECRETS = (
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "INFERENCEBENCH_ALERTS",
    "INFERENCEBENCH_IDENTITY_TOKEN_COMMAND",
    "INFERENCEBENCH_IDENTITY_TOKEN_FILE",
    "INFERENCEBENCH_WEBHOOK_SECRET",
    "INFERENCEBENCH_WEBHOOK_SECRET_FILE",
    "SIGSTORE_ID_TOKEN",
)
"""What belongs into run processes, and never into a webserver that others can reach."""
_SERVE = "host_dagster_ui_with_workspace_process_context"
"""The last step of Dagster's own command, which builds the app and runs it: the one we replace."""
MAX_QUERY_BYTES = 1024 * 1024
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_FOREIGN_SITES = frozenset({"cross-site", "same-site"})
_HEADERS = {
    # Nor may a page show the UI in a frame and have it clicked.
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


@dataclass(frozen=True)
class Refusal:
    """Why a request is not passed on."""

    status: HTTPStatus
    reason: str


class Guard:
    """Passes on what the UI itself sends, and refuses what another page could make a browser send.

    Programs that speak GraphQL as JSON, under a known host name and without an ``Origin``, pass.
    """

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str] = (), read_only: bool = False) -> None:
        """Put a guard before ``app``.

        Args:
            app: Dagster's webserver.
            hosts: names it is reached under beside loopback, without ports.
            read_only: refuse every mutation, and everything else that is no reading.
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
        if refusal is None and self._reads_body(scope):
            body = await _bounded_body(receive)
            refusal = _query_refusal(body)
            receive = _replayed(body or b"", receive)
        if refusal is None:
            await self._app(scope, receive, _hardened(send) if scope["type"] == "http" else send)
        elif scope["type"] == "websocket":
            # Before it is accepted, closing answers the handshake with 403.
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.reason})
        else:
            answer = JSONResponse({"error": refusal.reason}, refusal.status)
            await answer(scope, receive, _hardened(send))

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or _host_name(f"//{hosts[0]}") not in self._hosts:
            return Refusal(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"this UI is not served under that name; {HOSTS_VARIABLE} lists those it is",
            )
        for origin in headers.getlist("origin"):
            if urlsplit(origin).netloc.lower() != hosts[0].lower():
                return Refusal(HTTPStatus.FORBIDDEN, "requests of other sites are not answered")
        if scope["type"] == "websocket":
            return None
        return self._method_refusal(scope, headers)

    def _method_refusal(self, scope: Scope, headers: Headers) -> Refusal | None:
        is_graphql = _is_graphql(scope)
        if scope["method"] in _READS:
            if is_graphql and scope["query_string"]:
                return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "send GraphQL as a POST of JSON")
            return None
        if headers.get("sec-fetch-site") in _FOREIGN_SITES:
            return Refusal(HTTPStatus.FORBIDDEN, "requests of other sites are not answered")
        kinds = [kind.partition(";")[0].strip().lower() for kind in headers.getlist("content-type")]
        if kinds != ["application/json"]:
            return Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON, and say so")
        if self._read_only and not is_graphql:
            return Refusal(HTTPStatus.FORBIDDEN, "this UI is for reading only")
        return None

    def _reads_body(self, scope: Scope) -> bool:
        return self._read_only and scope["type"] == "http" and scope["method"] not in _READS


def query_is_reading(document: Mapping[str, Any]) -> bool:
    """Return whether a GraphQL request holds no mutation, whichever operation it names.

    Raises:
        GraphQLError: its query cannot be parsed.
    """
    found = parse(str(document.get("query", "")), no_location=True).definitions
    return not any(
        isinstance(item, OperationDefinitionNode) and item.operation is OperationType.MUTATION
        for item in found
    )


def exposed_secrets(host: str, environ: Mapping[str, str]) -> list[str]:
    """Return the names of secrets in the environment of a webserver that others can reach."""
    return [] if host in LOOPBACK else [name for name in SECRETS if environ.get(name)]


def serve(
    context: WorkspaceProcessContext,
    host: str | None,
    port: int | None,
    path_prefix: str,
    log_level: str,
    live_data_poll_rate: int | None = None,
) -> None:
    """Run the webserver with the guard before it; Dagster's command calls this with its options."""
    host = host or "127.0.0.1"
    if named := exposed_secrets(host, os.environ):
        sys.exit(
            f"{', '.join(named)} must not be in the environment of a webserver on {host}: tokens "
            "belong into run processes only (docs/operating.md)"
        )
    app = create_app_from_workspace_process_context(context, path_prefix, live_data_poll_rate)
    named_hosts = os.environ.get(HOSTS_VARIABLE, "").split(",")
    guard = Guard(
        app,
        hosts=[name.strip() for name in named_hosts if name.strip()],
        read_only=context.read_only,
    )
    uvicorn.run(guard, host=host, port=port or 3000, log_level=log_level)


def main() -> None:
    """Run ``dagster-webserver`` with the guard before it; takes the same options."""
    if not hasattr(cli, _SERVE):
        sys.exit(f"this dagster-webserver has no {_SERVE}: the guard does not fit it")
    setattr(cli, _SERVE, serve)
    cli.cli(auto_envvar_prefix="DAGSTER_WEBSERVER")


def _host_name(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""


def _is_graphql(scope: Scope) -> bool:
    return bool(scope["path"].rstrip("/").endswith("/graphql"))


def _query_refusal(body: bytes | None) -> Refusal | None:
    if body is None:
        return Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a query has at most {MAX_QUERY_BYTES} bytes"
        )
    try:
        document = json.loads(body)
        reading = isinstance(document, dict) and query_is_reading(document)
    except (ValueError, GraphQLError, RecursionError):
        return Refusal(HTTPStatus.BAD_REQUEST, "that is no GraphQL query as JSON")
    return None if reading else Refusal(HTTPStatus.FORBIDDEN, "this UI is for reading only")


async def _bounded_body(receive: Receive) -> bytes | None:
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body)
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_QUERY_BYTES:
            return None
    return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def _hardened(send: Send) -> Send:
    async def harden(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return harden


if __name__ == "__main__":
    main()
