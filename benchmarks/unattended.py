"""An unattended stretch: schedules and sensors on, faults at random, every run published once.

    python benchmarks/unattended.py --minutes 60 --seed 7

The real daemon, its run queue and its run processes, on a sandbox of their own. Meanwhile

- another host delivers finished runs into the inbox: whole, half-copied at first, or damaged;
- a benchmark repeats itself by the schedule of its spec;
- drawn from the seed: the Hub, Fulcio, Rekor and the timestamp authority refuse, limit, drop
  connections, lose and cut answers; run processes and the daemon itself are killed;
- whoever `attackers.py` plays tries to get in: a web page, engines, strangers on the Hub, a Hub
  that answers nonsense, and hostile deliveries.

Then the faults end, and within ``--settle`` minutes every honest run must be published once,
verified and on the leaderboard, nothing may have been written by two at once, and what was damaged
must lie in quarantine. No attacker may have changed, read or held up anything. Nobody touches
anything; `nudge` stands for the Hub's webhook. Prints a table, exits with 1 when a promise was
broken. Ended by a signal, it takes everything that it started with it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from attackers import (
    CARDS,
    LIMIT_BEFORE,
    Deliveries,
    Engines,
    Strangers,
    WebPage,
    hostile_engines,
)
from unattended_report import left_in_the_inbox, report, unended

from inferencebench_pipeline.hub.webhooks import nudge
from inferencebench_pipeline.inbox.deliveries import deliver
from inferencebench_pipeline.leaderboard import LeaderboardStore
from inferencebench_pipeline.leaderboard.index.build import load_leaderboard
from inferencebench_pipeline.measure.run.run import run_benchmark
from inferencebench_pipeline.parking import parked_state
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore, new_run_id
from inferencebench_pipeline.sandbox.faults_client import Faults
from inferencebench_pipeline.sandbox.process import SandboxEnvironment, running_sandbox
from tests.automation.webservers import GUARDED, LIMIT, Server, wait_until_up
from tests.hub.conftest import ORGANISATION
from tests.measure.fake_engine import Behaviour, FakeEngine, running
from tests.measure.support import content_of_spec, ignore_progress, spec_for

CLONE = Path(__file__).resolve().parent.parent
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
KINDS = {
    "dagster._daemon": "daemon",
    GUARDED: "webserver",
    "api grpc": "code server",
}
HUB_FAULTS: list[tuple[str, dict[str, object]]] = [
    ("status", {"status": 503}),
    ("status", {"status": 500, "method": "POST"}),
    ("status", {"status": 429, "headers": {"Retry-After": "3"}}),
    ("drop", {}),
    ("delay", {"delay_s": 3.0}),
    ("lost_response", {"method": "POST", "path": "/commit/"}),
    ("lost_response", {"method": "POST", "path": "/api/repos/create"}),
    ("truncate", {"method": "GET", "path": "/resolve/"}),
]
SIGSTORE_FAULTS: list[tuple[str, dict[str, object]]] = [
    ("status", {"status": 503}),
    ("status", {"status": 429, "headers": {"Retry-After": "2"}}),
    ("drop", {}),
    ("delay", {"delay_s": 3.0}),
    ("lost_response", {"method": "POST"}),
    ("truncate", {"method": "POST"}),
]


@dataclass
class Stretch:
    """What is running, and what has happened to it."""

    home: Path
    sandbox: SandboxEnvironment
    chance: random.Random
    environ: dict[str, str]
    engines: Engines
    happened: Counter[str] = field(default_factory=Counter)
    delivered: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    daemon: subprocess.Popen[bytes] | None = None
    webservers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    memory: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Of each kind of process: megabytes and descriptors, as time went on."""

    def __post_init__(self) -> None:
        chance = random.Random(self.chance.random())
        self.strangers = Strangers(chance, self.sandbox, self.engines.listener.url)
        self.hostile = Deliveries(chance, self.inbox, self.home / "private" / "secret")

    @property
    def store(self) -> RunStore:
        return RunStore(self.home / "store")

    @property
    def inbox(self) -> Path:
        return self.home / "inbox"

    # -- the deployment --------------------------------------------------------------------------

    def start_daemon(self) -> None:
        log = (self.home / "daemon.log").open("ab")
        self.daemon = subprocess.Popen(
            [sys.executable, "-m", "dagster._daemon", "run", *self.workspace],
            cwd=self.home / "dagster",
            env=self.environ,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def start_webserver(self, *options: str) -> Server:
        """Start a guarded webserver on loopback, and wait until it answers."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = Server(port, self.home / f"webserver-{port}.log")
        command = [sys.executable, "-m", GUARDED, "-h", "127.0.0.1", "-p", str(port), *options]
        with server.log.open("wb") as log:
            process = subprocess.Popen(
                command, cwd=self.home / "dagster", env=self.environ, stdout=log, stderr=log
            )
        self.webservers.append(process)
        wait_until_up(server, process, "")
        return server

    @property
    def workspace(self) -> list[str]:
        return ["-w", str(CLONE / "workspace.yaml")]

    def switch_on(self, *command: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "dagster", *command, *self.workspace],
            cwd=self.home / "dagster",
            env=self.environ,
            check=True,
            capture_output=True,
        )

    def stop(self) -> None:
        for webserver in self.webservers:
            webserver.send_signal(signal.SIGINT)
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.daemon.wait(60)
            self.daemon.kill()
        for webserver in self.webservers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                webserver.wait(30)
        for pid in list(_processes_of(self.home)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # -- what befalls it -------------------------------------------------------------------------

    def deliver_one(self, served: dict[str, str]) -> None:
        """Measure a run on "another host" and leave it in the inbox, now and then badly."""
        model = self.chance.choice([MODEL, self.chance.choice(sorted(served))])
        host = RunStore(self.home / "gpu-host")
        run = host.run(new_run_id())
        run_benchmark(
            spec_for(served[model], model={"id": model}), run, on_progress=ignore_progress
        )
        how = self.chance.choice(["whole", "whole", "whole", "in two steps", "damaged"])
        if how == "in two steps":
            shutil.copytree(run.path, self.inbox / run.run_id)
            time.sleep(self.chance.uniform(5, 20))
        deliver(run, str(self.inbox))
        if how == "damaged":
            spool = self.inbox / run.run_id / "capture" / "requests.jsonl"
            # A sensor that was quicker has a sound copy, and the run counts as delivered.
            try:
                spool.write_bytes(spool.read_bytes()[:-2] + b"!\n")
            except FileNotFoundError:
                how = "whole"
        (self.damaged if how == "damaged" else self.delivered).append(run.run_id)
        self.happened[f"delivery {how}"] += 1

    def strike(self) -> None:
        """Let one thing go wrong."""
        draw = self.chance.random()
        if draw < 0.06:
            self._kill_daemon()
        elif draw < 0.18:
            self._kill_run()
        else:
            hub = draw < 0.62
            service = "hub" if hub else "sigstore"
            kind, settings = self.chance.choice(HUB_FAULTS if hub else SIGSTORE_FAULTS)
            url = self.sandbox.hub_url if hub else self.sandbox.sigstore_url
            Faults(url).add(kind, times=self.chance.randint(1, 4), **settings)
            name = f"{kind} {settings['status']}" if kind == "status" else kind
            self.happened[f"armed: {service} {name}"] += 1

    def attack(self) -> None:
        """Let one attacker but the web page, which needs no asking, do one thing."""
        draw = self.chance.random()
        if draw < 0.15:
            self.happened[f"engine: {self.engines.request(self.chance, self.store)}"] += 1
        elif draw < 0.55:
            self.strangers.publish(self.delivered)
            self.happened["nasty record published"] += 1
        elif draw < 0.7:
            self.strangers.misanswer()
            self.happened["armed: hub answers nonsense"] += 1
        else:
            self.hostile.deliver()
            self.happened["delivery hostile"] += 1

    def sample(self) -> None:
        """Note how much memory and how many descriptors the long-lived processes have."""
        for pid, line in _processes_of(self.home).items():
            kind = next((name for mark, name in KINDS.items() if mark in line), None)
            with contextlib.suppress(OSError):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                opened = len(list(Path(f"/proc/{pid}/fd").iterdir()))
                if kind:
                    self.memory.setdefault(f"{kind} {pid}", []).append((pages * 4 // 1024, opened))

    def _kill_daemon(self) -> None:
        if self.daemon is None:
            return
        self.daemon.kill()
        self.daemon.wait()
        time.sleep(self.chance.uniform(1, 20))
        self.start_daemon()
        self.happened["killed: daemon"] += 1

    def _kill_run(self) -> None:
        workers = [pid for pid, line in _processes_of(self.home).items() if "execute_run" in line]
        workers = workers or [
            pid for pid, line in _processes_of(self.home).items() if "multiprocessing.spawn" in line
        ]
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.chance.choice(workers), signal.SIGKILL)
                self.happened["killed: run process"] += 1

    def struck(self) -> int:
        """Return how many requests the armed faults have struck."""
        urls = (self.sandbox.hub_url, self.sandbox.sigstore_url)
        return sum(report.fired for url in urls for report in Faults(url).reports())

    def clear(self) -> None:
        for url in (self.sandbox.hub_url, self.sandbox.sigstore_url):
            Faults(url).clear()

    # -- what it has come to ---------------------------------------------------------------------

    def unfinished(self) -> list[str]:
        """Return the runs that are not on the leaderboard as verified, and why."""
        hostile = self.strangers.repositories
        board = load_leaderboard(LeaderboardStore(self.store.root)).runs
        rows = {row.run_id: row for row in board if row.repo_id not in hostile}
        waiting = []
        for run_id in sorted({*self.store.run_ids(), *self.delivered} - {*self.engines.asked}):
            row, run = rows.get(run_id), self.store.run(run_id)
            if row is None or row.state != "verified":
                parked = parked_state(run)
                why = f"parked at {parked.stage}" if parked else _last_file(run.path)
                waiting.append(f"{run_id}: {row.state if row else why}")
        return waiting


def _last_file(path: Path) -> str:
    files = [one.value for one in RunFile if (path / one.value).exists()]
    return f"has come to {files[-1]}" if files else "is not in the store"


def _processes_of(home: Path) -> dict[int, str]:
    """Return the command lines of the processes that live in ``home``, but for the sandbox."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environ = (entry / "environ").read_bytes()
            line = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            ours = f"INFERENCEBENCH_HOME={home}".encode() in environ.split(b"\0")
            if ours and int(entry.name) != os.getpid() and "sandbox" not in line:
                found[int(entry.name)] = line
    return found


@contextlib.contextmanager
def deployment(
    home: Path, chance: random.Random, base_url: str, engines: Engines
) -> Iterator[Stretch]:
    """A deployment in ``home`` with everything on, started as operators start it."""
    (home / "specs").mkdir(parents=True)
    (home / "dagster").mkdir()
    (home / "inbox").mkdir()
    shutil.copyfile(CLONE / "dagster.yaml", home / "dagster" / "dagster.yaml")
    content = content_of_spec(base_url, name="repeated", model={"id": MODEL})
    schedule = {"cron": "*/3 * * * *", "jitter_s": 30, "enabled": True}
    (home / "specs" / "repeated.yaml").write_text(json.dumps({**content, "schedule": schedule}))
    with running_sandbox(home / "sandbox") as sandbox:
        environ = {
            **os.environ,
            **sandbox.environ,
            **engines.environ,
            "PYTHONPATH": str(CLONE),
            "INFERENCEBENCH_HOME": str(home),
            "INFERENCEBENCH_SPECS": str(home / "specs"),
            "INFERENCEBENCH_INBOX": str(home / "inbox"),
            "INFERENCEBENCH_UPDATE_MODEL_CARD": "1",
            "INFERENCEBENCH_OUTAGE_WAIT_S": "5",
            "DAGSTER_HOME": str(home / "dagster"),
        }
        stretch = Stretch(home, sandbox, chance, environ, engines)
        stretch.strangers.put_models()
        for _ in range(5):
            stretch.strangers.publish([])
        pools = [sys.executable, "-m", "inferencebench_pipeline.automation.instance.pools"]
        subprocess.run(pools, env=environ, check=True, stdout=subprocess.DEVNULL)
        try:
            stretch.switch_on("sensor", "start", "--start-all")
            stretch.switch_on("schedule", "start", "--start-all")
            stretch.start_daemon()
            yield stretch
        finally:
            stretch.stop()


def befall(
    stretch: Stretch, served: dict[str, str], minutes: float, say: Callable[[str], None]
) -> int:
    """Deliver, strike and attack until the time is over; return how many requests were struck."""
    chance, struck = stretch.chance, 0
    end = time.monotonic() + minutes * 60
    next_delivery = next_strike = next_attack = next_nudge = time.monotonic()
    while (now := time.monotonic()) < end:
        if now >= next_delivery:
            stretch.deliver_one(served)
            next_delivery = now + chance.uniform(30, 70)
        if now >= next_strike:
            stretch.strike()
            next_strike = now + chance.uniform(12, 35)
        if now >= next_attack:
            stretch.attack()
            next_attack = now + chance.uniform(5, 20)
        if now >= next_nudge:
            stretch.sample()
            nudge(stretch.store.root)
            next_nudge = now + 60
            left = len(stretch.unfinished())
            say(
                f"{(end - now) / 60:5.1f} min left, {len(stretch.store.run_ids())} runs taken in, "
                f"{left} not on the board yet, {sum(stretch.happened.values())} things happened"
            )
        time.sleep(1)
    struck = stretch.struck()
    stretch.clear()
    return struck


def settle(stretch: Stretch, minutes: float, say: Callable[[str], None]) -> list[str]:
    """Wait, without faults, until every run is on the board; return those that are not."""
    stretch.switch_on("schedule", "stop", "benchmark_repeated")
    end, next_nudge = time.monotonic() + minutes * 60, 0.0
    while time.monotonic() < end:
        waiting = stretch.unfinished() or unended(stretch) or left_in_the_inbox(stretch)
        if not waiting:
            break
        if time.monotonic() >= next_nudge:
            stretch.sample()
            nudge(stretch.store.root)
            next_nudge = time.monotonic() + 60
            say(f"settling: {len(waiting)} not on the board, such as {waiting[0]}")
        time.sleep(2)
    return waiting


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="of deliveries and faults")
    parser.add_argument("--settle", type=float, default=15.0, help="minutes to finish in, at most")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--home", type=Path, help="kept; a temporary folder otherwise")
    options = parser.parse_args()
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"[{(time.monotonic() - started) / 60:5.1f} min] {line}", flush=True)

    home = (options.home or Path(tempfile.mkdtemp(prefix="unattended-"))).absolute()
    # Whatever ends this, the daemon and the servers end with it.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _frame: sys.exit(128 + number))
    with contextlib.ExitStack() as stack:
        engines = stack.enter_context(hostile_engines())
        models = [MODEL, *(f"{ORGANISATION}/{name}" for name in CARDS)]
        served = {
            model: stack.enter_context(
                running(FakeEngine(lambda _number: Behaviour(), model=model))
            ).base_url
            for model in models
        }
        stretch = stack.enter_context(
            deployment(home, random.Random(options.seed), served[MODEL], engines)
        )
        ui = stretch.start_webserver(*stretch.workspace)
        public = stretch.start_webserver("--read-only", "--empty-workspace")
        ui.graphql(LIMIT % LIMIT_BEFORE)
        page = WebPage(random.Random(options.seed), ui, public)
        say(f"seed {options.seed}, home {home}")
        with page.open():
            struck = befall(stretch, served, options.minutes, say)
            say(f"the faults end; {struck} requests were struck")
        os.environ.update(stretch.environ)
        waiting = settle(stretch, options.settle, say)
        kept = report(stretch, page, struck, waiting)
    left = _processes_of(home)
    gone = not left and not Path(f"/proc/{stretch.sandbox.pid}").exists()
    print(f"{'kept  ' if gone else 'BROKEN'}  no process is left {left or ''}")
    kept = kept and gone
    if options.home is None and kept:
        shutil.rmtree(home)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
