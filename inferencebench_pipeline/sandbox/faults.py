"""Faults on demand for any ASGI app: it refuses, delays, drops, loses, cuts or corrupts answers.

It is controlled over HTTP on the same port (``/_sandbox/faults``, ``/_sandbox/requests``); see
``faults_client`` for the calling side. The middleware must be the outermost layer, so that a
fault needs nothing of the app behind it and can reach the server's connection.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTROL_PREFIX = "/_sandbox/"
_FAULTS = f"{CONTROL_PREFIX}faults"
_REQUESTS = f"{CONTROL_PREFIX}requests"
_REQUESTS_KEPT = 20_000


class Fault(BaseModel):
    """A fault to inject, and the requests that it applies to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal[
        "status", "delay", "hang", "drop", "lost_response", "truncate", "corrupt", "stale"
    ]
    """``status``: answer with it, the app sees nothing. ``delay``: wait, then go on as usual.
    ``hang``: the app does all its work, then wait before answering. ``drop``: close the connection,
    the app sees nothing. ``lost_response``: the app does all its work, then the connection is
    closed without a byte. ``truncate``: the same after the headers and half the body. ``corrupt``:
    the middle byte of the body has its lowest bit flipped; size and headers stay. ``stale``: the
    answer that the same request got when it last passed, as from a replica that lags; one that
    never passed since the fault was armed passes."""
    method: str = ".*"
    """A regular expression that the whole method must match."""
    path: str = ".*"
    """A regular expression that is searched for in the raw path, without the query."""
    skip: int = Field(default=0, ge=0)
    """The number of matching requests that pass first."""
    times: int | None = Field(default=1, ge=1)
    """The number of requests that the fault strikes, or None for all."""
    status: int = Field(default=503, ge=100, le=599)
    body: str = ""
    headers: dict[str, str] = {}
    delay_s: float = Field(default=0.0, ge=0)

    def matches(self, method: str, path: str) -> bool:
        """Return whether the fault applies to a request."""
        return bool(re.fullmatch(self.method, method) and re.search(self.path, path))


class FaultReport(BaseModel):
    """A fault with the number of requests that it has seen and struck."""

    model_config = ConfigDict(frozen=True)

    id: int
    fault: Fault
    seen: int
    """The number of matching requests so far."""
    fired: int
    """The number of requests that it struck."""


class RequestRecord(BaseModel):
    """A request as it arrived, without headers and query, which may hold secrets."""

    model_config = ConfigDict(frozen=True)

    method: str
    path: str
    status: int | None
    """The status of the answer, or None while there is no answer, or never will be."""


@dataclass
class _Logged:
    """A request in the log, from its arrival on; its status follows with the answer."""

    method: str
    path: str
    status: int | None = None

    def record(self) -> RequestRecord:
        return RequestRecord(method=self.method, path=self.path, status=self.status)


class FaultInjection:
    """The outermost ASGI middleware: it applies faults and logs every request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._faults: dict[int, FaultReport] = {}
        self._next_id = 1
        self._requests: deque[_Logged] = deque(maxlen=_REQUESTS_KEPT)
        self._answers: dict[tuple[str, str, bytes], _Held] = {}
        """The answers to requests that a ``stale`` fault may repeat."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a control request, or else log the request and pass it on or strike it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = _raw_path(scope)
        if path in (_FAULTS, _REQUESTS):
            response = await self._control(Request(scope, receive), path)
            await response(scope, receive, send)
            return
        logged = _Logged(scope["method"], path)
        self._requests.append(logged)

        async def recorded(message: Message) -> None:
            if message["type"] == "http.response.start":
                logged.status = message["status"]
            await send(message)

        fault = self._due_fault(scope["method"], path)
        if fault is None or fault.kind == "stale":
            await self._answer(scope, receive, recorded, repeated=fault is not None)
        elif fault.kind in ("drop", "lost_response"):
            if fault.kind == "lost_response":
                await self._app(scope, receive, _discard)
            await _close(receive, send)
        elif fault.kind == "truncate":
            held = _Held(recorded)
            await self._app(scope, receive, held)
            await held.send_half()
            await _close(receive, send)
        else:
            await self._answer_badly(fault, scope, receive, recorded)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, *, repeated: bool) -> None:
        """Answer as usual, or again as the last time; note what may have to be repeated."""
        path = _raw_path(scope)
        key = (scope["method"], path, scope["query_string"])
        if repeated and key in self._answers:
            await self._answers[key].repeat(send)
        elif any(
            report.fault.kind == "stale" and report.fault.matches(scope["method"], path)
            for report in self._faults.values()
        ):
            held = self._answers[key] = _Held(send)
            await self._app(scope, receive, held)
            await held.send_all(flipped=False)
        else:
            await self._app(scope, receive, send)

    async def _answer_badly(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.kind in ("hang", "corrupt"):
            held = _Held(send)
            await self._app(scope, receive, held)
            await asyncio.sleep(fault.delay_s)
            await held.send_all(flipped=fault.kind == "corrupt")
            return
        await asyncio.sleep(fault.delay_s)
        if fault.kind == "status":
            await Response(fault.body, fault.status, fault.headers)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _due_fault(self, method: str, path: str) -> Fault | None:
        """Count the request for every fault that matches; the first one due strikes."""
        due: Fault | None = None
        for key, report in self._faults.items():
            fault = report.fault
            if not fault.matches(method, path):
                continue
            strikes = (
                due is None
                and report.seen >= fault.skip
                and (fault.times is None or report.fired < fault.times)
            )
            if strikes:
                due = fault
            self._faults[key] = report.model_copy(
                update={"seen": report.seen + 1, "fired": report.fired + strikes}
            )
        return due

    async def _control(self, request: Request, path: str) -> Response:
        if path == _REQUESTS:
            if request.method == "DELETE":
                self._requests.clear()
            return JSONResponse([logged.record().model_dump() for logged in self._requests])
        if request.method == "DELETE":
            self._faults.clear()
            self._answers.clear()
        elif request.method == "POST":
            try:
                fault = Fault.model_validate_json(await request.body())
                # A wrong pattern is refused now, and not at the first request that it is tried on.
                re.compile(fault.method)
                re.compile(fault.path)
            except (ValidationError, re.error) as error:
                return JSONResponse({"error": f"Not a fault: {error}"}, 400)
            report = FaultReport(id=self._next_id, fault=fault, seen=0, fired=0)
            self._faults[report.id] = report
            self._next_id += 1
            return JSONResponse(report.model_dump())
        return JSONResponse([report.model_dump() for report in self._faults.values()])


class _Held:
    """A ``send`` that holds an answer back, to send it late, altered, or in part."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        else:
            self._body += message.get("body", b"")

    async def send_all(self, *, flipped: bool) -> None:
        """Send the answer, with one bit of its body flipped when asked to."""
        if flipped and self._body:
            self._body[len(self._body) // 2] ^= 1
        await self._begin()
        await self._send({"type": "http.response.body", "body": bytes(self._body)})

    async def repeat(self, send: Send) -> None:
        """Send the same answer to somebody else."""
        assert self._start is not None
        await send(self._start)
        await send({"type": "http.response.body", "body": bytes(self._body)})

    async def send_half(self) -> None:
        """Send the headers, which announce the whole body, and half of it."""
        await self._begin()
        half = bytes(self._body[: len(self._body) // 2])
        # More is announced and never comes, because the server must not end the answer by itself.
        await self._send({"type": "http.response.body", "body": half, "more_body": True})

    async def _begin(self) -> None:
        assert self._start is not None
        await self._send(self._start)


async def _discard(_message: Message) -> None:
    """Take a response and send nothing."""


async def _close(receive: Receive, send: Send) -> None:
    """Close the client's connection although the answer is not complete.

    ASGI has no word for it. Uvicorn's ``send`` is a method of the request's cycle, which holds
    the connection's transport; once that is closed the cycle hears of it and, being disconnected,
    sends no 500 of its own. Only works with uvicorn's own ``send``, hence outermost.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if not isinstance(transport, asyncio.Transport):
        raise TypeError("closing a connection needs FaultInjection to be uvicorn's outermost app")
    transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass


def _raw_path(scope: Scope) -> str:
    raw: bytes | None = scope.get("raw_path")
    return raw.decode("latin-1") if raw is not None else str(scope["path"])
