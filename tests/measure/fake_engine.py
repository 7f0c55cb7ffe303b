"""A ground-truth engine: serves scripted streams over OpenAI's API and logs when it really wrote.

Raw asyncio streams, no HTTP library: what it puts on the wire is exactly what the script says,
misbehaviour included. Truth is what it did, not what it was asked to do.

Run alone (``python fake_engine.py --ttft-ms 50 --itl-ms 20 --truth FILE``) it serves until SIGTERM
and then writes what it logged.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Fault = Literal[
    "none",
    "silent",
    "never_ends",
    "close_before_answer",
    "close_mid_stream",
    "reset_mid_stream",
    "garbage",
    "not_http",
    "json_answer",
    "error_event",
    "no_content",
    "half_headers",
    "half_headers_then_close",
    "drip",
    "endless",
    "bad_chunk",
    "binary",
]


@dataclass(frozen=True)
class Behaviour:
    """How one request is answered."""

    ttft_s: float = 0.0
    itl_s: float = 0.0
    tokens: int | None = None
    """How many tokens to write; ``max_tokens`` when None."""
    role_chunk: bool = True
    usage: tuple[dict[str, Any], ...] | None = None
    """The usage events to send; one that is right when None."""
    done_mark: bool = True
    framing: Literal["chunked", "until_close"] = "chunked"
    piece_bytes: int | None = None
    """Write in pieces of so many bytes, wherever that cuts."""
    newline: bytes = b"\n"
    close_unannounced: bool = False
    """Close after the answer although keep-alive was promised, as llama.cpp does."""
    status: int = 200
    fault: Fault = "none"


@dataclass
class Truth:
    """What happened to one request, in CLOCK_MONOTONIC nanoseconds."""

    number: int
    received_ns: int
    body: dict[str, Any]
    headers: dict[str, str]
    connection: int
    in_flight: int
    """Requests being answered when this one came, itself included."""
    token_ns: list[int] = field(default_factory=list)
    """When each chunk with text was handed to the kernel."""


class FakeEngine:
    """The engine; ``behaviour`` gives the script of the n-th request, counted from 0."""

    def __init__(self, behaviour: Callable[[int], Behaviour], *, model: str = "fake") -> None:
        self.behaviour = behaviour
        self.models: list[str] | None = [model]
        self.models_status = 200
        self.questions: dict[str, Callable[[], str]] = {}
        """More paths that answer a GET, with the body of each."""
        self.truths: list[Truth] = []
        self.in_flight = 0
        self.port = 0
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self, ssl_context: Any = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=ssl_context, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the listener and every connection, as a process that dies does."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def die(self) -> None:
        """Stop from another thread, and wait for it."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self.stop(), self._loop).result(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = self.connections
        self.connections += 1
        try:
            while await self._answer_one(reader, writer, connection):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer_one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        received_ns = time.monotonic_ns()
        request_line, *header_lines = head.decode().split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in header_lines if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path = request_line.split(" ")[1]
        if request_line.startswith("GET "):
            return await self._answer_question(path, writer)
        self.in_flight += 1
        truth = Truth(
            len(self.truths), received_ns, json.loads(body), headers, connection, self.in_flight
        )
        self.truths.append(truth)
        try:
            return await self._stream(self.behaviour(truth.number), truth, writer)
        finally:
            self.in_flight -= 1

    async def _answer_question(self, path: str, writer: asyncio.StreamWriter) -> bool:
        status, content = 404, {"error": "not found"}
        if path == "/v1/models" and self.models is not None:
            status = self.models_status
            content = {"data": [{"id": model} for model in self.models]}
        elif path == "/health":
            status, content = 200, {"status": "ok"}
        elif path in self.questions:
            await self._respond(writer, 200, self.questions[path]().encode())
            return True
        await self._plain(writer, status, content)
        return True

    async def _plain(self, writer: asyncio.StreamWriter, status: int, content: Any) -> None:
        await self._respond(writer, status, json.dumps(content).encode())

    async def _respond(self, writer: asyncio.StreamWriter, status: int, data: bytes) -> None:
        head = (
            f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n\r\n"
        )
        writer.write(head.encode() + data)
        await writer.drain()

    async def _stream(self, how: Behaviour, truth: Truth, writer: asyncio.StreamWriter) -> bool:
        if how.fault == "silent":
            await asyncio.sleep(3600)
        if how.fault == "close_before_answer":
            return False
        if how.fault == "not_http":
            writer.write(b"SMTP ready\r\n\r\n")
            await writer.drain()
            return False
        if how.fault in ("half_headers", "half_headers_then_close"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Ty")
            await writer.drain()
            if how.fault == "half_headers":
                await asyncio.sleep(3600)
            return False
        if how.status != 200 or how.fault == "json_answer":
            await self._plain(writer, how.status, {"error": {"message": "scripted"}})
            return True
        send = _Sender(how, writer)
        await send.head()
        if how.fault == "drip":
            await send.drip()
        if how.fault == "bad_chunk":
            writer.write(b"not a size\r\n")
        if how.fault == "binary":
            await send.raw(bytes(range(256)))
            await send.end()
            return True
        if how.role_chunk:
            await send.event(_choice({"role": "assistant", "content": None}))
        await asyncio.sleep(how.ttft_s)
        tokens = truth.body["max_tokens"] if how.tokens is None else how.tokens
        if how.fault == "no_content":
            tokens = 0
        if how.fault == "endless":
            tokens = sys.maxsize
        for index in range(tokens):
            if index:
                await asyncio.sleep(how.itl_s)
            if index == 2:
                if how.fault == "never_ends":
                    await asyncio.sleep(3600)
                if how.fault == "close_mid_stream":
                    return False
                if how.fault == "reset_mid_stream":
                    _reset(writer)
                    return False
                if how.fault == "garbage":
                    await send.raw(b"data: {not json" + how.newline * 2)
                if how.fault == "error_event":
                    await send.raw(b'data: {"error": {"message": "slot lost"}}' + how.newline * 2)
            truth.token_ns.append(time.monotonic_ns())
            await send.event(_choice({"content": f"t{index} é"}))
        await send.event(_choice({}, "length"))
        right = {"prompt_tokens": 9, "completion_tokens": tokens, "total_tokens": 9 + tokens}
        for usage in (right,) if how.usage is None else how.usage:
            await send.event({"choices": [], "usage": usage})
        if how.done_mark:
            await send.raw(b"data: [DONE]" + how.newline * 2)
        await send.end()
        return how.framing == "chunked" and not how.close_unannounced


def _choice(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion.chunk",
        "model": "fake-2026-11",
        "system_fingerprint": "fp_fake",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER 0: close() sends RST
    writer.transport.abort()


@dataclass
class _Sender:
    """Frames and writes the parts of one answer."""

    how: Behaviour
    writer: asyncio.StreamWriter

    async def head(self) -> None:
        framing = (
            "Transfer-Encoding: chunked\r\nKeep-Alive: timeout=5"
            if self.how.framing == "chunked"
            else "Connection: close"
        )
        text = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n\r\n"
        await self._write(text.encode())

    async def event(self, content: dict[str, Any]) -> None:
        data = json.dumps(content, ensure_ascii=False).encode()
        await self.raw(b"data: " + data + self.how.newline * 2)

    async def raw(self, data: bytes) -> None:
        if self.how.framing == "chunked":
            data = f"{len(data):x}\r\n".encode() + data + b"\r\n"
        await self._write(data)

    async def drip(self) -> None:
        """Write a byte now and then, for ever: alive, and of no use."""
        while True:
            await self.raw(b":")
            await asyncio.sleep(0.05)

    async def end(self) -> None:
        if self.how.framing == "chunked":
            await self._write(b"0\r\n\r\n")

    async def _write(self, data: bytes) -> None:
        size = self.how.piece_bytes or len(data)
        for start in range(0, len(data), size):
            self.writer.write(data[start : start + size])
            await self.writer.drain()
            if self.how.piece_bytes is not None:
                await asyncio.sleep(0)


@contextmanager
def running(engine: FakeEngine, ssl_context: Any = None) -> Iterator[FakeEngine]:
    """Serve ``engine`` in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(engine.start(ssl_context), loop).result(10)
        yield engine
    finally:
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(engine.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _serve_until_told(engine: FakeEngine, truth: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await engine.start()
    sys.stdout.write(engine.base_url + "\n")
    sys.stdout.flush()
    await stop.wait()
    await engine.stop()
    truth.write_text(json.dumps([asdict(entry) for entry in engine.truths]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ttft-ms", type=float, default=50.0)
    parser.add_argument("--itl-ms", type=float, default=20.0)
    parser.add_argument("--truth", type=Path, required=True)
    arguments = parser.parse_args()
    how = Behaviour(ttft_s=arguments.ttft_ms / 1e3, itl_s=arguments.itl_ms / 1e3)
    asyncio.run(_serve_until_told(FakeEngine(lambda _: how), arguments.truth))


if __name__ == "__main__":
    main()
