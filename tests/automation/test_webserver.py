"""A real Dagster webserver behind our guard, asked what a hostile page would make a browser ask."""

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
from urllib.parse import quote

import pytest

from inferencebench_pipeline.automation.webserver import exposed_secrets

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

CLONE = Path(__file__).resolve().parent.parent.parent
JSON = {"Content-Type": "application/json"}
LIMIT = 'mutation { setConcurrencyLimit(concurrencyKey: "attack", limit: %d) }'
QUERY = '{ instance { concurrencyLimit(concurrencyKey: "attack") { slotCount } } }'


@dataclass(frozen=True)
class Server:
    """A webserver that is up, on loopback."""

    port: int

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
        text = answer.read().decode()
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
def running(home: Path, *options: str) -> Iterator[Server]:
    home.mkdir()
    shutil.copyfile(CLONE / "dagster.yaml", home / "dagster.yaml")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "inferencebench_pipeline.automation.webserver",
        "--empty-workspace",
    ]
    command += ["-h", "127.0.0.1", "-p", str(port), *options]
    environment = os.environ | {
        "DAGSTER_HOME": str(home),
        "INFERENCEBENCH_UI_HOSTS": "ui.example.org",
        "PYTHONPATH": str(CLONE),
    }
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log)
        try:
            server = Server(port)
            wait_until_up(server, process, home / "log")
            yield server
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_up(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + 120
    while time.monotonic() < deadline_s:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            if server.ask("GET", "/server_info")[0] == 200:
                return
        time.sleep(0.5)
    raise AssertionError(f"not up in two minutes: {log.read_text()}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("ui") / "home") as server:
        yield server


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("public") / "home", "--read-only") as server:
        yield server


@pytest.fixture
def unharmed(server: Server) -> Iterator[Server]:
    """The server, with what is attacked known before and compared afterwards."""
    assert "errors" not in server.graphql(LIMIT % 3)[1]
    assert server.limit() == 3
    yield server
    assert server.limit() == 3


def test_the_ui_works_and_cannot_be_framed(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert answer.status == 200
    assert b"<html" in answer.read()
    assert answer.headers["X-Frame-Options"] == "DENY"
    connection.close()
    origin = f"http://127.0.0.1:{server.port}"
    same = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
    assert server.graphql("{ version }", **same)[0] == 200
    assert server.handshake(Origin=origin) == 101
    assert server.handshake() == 101


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_mutation_as_a_plain_get_does_nothing(unharmed: Server, method: str) -> None:
    for path in ("/graphql", "/graphql/"):
        status, _ = unharmed.ask(method, f"{path}?query={quote(LIMIT % 5)}")
        assert status == 405


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_site_s_requests_are_refused(unharmed: Server, headers: dict[str, str]) -> None:
    assert unharmed.graphql(LIMIT % 5, **headers)[0] == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:3000", "", "[::1", "0.0.0.0"]
)
def test_another_name_is_not_answered_to(unharmed: Server, host: str) -> None:
    assert unharmed.graphql(LIMIT % 5, Host=host)[0] == 421
    assert unharmed.ask("GET", "/", headers={"Host": host})[0] == 421
    assert unharmed.ask("GET", "/server_info", headers={"Host": host})[0] == 421


@pytest.mark.parametrize("host", ["localhost:3000", "UI.example.org", "[::1]:3000"])
def test_its_own_names_are_answered_to(server: Server, host: str) -> None:
    assert server.ask("GET", "/server_info", headers={"Host": host})[0] == 200
    assert server.graphql("{ version }", Host=host, Origin=f"https://{host}")[0] == 200


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", f"query={quote(LIMIT % 5)}"),
        ("text/plain", json.dumps({"query": LIMIT % 5})),
        ("application/graphql", LIMIT % 5),
        ("multipart/form-data; boundary=x", "--x--"),
        ("application/jsonp", json.dumps({"query": LIMIT % 5})),
        (None, json.dumps({"query": LIMIT % 5})),
    ],
)
def test_only_json_is_posted(unharmed: Server, kind: str | None, body: str) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    assert unharmed.ask("POST", "/graphql", body, headers)[0] == 415


def test_reporting_an_asset_by_a_form_is_refused(server: Server) -> None:
    status, _ = server.ask("POST", "/report_asset_materialization/x?metadata=%7B%7D")
    assert status == 415


def test_a_web_socket_of_another_site_is_refused(server: Server) -> None:
    assert server.handshake(Origin="https://evil.example") == 403
    assert server.handshake(Host="evil.example") == 403


def test_the_public_ui_is_read(public: Server) -> None:
    assert public.ask("GET", "/")[0] == 200
    assert public.graphql("{ version }")[0] == 200
    assert public.handshake() == 101


@pytest.mark.parametrize(
    "query",
    [
        LIMIT % 5,
        'mutation { logTelemetry(action: "x", clientTime: "0", clientId: "x", metadata: "{}") '
        "{ __typename } }",
        "query Harmless { version } " + (LIMIT % 5).replace("mutation", "mutation Harmful"),
    ],
)
def test_the_public_ui_passes_no_mutation_on(public: Server, query: str) -> None:
    before = public.limit()
    status, text = public.graphql(query)
    assert (status, "for reading only" in text) == (403, True)
    assert public.limit() == before


@pytest.mark.parametrize("path", ["materialization", "check", "observation"])
def test_the_public_ui_takes_no_reports(public: Server, path: str) -> None:
    body = json.dumps({"asset_key": "x", "check_name": "y", "passed": True})
    assert public.ask("POST", f"/report_asset_{path}/x", body, JSON)[0] == 403


@pytest.mark.parametrize("body", ["", "[]", "{", '{"query": "mutation {"}', '{"query": 1}'])
def test_the_public_ui_passes_on_only_what_it_understands(public: Server, body: str) -> None:
    assert public.ask("POST", "/graphql", body, JSON)[0] in {400, 403}


def test_a_query_of_any_length_is_not_read_into_memory(public: Server) -> None:
    status, _ = public.ask("POST", "/graphql", " " * (1024 * 1024 + 1), JSON)
    assert status == 413


def test_a_webserver_that_others_reach_holds_no_secret(tmp_path: Path) -> None:
    assert exposed_secrets("127.0.0.1", {"HF_TOKEN": "x"}) == []
    assert exposed_secrets("0.0.0.0", {"HF_TOKEN": "x"}) == ["HF_TOKEN"]
    environment = os.environ | {
        "HF_TOKEN": "hf_secret",
        "DAGSTER_HOME": str(tmp_path),
        "PYTHONPATH": str(CLONE),
    }
    command = [
        sys.executable,
        "-m",
        "inferencebench_pipeline.automation.webserver",
        "--empty-workspace",
    ]
    done = subprocess.run(
        [*command, "-h", "0.0.0.0", "-p", "0"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 1, done.stderr
    assert "HF_TOKEN must not be in the environment" in done.stderr
    assert "hf_secret" not in done.stdout + done.stderr
