"""A real Dagster webserver behind our guard, asked what a hostile page would make a browser ask."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from inferencebench_pipeline.automation.instance.webserver import exposed_secrets
from tests.automation.webservers import CLONE, JSON, LIMIT, Server, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


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


@pytest.mark.parametrize(
    "path",
    [
        "/graphql%0A",
        "/graphql%0D%0A",
        "/graphql%00",
        "/graphql%E2%80%A8",
        "/graphql%20",
        "//graphql",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("site", [{}, {"Sec-Fetch-Site": "cross-site"}])
def test_no_other_spelling_of_the_path_helps(
    unharmed: Server, public: Server, method: str, path: str, site: dict[str, str]
) -> None:
    for server in (unharmed, public):
        target = f"{path}?query={quote(LIMIT % 5)}"
        assert server.ask(method, target, headers=site)[0] in {400, 403, 405}
        target = f"{path}?query={quote('mutation{setNuxSeen}')}"
        status, text = server.ask(method, target, headers=site)
        assert (status in {400, 403, 405}, "setNuxSeen" in text) == (True, False)


NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "x", ""])
@pytest.mark.parametrize(
    "path", ["/", "/server_info", "/runs", "/favicon.png", "/graphql", "/logs/a/b"]
)
def test_another_site_may_open_a_page_and_nothing_else(
    server: Server, site: str, path: str
) -> None:
    foreign = {"Sec-Fetch-Site": site}
    embedded = [
        {},
        {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "object"},
        {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "document"},
    ]
    for more in embedded:
        for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE"):
            assert server.ask(method, path, headers=foreign | more | JSON)[0] == 403
    for method in ("HEAD", "POST", "OPTIONS"):
        assert server.ask(method, path, headers=foreign | NAVIGATION | JSON)[0] == 403
    assert server.ask("GET", path, headers=foreign | NAVIGATION)[0] in {200, 404, 405}


@pytest.mark.parametrize(
    "host",
    ["x@127.0.0.1", "127.0.0.1:x", "127.0.0.1/", "127.0.0.1?", "127.0.0.1#", " ", "localhost.",
     "127.0.0.1, evil.example", "user:pw@localhost", "127.0.0.1:3000:3000", "[::1]x", "[::1",
     "http://127.0.0.1", "127.1", "2130706433", "0x7f000001", "127.0.0.1\\@evil.example"],
)  # fmt: skip
def test_a_host_that_only_looks_like_ours_is_none(server: Server, host: str) -> None:
    assert server.ask("GET", "/server_info", headers={"Host": host})[0] in {400, 421}


@pytest.mark.parametrize(
    "origin",
    ["http://x@127.0.0.1:%d", "http://127.0.0.1:%d/", "ftp://127.0.0.1:%d", "//127.0.0.1:%d",
     "http://127.0.0.1:%d.evil.example", "127.0.0.1:%d", "", "file://"],
)  # fmt: skip
def test_an_origin_that_only_looks_like_ours_is_none(unharmed: Server, origin: str) -> None:
    named = origin.replace("%d", str(unharmed.port))
    assert unharmed.graphql(LIMIT % 5, Origin=named)[0] == 403
    assert unharmed.handshake(Origin=named) == 403


BOTH = "query Harmless { version } " + (LIMIT % 5).replace("mutation", "mutation Harmful")


@pytest.mark.parametrize(
    "body",
    [
        json.dumps([{"query": LIMIT % 5}]),
        json.dumps({"query": BOTH}),
        json.dumps({"query": BOTH, "operationName": "Harmless"}),
        json.dumps({"query": BOTH, "operationName": ["Harmful"]}),
        json.dumps({"query": ["mutation"]}),
        json.dumps({"query": None, "extensions": {"persistedQuery": {"sha256Hash": "x"}}}),
        json.dumps({"query": LIMIT % 5, "variables": "not an object"}),
        json.dumps({"query": LIMIT % 5, "variables": [1]}),
        json.dumps({"query": "{version}", "mutation": LIMIT % 5}),
        f'{{"query": {json.dumps(LIMIT % 5)}, "query": "{{version}}"}}',
        "",
        "null",
        "[" * 100_000,
        '{"query": "' + "{a" * 20_000 + '"}',
        '{"query": "\\ud800"}',
        '{"query": "{version}", "variables": {"x": ' + "[" * 50_000 + "]" * 50_000 + "}}",
        '{"query": "subscription { locationStateChangeEvents { __typename } }"}',
    ],
)
def test_a_post_executes_what_it_says_and_nothing_beside(unharmed: Server, body: str) -> None:
    assert unharmed.ask("POST", "/graphql", body, JSON)[0] in {200, 400}


def test_what_stands_in_the_address_of_a_post_is_not_executed(unharmed: Server) -> None:
    target = f"/graphql?query={quote(LIMIT % 5)}"
    status, text = unharmed.ask("POST", target, json.dumps({"query": "{version}"}), JSON)
    assert (status, "version" in text) == (200, True)
    assert unharmed.ask("POST", target, "{}", JSON)[0] == 400


@pytest.mark.parametrize(
    "path",
    ["/logs/..%2f..%2fetc%2fpasswd", "/logs/../../x", "/logs/..%2f", "/logs/", "/logs/x",
     "/logs//x/y", "/logs/a/./b", "/logs/%2e%2e/%2e%2e/x/err", "/logs/a/b",
     "/logs/" + "a" * 2000 + "/x/err",
     "/logs/a/" + "a" * 300 + "/" + "b" * 300, "/logs/..%5c..%5cx/err", "/download_debug/x",
     "/download_debug/" + "a" * 3000, "/notebook", "/dagit/notebook?path=x.ipynb&repoLocName=x",
     "/notebook?path=%2Fetc%2Fx.ipynb&repoLocName=x", "/_next/..%2f..%2fcsp-header.txt",
     "/vendor/" + "a" * 3000],
)  # fmt: skip
def test_what_is_not_there_is_not_found(server: Server, path: str) -> None:
    status, text = server.ask("GET", path)
    assert (status, "Traceback" in text) == (404, False)


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{", "1", '{"asset_key": 1}', '{"metadata": 1}', '{"passed": "x"}', "[" * 100_000,
     '{"partition": {}}', '{"passed": true, "check_name": 1, "severity": "x"}'],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["materialization", "check", "observation"])
@pytest.mark.parametrize("key", ["", "x"])
def test_a_report_that_is_none_is_refused(server: Server, kind: str, body: str, key: str) -> None:
    status, text = server.ask("POST", f"/report_asset_{kind}/{key}", body, JSON)
    assert (status, "Traceback" in text) in {(400, False), (200, False)}


def conversation(server: Server, *messages: str | bytes) -> list[str]:
    """Return the server's messages on a WebSocket until it falls silent or hangs up."""
    answers: list[str] = []
    address = f"ws://127.0.0.1:{server.port}/graphql"
    protocol = Subprotocol("graphql-ws")
    with connect(address, subprotocols=[protocol], max_size=None) as wire:
        try:
            for message in messages:
                wire.send(message)
            while True:
                answers.append(str(wire.recv(timeout=2)))
        except TimeoutError:
            pass
        except ConnectionClosed as closed:
            answers.append(f"closed {closed.rcvd.code if closed.rcvd else None}")
    return answers


def started(query: str, **more: object) -> str:
    return json.dumps({"type": "start", "id": "1", "payload": {"query": query, **more}})


@pytest.mark.parametrize(
    "message",
    [
        started(LIMIT % 5),
        started("{ version }"),
        started(BOTH, operation_name="Harmful"),
        started("subscription S { locationStateChangeEvents { __typename } } " + BOTH,
                operation_name="Harmful"),
        started("subscription { setConcurrencyLimit(concurrencyKey: \"attack\", limit: 5) }"),
        started("subscription { ...F } fragment F on Mutation { setNuxSeen }"),
        started("{" * 50_000),
        started("subscription { ...F } fragment F on Subscription { ...F }"),
    ],
)  # fmt: skip
def test_a_web_socket_executes_subscriptions_only(
    unharmed: Server, public: Server, message: str
) -> None:
    for server in (unharmed, public):
        hello = json.dumps({"type": "connection_init"})
        acknowledged, answer, *_ = conversation(server, hello, message)
        assert json.loads(acknowledged)["type"] == "connection_ack"
        assert json.loads(answer)["type"] == "error"


@pytest.mark.parametrize(
    "message",
    ["", "x", "[]", "1", "{}", '{"type": 1}', '{"type": "start"}', '{"type": "start", "id": "1"}',
     '{"type": "start", "id": {}, "payload": {"query": "{version}"}}',
     '{"type": "start", "id": "1", "payload": {"query": 1}}', '{"type": "stop", "id": []}',
     "[" * 100_000, b"\x00\xff", '{"type": "start", "id": "1", "payload": []}'],
)  # fmt: skip
def test_a_web_socket_that_speaks_something_else_is_hung_up_on(
    server: Server, message: str | bytes
) -> None:
    assert conversation(server, message) == ["closed 1008"]


def test_a_web_socket_is_bounded(server: Server) -> None:
    assert conversation(server, "x" * (2 * 1024 * 1024)) == ["closed 1009"]
    stream = "subscription { locationStateChangeEvents { __typename } }"
    many = [json.dumps({"type": "start", "id": str(n), "payload": {"query": stream}})
            for n in range(60)]  # fmt: skip
    assert conversation(server, *many)[-1] == "closed 1008"


def test_what_the_pages_subscribe_to_is_streamed(server: Server, public: Server) -> None:
    stream = "subscription L { locationStateChangeEvents { event { message } } }"
    for one in (server, public):
        message = started(stream, operationName="L", variables={}, extensions={})
        assert conversation(one, json.dumps({"type": "connection_init"}), message)[1:] == []


def test_no_answer_so_far_was_a_crash(server: Server, public: Server) -> None:
    """Stands last: nothing that the tests above sent has left a traceback in the log."""
    for one in (server, public):
        assert "Traceback" not in one.log.read_text()


def test_the_guard_runs_where_nothing_else_of_ours_is(tmp_path: Path) -> None:
    """The host image holds the folder beside Dagster, under its own name."""
    shutil.copytree(
        CLONE / "inferencebench_pipeline/automation/instance/webserver", tmp_path / "webserver"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "webserver", "--help"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert (done.returncode, "--read-only" in done.stdout) == (0, True), done.stderr


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
        "inferencebench_pipeline.automation.instance.webserver",
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
