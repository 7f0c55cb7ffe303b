"""An unattended stretch: schedules and sensors on, faults at random, every run published once.

    python benchmarks/unattended.py --minutes 60 --seed 7

The real daemon, its run queue and its run processes, on a sandbox of their own. Meanwhile

- another host delivers finished runs into the inbox: whole, half-copied at first, or damaged;
- a benchmark repeats itself by the schedule of its spec;
- drawn from the seed: the Hub, Fulcio, Rekor and the timestamp authority refuse, limit, drop
  connections, lose and cut answers; run processes and the daemon itself are killed.

Then the faults end, and within ``--settle`` minutes every run must be published once, verified and
on the leaderboard, nothing may have been written by two at once, and what was damaged must lie in
quarantine. Nobody touches anything; `nudge` stands for the Hub's webhook. Prints a table, exits
with 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from inferencebench_pipeline.hub.webhooks import nudge
from inferencebench_pipeline.inbox import QUARANTINE, deliver
from inferencebench_pipeline.leaderboard.index import load_leaderboard
from inferencebench_pipeline.measure.run import run_benchmark
from inferencebench_pipeline.parking import parked_state
from inferencebench_pipeline.runs import RunFile, RunStore, new_run_id
from inferencebench_pipeline.sandbox.faults_client import Faults
from inferencebench_pipeline.sandbox.process import SandboxEnvironment, running_sandbox
from tests.measure.fake_engine import Behaviour, FakeEngine, running
from tests.measure.support import content_of_spec, ignore_progress, spec_for

CLONE = Path(__file__).resolve().parent.parent
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
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
    happened: Counter[str] = field(default_factory=Counter)
    delivered: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    daemon: subprocess.Popen[bytes] | None = None

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
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.daemon.wait(60)
            self.daemon.kill()
        for pid in list(_processes_of(self.home)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # -- what befalls it -------------------------------------------------------------------------

    def deliver_one(self, base_url: str) -> None:
        """Measure a run on "another host" and leave it in the inbox, now and then badly."""
        host = RunStore(self.home / "gpu-host")
        run = host.run(new_run_id())
        run_benchmark(spec_for(base_url, model={"id": MODEL}), run, on_progress=ignore_progress)
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
        rows = {row.run_id: row for row in load_leaderboard(self.store.root).runs}
        waiting = []
        for run_id in sorted({*self.store.run_ids(), *self.delivered}):
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
def deployment(home: Path, chance: random.Random, base_url: str) -> Iterator[Stretch]:
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
            "PYTHONPATH": str(CLONE),
            "INFERENCEBENCH_HOME": str(home),
            "INFERENCEBENCH_SPECS": str(home / "specs"),
            "INFERENCEBENCH_INBOX": str(home / "inbox"),
            "INFERENCEBENCH_UPDATE_MODEL_CARD": "1",
            "INFERENCEBENCH_OUTAGE_WAIT_S": "5",
            "DAGSTER_HOME": str(home / "dagster"),
        }
        stretch = Stretch(home, sandbox, chance, environ)
        pools = [sys.executable, "-m", "inferencebench_pipeline.automation.pools"]
        subprocess.run(pools, env=environ, check=True, stdout=subprocess.DEVNULL)
        stretch.switch_on("sensor", "start", "--start-all")
        stretch.switch_on("schedule", "start", "--start-all")
        stretch.start_daemon()
        try:
            yield stretch
        finally:
            stretch.stop()


def befall(stretch: Stretch, base_url: str, minutes: float, say: Callable[[str], None]) -> int:
    """Deliver and strike until the time is over; return how many requests were struck."""
    chance, struck = stretch.chance, 0
    end = time.monotonic() + minutes * 60
    next_delivery = next_strike = next_nudge = time.monotonic()
    while (now := time.monotonic()) < end:
        if now >= next_delivery:
            stretch.deliver_one(base_url)
            next_delivery = now + chance.uniform(30, 70)
        if now >= next_strike:
            stretch.strike()
            next_strike = now + chance.uniform(12, 35)
        if now >= next_nudge:
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
    while (waiting := stretch.unfinished()) and time.monotonic() < end:
        if time.monotonic() >= next_nudge:
            nudge(stretch.store.root)
            next_nudge = time.monotonic() + 60
            say(f"settling: {len(waiting)} not on the board, such as {waiting[0]}")
        time.sleep(2)
    return waiting


def report(stretch: Stretch, struck: int, waiting: list[str]) -> bool:
    """Print what happened and what it came to; return whether every promise was kept."""
    os.environ.update(stretch.environ)
    import dagster as dg
    from huggingface_hub import HfApi

    api = HfApi(endpoint=stretch.sandbox.hub_url, token=stretch.sandbox.token("read"))
    organisation = stretch.environ["INFERENCEBENCH_ORGANISATION"]
    rows = load_leaderboard(stretch.store.root).runs
    per_run = Counter(row.run_id for row in rows)
    commits = {
        row.repo_id: sum(
            "publish" in commit.title.lower() or "run" in commit.title.lower()
            for commit in api.list_repo_commits(row.repo_id, repo_type="dataset")
        )
        for row in rows
    }
    runs = stretch.store.run_ids()
    with dg.DagsterInstance.from_config(str(stretch.home / "dagster")) as instance:
        statuses = Counter(
            f"{record.dagster_run.job_name}: {record.dagster_run.status.value.lower()}"
            for record in instance.get_run_records()
        )
        most_writers = _most_at_once(instance, "hub-write")
        ticks = Counter(
            f"{state.name}: {tick.status.value.lower()}"
            for state in instance.all_instigator_state()
            for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)
        )
    tagged = [one.id for one in api.list_datasets(author=organisation, filter="inferencebench")]
    quarantined = sorted(path.name for path in (stretch.inbox / QUARANTINE).glob("*"))
    promises = {
        f"every run is on the board as verified ({len(rows)} rows, {len(runs)} runs)": not waiting,
        "every run once": set(per_run.values()) <= {1} and set(per_run) == set(runs),
        "one repository a run": sorted(tagged) == sorted(row.repo_id for row in rows),
        f"never two writers at the Hub (most at once: {most_writers})": most_writers == 1,
        f"what was damaged is in quarantine ({len(quarantined)})": quarantined
        == sorted(stretch.damaged),
        "nothing left in the inbox": not [p for p in stretch.inbox.iterdir() if p.name[0] != "."],
    }
    for title, counts in (
        ("what happened", stretch.happened),
        ("runs", statuses),
        ("ticks", ticks),
    ):
        print(f"\n{title}")
        for name, count in sorted(counts.items()):
            print(f"  {count:6d}  {name}")
    print(f"\nrequests struck by faults: {struck}")
    print(f"commits per published repository: {sorted(Counter(commits.values()).items())}")
    for promise, kept in promises.items():
        print(f"{'kept  ' if kept else 'BROKEN'}  {promise}")
    for line in waiting[:20]:
        print(f"  {line}")
    return all(promises.values())


def _most_at_once(instance: object, pool: str) -> int:
    """Return how many runs of ``pool`` were between start and end at the same time, at most."""
    import dagster as dg

    records = instance.get_run_records(  # type: ignore[attr-defined]
        dg.RunsFilter(tags={f".dagster/pool/{pool}": "true"})
    )
    moments = []
    for record in records:
        if record.start_time and record.end_time:
            moments += [(record.start_time, 1), (record.end_time, -1)]
    at_once = most = 0
    for _, change in sorted(moments):
        at_once += change
        most = max(most, at_once)
    return most


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
    engine = FakeEngine(lambda _number: Behaviour(), model=MODEL)
    with running(engine), deployment(home, random.Random(options.seed), engine.base_url) as stretch:
        say(f"seed {options.seed}, home {home}")
        struck = befall(stretch, engine.base_url, options.minutes, say)
        say(f"the faults end; {struck} requests were struck")
        waiting = settle(stretch, options.settle, say)
        kept = report(stretch, struck, waiting)
    if options.home is None and kept:
        shutil.rmtree(home)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
