"""Attackers that try to get into a deployment while `unattended.py` leaves it alone.

A web page in an operator's browser, engines that answer as none does, strangers and a colleague
who publish nasty records, model owners with bombs in their cards, a Hub that answers nonsense, and
hosts whose deliveries point out of their folder. The attacks are those of the tests, drawn from a
seed. A listener stands where all that is redirected leads to: it must never see a secret.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from inferencebench_pipeline.errors import PipelineError
from inferencebench_pipeline.hub.client.repo import Repo
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore, new_run_id
from inferencebench_pipeline.sandbox.faults_client import Faults
from inferencebench_pipeline.sandbox.process import SandboxEnvironment
from tests.attacks.hostile_http import (
    ANSWERS,
    ESCAPES,
    Answer,
    Asked,
    HostileServer,
    always,
    json_text,
    on,
    plain,
    redirect,
)
from tests.attacks.nasty import NASTY, envelopes
from tests.attacks.test_inbox import BAD, HOSTILE_NAMES
from tests.attacks.test_one_record import PLACES, PLAIN, without_traces
from tests.automation.instance.webserver.test_webserver import BOTH, conversation, started
from tests.automation.instance.webserver.test_webserver_query_cost import BOMB
from tests.automation.webservers import JSON, LIMIT, Server
from tests.hub.conftest import ORGANISATION, World
from tests.measure.support import content_of_spec

ENGINE_KEY = "sk-a-key-that-nobody-else-may-see"
LIMIT_BEFORE = 3
"""The setting that the page tries to change; `unattended.py` sets it."""
CARD = b"---\ntags:\n- inferencebench\n---\n# a record\n"
KILLED_AT_START = "terminated unexpectedly with exit code -9"
"""The words of Dagster's launcher for a run process that was killed before it had begun."""
MOST_CHARACTERS = 1_500
"""A sentence may quote a stranger, but not at any length."""

# -- the page in an operator's browser -------------------------------------------------------------

LAUNCH = (
    "mutation { launchRun(executionParams: {mode: \"default\", selector: {repositoryLocationName: "
    "\"inferencebench_pipeline\", repositoryName: \"__repository__\", pipelineName: "
    "\"launch_benchmark\"}}) { __typename } }"
)  # fmt: skip
SPELLINGS = ["", "/", "%0A", "%0D%0A", "%00", "%E2%80%A8", "%20", "%2F", "%c2%85"]
NO_GRAPHQL = ["%3F", ";x", "/%2e"]
"""Spellings that no router takes for GraphQL's: the pages' own start page answers."""
FOREIGN: list[dict[str, str]] = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
]
HOSTS = ["evil.example", "127.0.0.1.evil.example", "x@127.0.0.1", "2130706433", "", "[::1"]
KINDS = ["application/x-www-form-urlencoded", "text/plain", "application/graphql", "text/json"]
COSTLY = [
    BOMB,
    "{" * 5000,
    "{" + " ".join(f"a{n}: __schema{{types{{name fields{{name}}}}}}" for n in range(300)) + "}",
    "{" + " ".join(f"a{n}: runsOrError{{__typename}}" for n in range(5000)) + "}",
    "{" + "a{" * 3000 + "b" + "}" * 3001,
]
NO_QUERIES = ["", "null", "[" * 100_000, '{"query": "\\ud800"}', json.dumps([{"query": LIMIT % 5}]),
              json.dumps({"query": BOTH, "operationName": "Harmless"})]  # fmt: skip
NOT_THERE = ["/logs/..%2f..%2fetc%2fpasswd", "/notebook?path=%2Fetc%2Fx.ipynb&repoLocName=x",
             "/download_debug/" + "a" * 3000, "/_next/..%2f..%2fcsp-header.txt"]  # fmt: skip

Answered = tuple[int, str]
Asking = tuple[str, Callable[[], Answered], set[int]]


def web_attack(chance: random.Random, ui: Server, public: Server) -> Asking:
    """Draw a request: what it is, how to send it, and the only statuses it may be answered with."""
    harm = chance.choice([LIMIT % 5, LAUNCH])
    foreign, both = chance.choice(FOREIGN), chance.choice([ui, public])

    def get() -> Answered:
        ending = chance.choice(SPELLINGS + NO_GRAPHQL)
        target = f"{chance.choice(['', '/'])}/graphql{ending}?query={quote(harm)}"
        method, site = chance.choice(["GET", "HEAD"]), chance.choice([{}, foreign])
        status, text = both.ask(method, target, None, site)
        page = ending in NO_GRAPHQL and text.startswith(
            "<!DOCTYPE html>" if method == "GET" else ""
        )
        return (404 if status == 200 and page else status), text

    def socket() -> Answered:
        said = conversation(both, json.dumps({"type": "connection_init"}), started(harm))
        return (403 if json.loads(said[1])["type"] == "error" else 200), said[1]

    def form() -> Answered:
        headers = {"Content-Type": chance.choice(KINDS)}
        return ui.ask("POST", "/graphql", f"query={quote(harm)}", headers)

    def report() -> Answered:
        return ui.ask("POST", "/report_asset_materialization/x?metadata=%7B%7D")

    return chance.choice(
        [
            ("a mutation as a plain request", get, {400, 403, 404, 405}),
            ("a mutation as a plain request", get, {400, 403, 404, 405}),
            ("a mutation of another site", lambda: ui.graphql(harm, **foreign), {403}),
            ("another host", lambda: ui.graphql(harm, Host=chance.choice(HOSTS)), {400, 421}),
            ("a form", form, {415}),
            ("a report by form", report, {415}),
            ("a socket of another site", lambda: (ui.handshake(**foreign), ""), {403}),
            ("a mutation on a socket", socket, {403}),
            ("a mutation for readers", lambda: public.graphql(harm), {403}),
            ("a costly query", lambda: public.graphql(chance.choice(COSTLY)), {400}),
            (
                "no query",
                lambda: ui.ask("POST", "/graphql", chance.choice(NO_QUERIES), JSON),
                {200, 400},
            ),
            ("what is not there", lambda: ui.ask("GET", chance.choice(NOT_THERE)), {404}),
        ]
    )


@dataclass
class WebPage:
    """A hostile page that asks without a pause, on a thread of its own."""

    chance: random.Random
    ui: Server
    public: Server
    asked: Counter[str] = field(default_factory=Counter)
    got_in: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def open(self) -> Iterator[WebPage]:
        """Ask while the block runs."""
        thread = threading.Thread(target=self._ask, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join(90)

    def _ask(self) -> None:
        while not self._over.wait(self.chance.uniform(0.5, 3)):
            name, send, allowed = web_attack(self.chance, self.ui, self.public)
            began = time.monotonic()
            try:
                status, text = send()
            except Exception as error:
                self.got_in.append(f"{name}: {type(error).__name__}: {error}"[:300])
                continue
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.asked[f"web: {name}"] += 1
            if status not in allowed or "Traceback" in text:
                self.got_in.append(f"{name}: {status} {text[:200]!r}")


# -- engines ---------------------------------------------------------------------------------------

MODELS = json_text(json.dumps({"object": "list", "data": [{"id": "fake"}]}))
BOMBED = [
    f"on /{path}: {mode}"
    for path, modes in {
        "models": ("silence", "header_drip", "body_drip", "interim_flood", "bomb", "endless_chunks",
                   "announced_size", "deep", "huge_number", "many_lists", "redirect_odd_name",
                   "escaped_refusal", "not_http", "gzip_drip"),
        "chat/completions": ("chunk_drip", "bomb", "endless_headers", "deep", "not_gzip"),
    }.items()
    for mode in modes
]  # fmt: skip


@dataclass
class Engines:
    """Hostile engines, the listener behind them, and the runs that were asked of them."""

    listener: HostileServer
    servers: dict[str, HostileServer]
    asked: dict[str, str] = field(default_factory=dict)
    """Run ids, and what their engine does."""

    @property
    def environ(self) -> dict[str, str]:
        """Return the allowed keys: one engine gets a key, and it is one that redirects."""
        url = self.servers["redirects a key"].url
        return {"ENGINE_KEY": ENGINE_KEY, "INFERENCEBENCH_ENGINE_KEYS": f"ENGINE_KEY={url}"}

    def request(self, chance: random.Random, store: RunStore) -> str:
        """Ask for a run of a hostile engine, as a colleague's spec would; return its name."""
        name = chance.choice(sorted(self.servers))
        changes: dict[str, Any] = {
            "deadlines": {"request_s": 4, "run_s": 20, "engine_start_s": 4},
        }
        engine: dict[str, Any] = {"kind": "openai", "base_url": f"{self.servers[name].url}/v1",
                                  "name": "fake", "version": "1"}  # fmt: skip
        if "key" in name:
            engine["api_key_env"] = "HF_TOKEN" if "our token" in name else "ENGINE_KEY"
        content = content_of_spec("", name="hostile", engine=engine, **changes)
        run = store.run(new_run_id())
        self.asked[run.run_id] = name
        run.write(RunFile.SPEC, json.dumps(content).encode())
        return name

    def leaked(self, secrets: list[str]) -> list[str]:
        """Return every request that carried a secret to where it does not belong."""
        found = [
            f"the listener was sent {asked.path}"
            for asked in self.listener.asked
            if "authorization" in asked.headers or any(s in _all_of(asked) for s in secrets)
        ]
        for name, server in self.servers.items():
            for asked in server.asked:
                entitled = name == "redirects a key"
                if any(s in _all_of(asked) for s in secrets if not entitled or s != ENGINE_KEY):
                    found.append(f"the engine that {name} was sent a secret at {asked.path}")
        return found


def _all_of(asked: Asked) -> str:
    return f"{asked.path} {asked.headers} {asked.body!r}"


@contextmanager
def hostile_engines() -> Iterator[Engines]:
    """Serve every hostile engine while the block runs."""
    with ExitStack() as stack:
        listener = stack.enter_context(HostileServer(always(plain(b"{}"))))
        away = redirect(f"{listener.url}/latest/meta-data")
        answers: dict[str, Answer] = {
            "redirects": away,
            "redirects a key": away,
            "wants another's key": away,
            "wants our token as key": away,
        }
        for name in BOMBED:
            path, mode = name.removeprefix("on /").split(": ")
            honest = plain(b"", status="404 Not Found")
            otherwise = on("/models", MODELS, always(honest))
            answers[name] = on(path, ANSWERS[mode], otherwise)
        servers = {
            name: stack.enter_context(HostileServer(answer)) for name, answer in answers.items()
        }
        yield Engines(listener, servers)


# -- the Hub ---------------------------------------------------------------------------------------

_FRONT = "---\nlicense: mit\n%s---\n# hi\n"
_LAUGHS = "".join(f"  - &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 10))
CARDS = {
    "merge-bomb": _FRONT % ("inferencebench-verified:\n  - &a0 {x: 1}\n" + _LAUGHS),
    "deep-card": _FRONT % ("inferencebench-verified: " + "[" * 900 + "]" * 900 + "\n"),
    "odd-date": _FRONT % "inferencebench-verified: 2001-99-99\n",
}
RAW = [b"[" * 900_000, b'{"a":1,"a":2}', b"\xef\xbb\xbf{}", b"\0" * 1000, b" " * ((1 << 20) + 1),
       b'{"a":' + b"9" * 900_000 + b"}", json.dumps(PLAIN).encode("utf-16")]  # fmt: skip
_DEEP = "[" * 200_000
_LIST = {"method": "GET", "path": "/api/datasets$"}
HUB_ANSWERS: list[dict[str, object]] = [
    {"status": 200, "body": _DEEP, **_LIST},
    {"status": 200, "body": '{"a": ' + "9" * 50_000 + "}", **_LIST},
    {"status": 200, "body": json.dumps([{"id": ESCAPES, "sha": ESCAPES}]), **_LIST},
    {"status": 200, "body": "[" + "{}," * 400_000 + "{}]", **_LIST},
    {"status": 403, "body": json.dumps({"error": ESCAPES}), **_LIST},
    {"status": 503, "body": _DEEP},
    {"status": 500, "body": json.dumps({"error": ESCAPES}), "method": "POST"},
    {"status": 429, "headers": {"Retry-After": "-1"}},
    {"status": 429, "headers": {"RateLimit": '"api";r=0;t=2', "RateLimit-Policy": "q=1" * 2_500}},
]


@dataclass
class Strangers:
    """Publish useless records: a stranger under our tag, a colleague in our namespace."""

    chance: random.Random
    sandbox: SandboxEnvironment
    listener_url: str
    repositories: set[str] = field(default_factory=set)
    refused: int = 0

    def __post_init__(self) -> None:
        self._world = World(self.sandbox, Faults(self.sandbox.hub_url))
        self._hubs = {
            "stranger": self._world.user("stranger"),
            ORGANISATION: self._world.user("colleague", **{ORGANISATION: "write"}),
        }

    def put_models(self) -> list[str]:
        """Create the models whose cards are bombs; return their ids."""
        hub = self._hubs[ORGANISATION]
        models = [f"{ORGANISATION}/{name}" for name in CARDS]
        for model, card in zip(models, CARDS.values(), strict=True):
            # The Hub itself may refuse a card; its model stands without one then.
            with suppress(PipelineError):
                self._world.put_model(hub, model, card.encode())
        return models

    def publish(self, run_ids: list[str]) -> None:
        """Publish one nasty record; now and then one that says it is a run of ours."""
        namespace = self.chance.choice(sorted(self._hubs))
        data = self._envelope(run_ids)
        repo = Repo("dataset", f"{namespace}/evil-{len(self.repositories):05d}")
        files = {"README.md": CARD, "envelope.json": data}
        if self.chance.random() < 0.3:
            files["traces.parquet"] = b"PAR1" + self.chance.randbytes(2_000) + b"PAR1"
        self.repositories.add(repo.id)
        hub = self._hubs[namespace]
        try:
            hub.create(repo)
            hub.commit(repo, files, message="x", parent=hub.head(repo).commit)
        except PipelineError:
            self.refused += 1  # the faults strike strangers too

    def _envelope(self, run_ids: list[str]) -> bytes:
        draw = self.chance.random()
        if draw < 0.15:
            return self.chance.choice(RAW)
        document = without_traces()
        if draw < 0.3 and run_ids:
            made = list(envelopes(document, ("run_id",), self.chance.choice(run_ids)))
        else:
            place, name = self.chance.choice(PLACES), self.chance.choice(sorted(NASTY))
            made = list(envelopes(document, place, NASTY[name]))
        return self.chance.choice(made or [json.dumps(document).encode()])

    def misanswer(self) -> None:
        """Have the Hub answer nonsense, or send whoever asks to the listener."""
        away = {
            "status": 302,
            "headers": {"Location": f"{self.listener_url}/api/datasets"},
            **_LIST,
        }
        settings = self.chance.choice([*HUB_ANSWERS, away, away])
        Faults(self.sandbox.hub_url).add("status", times=self.chance.randint(1, 3), **settings)


# -- deliveries ------------------------------------------------------------------------------------


@dataclass
class Deliveries:
    """Hosts whose deliveries point out of their folder, at devices, or are larger than a disk."""

    chance: random.Random
    inbox: Path
    secret: Path
    made: list[str] = field(default_factory=list)

    SECRET = b"SECRET KEY"

    def __post_init__(self) -> None:
        self.secret.parent.mkdir()
        self.secret.write_bytes(self.SECRET)
        self._names = [name for name in HOSTILE_NAMES if not name.startswith(".")]

    def deliver(self) -> None:
        """Leave one hostile delivery."""
        if self._names and self.chance.random() < 0.3:
            name = self._names.pop()
            (self.inbox / name).mkdir()
            (self.inbox / name / "delivery.json").write_bytes(b"{}")
        else:
            # Made beside the inbox and moved in, so that no tick sees half of it.
            name, half = new_run_id(), self.secret.parent / "half"
            folder = half / name
            folder.mkdir(parents=True)
            (folder / "spec.json").write_bytes(b"{}")
            self.chance.choice(BAD)(folder, self.secret)
            folder.rename(self.inbox / name)
        self.made.append(name)


# -- what they must not have left ------------------------------------------------------------------


def is_one_sentence(text: str | None) -> bool:
    """Return whether a failure is told in one safe, short line."""
    return (
        bool(text)
        and str(text).isprintable()
        and len(str(text)) <= MOST_CHARACTERS
        and "Traceback" not in str(text)
    )


def tracebacks(files: list[Path]) -> Counter[str]:
    """Return the last lines of all tracebacks in logs, counted, but for those of our own kills."""
    found: Counter[str] = Counter()
    for path in files:
        lines = path.read_text(errors="replace").splitlines()
        for number, line in enumerate(lines):
            if line.startswith("Traceback"):
                rest = (after for after in lines[number + 1 :] if after[:1] not in {" ", ""})
                last = next(rest, "")
                if KILLED_AT_START not in last:
                    found[f"{path.name}: {last[:160]}"] += 1
    return found
