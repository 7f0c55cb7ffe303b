"""The guarded webserver inside the test's own process, so that many requests cost little.

The sockets, the HTTP parser, the router and Dagster are the real ones; only the process is shared.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from starlette.routing import Router
from starlette.types import ASGIApp

from inferencebench_pipeline.automation.instance.webserver.app import GuardedWebserver
from inferencebench_pipeline.automation.instance.webserver.server import guarded

PREFIX = "/ui"
UNTOUCHED = 3


@dataclass(frozen=True)
class Served:
    """A server in this process, and the instance that attacks try to change."""

    port: int
    instance: DagsterInstance
    prefix: str = ""
    read_only: bool = False
    router: Router | None = None

    def send(self, raw: bytes) -> bytes:
        """Send bytes as they are on a connection of their own; return all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as wire:
            wire.sendall(raw)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while part := wire.recv(65536):
                    answer += part
        return answer

    def ask(self, method: str, target: str, headers: dict[str, str], body: bytes = b"") -> int:
        """Return the status of the answer to a request whose target is sent as it is."""
        lines = {"Host": f"127.0.0.1:{self.port}", "Connection": "close"} | headers
        if body:
            lines["Content-Length"] = str(len(body))
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        raw = f"{method} {target} HTTP/1.1\r\n{text}\r\n".encode("latin-1", "replace") + body
        return int(self.send(raw).split(b" ", 2)[1])

    def limit(self) -> int | None:
        """Return what the attack's mutation would have changed."""
        storage = self.instance.event_log_storage
        return storage.get_concurrency_info("attack").slot_count

    def restore(self) -> None:
        self.instance.event_log_storage.set_concurrency_slots("attack", UNTOUCHED)


@contextlib.contextmanager
def serving(home: Path, *, prefix: str = "", read_only: bool = False) -> Iterator[Served]:
    """The guarded webserver, as the command serves it."""
    with (
        _instance(home, read_only) as context,
        _listening(guarded(context, prefix)) as port,
    ):
        yield Served(port, context.instance, prefix, read_only)


@contextlib.contextmanager
def serving_unguarded(home: Path, *, prefix: str = "") -> Iterator[Served]:
    """Our webserver without the guard before it: what the endpoints hold by themselves."""
    with _instance(home, False) as context:
        app = GuardedWebserver(context, prefix).create_asgi_app()
        with _listening(app) as port:
            yield Served(port, context.instance, prefix, router=app.router)


@contextlib.contextmanager
def _instance(home: Path, read_only: bool) -> Iterator[WorkspaceProcessContext]:
    home.mkdir(parents=True)
    with (
        DagsterInstance.local_temp(str(home)) as instance,
        WorkspaceProcessContext(instance, EmptyWorkspaceTarget(), "", read_only) as context,
    ):
        instance.event_log_storage.set_concurrency_slots("attack", UNTOUCHED)
        yield context


@contextlib.contextmanager
def _listening(app: ASGIApp) -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        config = uvicorn.Config(app, http="h11", log_level="critical", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        try:
            yield port
        finally:
            server.should_exit = True
            thread.join(30)
