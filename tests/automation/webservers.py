"""A real Dagster webserver behind the guard, as a process of its own, for the tests that ask it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.paths import REPOSITORY as CLONE

GUARDED = "inferencebench_pipeline.automation.instance.webserver"
STOCK = "dagster_webserver"
JSON = {"Content-Type": "application/json"}
LIMIT = 'mutation { setConcurrencyLimit(concurrencyKey: "attack", limit: %d) }'
QUERY = '{ instance { concurrencyLimit(concurrencyKey: "attack") { slotCount } } }'


@dataclass(frozen=True)
class Server:
    """A webserver that is up, on loopback."""

    port: int
    log: Path

    def ask(
        self,
        method: str,
        path: str,
        body: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        connection.close()
        return answer.status, text

    def graphql(self, query: str, **headers: str) -> tuple[int, str]:
        return self.ask("POST", "/graphql", json.dumps({"query": query}), JSON | headers)

    def limit(self) -> int:
        """Return what the attack tries to change."""
        status, text = self.graphql(QUERY)
        assert status == 200, text
        return int(json.loads(text)["data"]["instance"]["concurrencyLimit"]["slotCount"])

    def handshake(self, **headers: str) -> int:
        """Return the status that a WebSocket handshake is answered with."""
        lines = {
            "Host": f"127.0.0.1:{self.port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Protocol": "graphql-ws",
        } | headers
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as wire:
            wire.sendall(f"GET /graphql HTTP/1.1\r\n{text}\r\n".encode())
            return int(wire.recv(4096).split()[1])


@contextlib.contextmanager
def running(
    home: Path, *options: str, module: str = GUARDED, queued: bool = True
) -> Iterator[Server]:
    """A webserver that is up, with an empty workspace unless the options name another."""
    home.mkdir()
    if queued:
        shutil.copyfile(CLONE / "dagster.yaml", home / "dagster.yaml")
    else:
        # Without a daemon, a run starts only when nothing queues it.
        (home / "dagster.yaml").write_text(
            "telemetry: {enabled: false}\n"
            "run_coordinator:\n"
            "  {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}\n"
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    workspace = [] if {"-f", "-w"} & {*options} else ["--empty-workspace"]
    command = [sys.executable, "-m", module, *workspace]
    command += ["-h", "127.0.0.1", "-p", str(port), *options]
    environment = os.environ | {
        "DAGSTER_HOME": str(home),
        "INFERENCEBENCH_UI_HOSTS": "ui.example.org",
        "PYTHONPATH": str(CLONE),
    }
    server = Server(port, home / "log")
    with server.log.open("wb") as log:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log)
        try:
            prefix = options[-1] if "--path-prefix" in options else ""
            wait_until_up(server, process, prefix)
            yield server
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_up(server: Server, process: subprocess.Popen[bytes], prefix: str) -> None:
    deadline_s = time.monotonic() + 120
    while time.monotonic() < deadline_s:
        assert process.poll() is None, server.log.read_text()
        with contextlib.suppress(OSError):
            if server.ask("GET", f"{prefix}/server_info")[0] == 200:
                return
        time.sleep(0.5)
    raise AssertionError(f"not up in two minutes: {server.log.read_text()}")
