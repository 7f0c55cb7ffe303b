"""Every sensor and schedule: twice in a row, and after a crash between its effect and its cursor.

Each is evaluated as Dagster evaluates it, on an instance with Dagster's real storage; what it asks
for is launched as the daemon launches it, once for a key. A new one needs a line in ``CASES``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from definitions import build_definitions
from inferencebench_pipeline.automation.schedules.rolling_reverification import rolling_share
from inferencebench_pipeline.corpus import inventory
from inferencebench_pipeline.corpus.inventory import InventoryEntry, RepoState
from inferencebench_pipeline.corpus.records import write_records
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.hub.client.client import Hub, Repo
from inferencebench_pipeline.inbox.deliveries import deliver
from inferencebench_pipeline.lifecycle.partitions import report_partition
from inferencebench_pipeline.measure.run.run import run_benchmark
from inferencebench_pipeline.parking import Parked
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile, RunStore, new_run_id
from inferencebench_pipeline.sandbox.hub.identities import DEFAULT_USER
from inferencebench_pipeline.sandbox.process import SandboxEnvironment, running_sandbox
from inferencebench_pipeline.settings import Settings
from tests.automation.ticks import schedule_tick, sensor_tick
from tests.measure.fake_engine import Behaviour, FakeEngine, running
from tests.measure.support import ignore_progress, spec_for

NOW = datetime.now(tz=UTC).replace(microsecond=0)
LOST = new_run_id(unix_ms=int((NOW - timedelta(hours=1)).timestamp() * 1000))
PUBLISHED_ON = next(
    day
    for day in (NOW.date() - timedelta(days=days) for days in range(1, 200))
    if rolling_share([day.isoformat()], NOW.date())
)
"""A day whose turn in the rolling re-verification it is today."""
PUBLISHED_DAY = PUBLISHED_ON.isoformat()


@dataclass
class Place:
    """A deployment on the sandbox's Hub, and what its daemon would keep."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance
    settings: Settings
    sandbox: SandboxEnvironment
    measured: RunDirectory
    told: list[bytes]
    cursors: dict[str, str | None] = field(default_factory=dict)
    due: datetime = field(default_factory=lambda: datetime.now(tz=UTC).replace(microsecond=0))
    """The tick of its schedules. A tick of when this file was imported may be a missed one."""

    @property
    def store(self) -> RunStore:
        return RunStore(self.settings.store)

    def launched(self) -> list[tuple[str, str | None]]:
        """Every run so far: its job and its partition."""
        found = self.instance.get_runs()
        return sorted((run.job_name, run.tags.get("dagster/partition")) for run in found)

    def evaluate(self, name: str) -> list[dg.RunRequest]:
        """Evaluate a sensor or schedule, and keep nothing of it but its effects."""
        repository = self.definitions.get_repository_def()
        if repository.has_sensor_def(name):
            return self._sensor(name)[0]
        return list(self._schedule(name))

    def tick(self, name: str) -> None:
        """Evaluate it, launch what it asks for and keep its cursor: a tick that goes well."""
        if self.definitions.get_repository_def().has_sensor_def(name):
            requests, cursor = self._sensor(name)
        else:
            requests, cursor = self._schedule(name), None
        self.launch(name, requests)
        self.cursors[name] = cursor or self.cursors.get(name)

    def launch(self, name: str, requests: list[dg.RunRequest]) -> None:
        """Launch what is asked for as the daemon does: once for a key, for ever."""
        for request in requests:
            tags = {**request.tags, "asked_by": name, "dagster/run_key": request.run_key or name}
            if request.partition_key is not None:
                tags["dagster/partition"] = request.partition_key
            known = {key: tags[key] for key in ("asked_by", "dagster/run_key")}
            if self.instance.get_runs_count(dg.RunsFilter(tags=known)):
                continue
            job = self.definitions.resolve_job_def(self._job(name, request))
            self.instance.create_run_for_job(job, run_config=request.run_config, tags=tags)

    def _job(self, name: str, request: dg.RunRequest) -> str:
        repository = self.definitions.get_repository_def()
        if request.job_name is not None:
            return request.job_name
        if repository.has_sensor_def(name):
            return repository.get_sensor_def(name).job_name
        return repository.get_schedule_def(name).job_name

    def _sensor(self, name: str) -> tuple[list[dg.RunRequest], str | None]:
        data = sensor_tick(self.definitions, self.instance, name, self.cursors.get(name))
        for register in data.dynamic_partitions_requests or ():
            self.instance.add_dynamic_partitions(
                register.partitions_def_name, list(register.partition_keys)
            )
        return list(data.run_requests or ()), data.cursor

    def _schedule(self, name: str) -> list[dg.RunRequest]:
        data = schedule_tick(self.definitions, self.instance, name, self.due)
        # Dagster keys what has no key by the schedule and its tick.
        return [
            request._replace(run_key=request.run_key or f"{name}@{self.due.isoformat()}")
            for request in data.run_requests or ()
        ]


@dataclass(frozen=True)
class Case:
    """What makes a sensor or schedule act, and what it then launches."""

    prepare: Callable[[Place], None]
    job: str | None
    """The job that one tick launches once; None where the effect is another."""
    partition: Callable[[Place], str] | None = None


def _nothing(_place: Place) -> None:
    """It acts by itself."""


def _request(place: Place) -> None:
    place.store.run(place.measured.run_id).write(RunFile.SPEC, b"{}")


def _lost(place: Place) -> None:
    """A run that was asked for, and whose request went with a disk."""
    place.instance.add_dynamic_partitions("runs", [LOST])


def _interrupted(place: Place) -> None:
    """A run that was started, and whose Dagster run ended without an answer."""
    _request(place)
    place.instance.add_dynamic_partitions("runs", [place.measured.run_id])
    job = place.definitions.resolve_job_def("publish_run")
    tags = {"dagster/partition": place.measured.run_id}
    place.instance.report_run_failed(place.instance.create_run_for_job(job, tags=tags))


def _delivery(place: Place) -> None:
    deliver(place.measured, str(place.settings.inbox))


def _parked(place: Place) -> None:
    parked = Parked(
        stage="hub_dataset", reason="the Hub is down", since=NOW, attempts=1, not_before=NOW
    )
    run = place.store.run(place.measured.run_id)
    run.write(RunFile.PARKED, parked.model_dump_json().encode())


def _elsewhere(place: Place) -> None:
    repo = Repo("dataset", f"{DEFAULT_USER}/record")
    hub = Hub(place.sandbox.hub_url, lambda: place.sandbox.token("write"))
    if hub.create(repo):
        card = b"---\ntags:\n- inferencebench\n---\n"
        hub.commit(repo, {"README.md": card}, message="publish", parent=hub.head(repo).commit)


def _published(place: Place) -> None:
    """The inventory of a crawl: one record, and no verdict on it."""
    created = datetime(PUBLISHED_ON.year, PUBLISHED_ON.month, PUBLISHED_ON.day, tzinfo=UTC)
    entry = InventoryEntry(
        organisation="o",
        repo_id="o/record",
        endpoint=place.sandbox.hub_url,
        revision="a" * 40,
        created_at=created,
        created_day=PUBLISHED_DAY,
        last_modified=created,
        state=RepoState.PUBLISHED,
        envelope_sha256="b" * 64,
    )
    inventory._save(CorpusStore(place.store.root), [entry], [])


def _verified(place: Place) -> None:
    """The table that a verification writes when it ends."""
    _published(place)
    verdicts = CorpusStore(place.store.root).verdicts_path(PUBLISHED_DAY)
    verdicts.parent.mkdir(parents=True)
    verdicts.write_bytes(b"")
    assert write_records(CorpusStore(place.store.root))


def _failure(place: Place) -> None:
    place.tick("alerts")  # the first tick only takes note of what there is
    check = dg.AssetCheckKey(dg.AssetKey("corpus_verification"), "no_finding_of_severity_error")
    run = place.instance.create_run_for_job(place.definitions.resolve_job_def("reverify"))
    failed = dg.AssetCheckResult(passed=False, description="org/bad: signature_invalid")
    report_partition(place.instance, run.run_id, check, PUBLISHED_DAY, failed)


def _measured(place: Place) -> str:
    return place.measured.run_id


CASES: dict[str, Case] = {
    "requested_runs": Case(_request, "publish_run", _measured),
    "requested_runs, interrupted": Case(_interrupted, "publish_run", _measured),
    "lost_requests": Case(_lost, "publish_run", lambda _place: LOST),
    "new_runs": Case(_delivery, "publish_run", _measured),
    "parked_runs": Case(_parked, "publish_run", _measured),
    "nudged_crawl": Case(_nothing, "crawl_corpus"),
    "published_elsewhere": Case(_elsewhere, "take_in_community"),
    "unverified_records": Case(_published, "reverify", lambda _place: PUBLISHED_DAY),
    "keep_leaderboard_current": Case(_verified, "rebuild_leaderboard"),
    "alerts": Case(_failure, None),
    "benchmark_smollm2_chat_quick": Case(_nothing, "scheduled_benchmark"),
    "daily_reverification": Case(
        _nothing, "reverify", lambda _place: f"{NOW - timedelta(days=1):%Y-%m-%d}"
    ),
    "rolling_reverification": Case(_published, "reverify"),
    "daily_trust_root": Case(_nothing, "refresh_trust_root"),
    "daily_log_examination": Case(_nothing, "examine_logs"),
    "daily_corpus_statement": Case(_nothing, "state_corpus"),
    "daily_index": Case(_nothing, "publish_index"),
    "daily_watch": Case(_nothing, "watch_community_results"),
}
ELSEWHERE = {
    "dead_runs",  # asks for nothing and has no cursor: test_dead_runs.py
    "heartbeat",  # so does this: test_heartbeat.py
}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxEnvironment]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as environment:
        yield environment


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    run = RunStore(tmp_path_factory.mktemp("gpu-host")).run(new_run_id())
    with running(FakeEngine(lambda _number: Behaviour())) as engine:
        run_benchmark(spec_for(engine.base_url), run, on_progress=ignore_progress)
    return run


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """What reaches people: a webhook on loopback that they are told by."""
    messages: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("INFERENCEBENCH_ALERTS", f"json://127.0.0.1:{server.server_address[1]}/")
    yield messages
    server.shutdown()
    server.server_close()


@pytest.fixture
def place(
    tmp_path: Path,
    instance: dg.DagsterInstance,
    sandbox: SandboxEnvironment,
    measured: RunDirectory,
    told: list[bytes],
) -> Place:
    settings = Settings.from_environment(
        {
            **sandbox.environ,
            "INFERENCEBENCH_HOME": str(tmp_path),
            "INFERENCEBENCH_INBOX": str(tmp_path / "inbox"),
        }
    )
    return Place(build_definitions(settings), instance, settings, sandbox, measured, told)


def test_every_sensor_and_schedule_is_in_the_table(tmp_path):
    settings = Settings.from_environment({"INFERENCEBENCH_HOME": str(tmp_path)})
    repository = build_definitions(settings).get_repository_def()
    names = {one.name for one in (*repository.sensor_defs, *repository.schedule_defs)}
    assert names == {sensor_of(case) for case in CASES} | ELSEWHERE


def sensor_of(case: str) -> str:
    """Return what a case is about: its name, up to what tells it from another one."""
    return case.partition(",")[0]


def expected(place: Place, case: Case) -> list[tuple[str, str | None]]:
    assert case.job is not None
    return [(case.job, case.partition(place) if case.partition else None)]


ASKING = [name for name, case in CASES.items() if case.job is not None]


def launched_since(place: Place, before: list[tuple[str, str | None]]) -> list[tuple[str, Any]]:
    launched = place.launched()
    for run in before:
        launched.remove(run)
    return launched


@pytest.mark.parametrize("case", ASKING)
def test_two_ticks_in_a_row_launch_once(place: Place, case: str):
    CASES[case].prepare(place)
    before = place.launched()
    place.tick(sensor_of(case))
    place.tick(sensor_of(case))
    assert launched_since(place, before) == expected(place, CASES[case])


@pytest.mark.parametrize("case", ASKING)
def test_a_crash_on_either_side_of_the_launch_loses_nothing_and_launches_nothing_twice(
    place: Place, case: str
):
    name = sensor_of(case)
    CASES[case].prepare(place)
    before = place.launched()
    assert place.evaluate(name), "died before it launched what it asked for"
    place.launch(name, place.evaluate(name))  # died before its cursor was kept
    place.tick(name)
    assert launched_since(place, before) == expected(place, CASES[case])


def test_people_are_told_once_and_after_a_crash_again_rather_than_never(place: Place):
    CASES["alerts"].prepare(place)
    place.evaluate("alerts")  # told, and the cursor is lost
    assert len(place.told) == 1
    place.tick("alerts")
    assert len(place.told) == 2
    place.tick("alerts")
    assert len(place.told) == 2
