"""Alerts: what fails reaches the people named, once, and nothing else does."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._utils.error import SerializableErrorInfo
from dagster._utils.schedules import schedule_execution_time_iterator

from definitions import build_definitions
from inferencebench_pipeline.alerts import AlertAddressError, AlertNotSentError, send_alert
from inferencebench_pipeline.automation.sensors.alerts import MOST_LINES
from inferencebench_pipeline.automation.tick_history import GRACE
from inferencebench_pipeline.automation.ticks import Ledger, keep_ledger
from inferencebench_pipeline.lifecycle.partitions import report_partition
from inferencebench_pipeline.settings import Settings, SettingsError, alert_addresses
from tests.automation.ticks import sensor_tick

DAY_CHECK = dg.AssetCheckKey(
    dg.AssetKey("corpus_verification"), "no_finding_of_severity_error"
)  # fmt: skip


@dataclass
class Receiver:
    """A webhook on loopback; ``status`` is what it answers."""

    status: int = 200
    got: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    port: int = 0

    @property
    def address(self) -> str:
        return f"json://127.0.0.1:{self.port}/"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    state = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if state.status == 200:
                state.got.append((self.path, json.loads(body)))
            self.send_response(state.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def definitions(tmp_path: Path) -> dg.Definitions:
    return build_definitions(Settings.from_environment({"INFERENCEBENCH_HOME": str(tmp_path)}))


@dataclass
class Watch:
    """The sensor with its cursor, as the daemon keeps it."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance
    cursor: str | None = None

    def tick(self) -> SensorExecutionData:
        found = sensor_tick(self.definitions, self.instance, "alerts", self.cursor)
        self.cursor = found.cursor or self.cursor
        return found


@pytest.fixture
def watch(definitions, instance, receiver, monkeypatch) -> Watch:
    """A deployment that tells ``receiver``, after its first tick."""
    monkeypatch.setenv("INFERENCEBENCH_ALERTS", receiver.address)
    watch = Watch(definitions, instance)
    watch.tick()
    return watch


def fail_day(definitions: dg.Definitions, instance: dg.DagsterInstance, day: str) -> None:
    """Record a failed check of one day of the corpus, as a re-verification does."""
    run = instance.create_run_for_job(definitions.resolve_job_def("reverify"))
    result = dg.AssetCheckResult(passed=False, description="org/bad: signature_invalid")
    report_partition(instance, run.run_id, DAY_CHECK, day, result)


def fail_rebuild(definitions: dg.Definitions, instance: dg.DagsterInstance, home: Path) -> str:
    """Run a job that must fail: the corpus's inventory is damaged."""
    inventory = home / "store" / "corpus" / "inventory.parquet"
    inventory.parent.mkdir(parents=True, exist_ok=True)
    inventory.write_bytes(b"rubbish")
    result = definitions.resolve_job_def("rebuild_leaderboard").execute_in_process(
        instance=instance, raise_on_error=False
    )
    assert not result.success
    return result.run_id


def test_a_failed_check_is_told_once_with_its_partition_and_reason(
    watch, definitions, instance, receiver
):
    fail_day(definitions, instance, "2026-11-20")
    watch.tick()
    watch.tick()
    ((_, message),) = receiver.got
    assert message["title"].startswith(
        "inferencebench: check no_finding_of_severity_error on corpus_verification of 2026-11-20"
    )
    assert "org/bad: signature_invalid" in message["message"]


def test_a_failed_run_is_told(watch, definitions, instance, receiver, tmp_path):
    run_id = fail_rebuild(definitions, instance, tmp_path)
    watch.tick()
    ((_, message),) = receiver.got
    assert f"run {run_id} of rebuild_leaderboard failed" in message["message"]


def test_what_a_stranger_wrote_into_a_reason_is_shown_and_does_nothing(
    watch, definitions, instance, receiver
):
    run = instance.create_run_for_job(definitions.resolve_job_def("reverify"))
    nasty = "org/bad\x1b[2J\u202e\x00\nfine: nothing failed" + "x" * 100_000
    result = dg.AssetCheckResult(passed=False, description=nasty)
    report_partition(instance, run.run_id, DAY_CHECK, "2026-11-20", result)
    watch.tick()
    ((_, message),) = receiver.got
    whole = message["title"] + message["message"].strip()
    assert whole.isprintable()
    assert len(whole) < 2000


def test_several_failures_are_one_message_and_a_flood_is_cut(
    watch, definitions, instance, receiver
):
    for day in range(1, MOST_LINES + 4):
        fail_day(definitions, instance, f"2026-10-{day:02}")
    watch.tick()
    ((_, message),) = receiver.got
    assert message["title"] == f"inferencebench: {MOST_LINES + 3} failures"
    assert message["message"].rstrip().endswith("and 3 more; see the UI")


def test_what_failed_before_anybody_asked_is_not_told(definitions, instance, receiver, monkeypatch):
    fail_day(definitions, instance, "2026-11-20")
    monkeypatch.setenv("INFERENCEBENCH_ALERTS", receiver.address)
    watch = Watch(definitions, instance)
    watch.tick()
    watch.tick()
    assert receiver.got == []


def test_an_alert_that_nobody_took_is_sent_again_at_the_next_tick(
    watch, definitions, instance, receiver
):
    fail_day(definitions, instance, "2026-11-20")
    receiver.status = 503
    with pytest.raises(AlertNotSentError):
        watch.tick()
    receiver.status = 200
    watch.tick()
    assert len(receiver.got) == 1


def test_nothing_is_told_while_all_is_well(watch, receiver):
    watch.tick()
    assert receiver.got == []


def test_a_slack_compatible_service_gets_its_own_format(receiver):
    send_alert([f"mmost://127.0.0.1:{receiver.port}/abcdefghijkl"], title="t", body="the body")
    ((path, message),) = receiver.got
    assert path == "/hooks/abcdefghijkl"
    assert "the body" in message["text"]


def test_an_address_that_is_not_understood_is_not_repeated_in_the_error():
    with pytest.raises(AlertAddressError, match="number 2") as caught:
        send_alert(["json://127.0.0.1/", "nosuch://s3cret@host"], title="t", body="b")
    assert "s3cret" not in str(caught.value)


def test_an_alert_that_fails_does_not_leak_the_address(receiver, caplog):
    receiver.status = 500
    with pytest.raises(AlertNotSentError) as caught:
        send_alert([f"json://user:s3cret@127.0.0.1:{receiver.port}/"], title="t", body="b")
    assert "s3cret" not in str(caught.value) + caplog.text


def test_addresses_come_from_the_environment_or_from_a_secret_file(tmp_path):
    secret = tmp_path / "alerts"
    secret.write_text("json://a/\nmailto://b\n")
    assert alert_addresses({"INFERENCEBENCH_ALERTS": f"@{secret}"}) == ("json://a/", "mailto://b")
    assert alert_addresses({"INFERENCEBENCH_ALERTS": "json://a/ json://b/"}) == (
        "json://a/",
        "json://b/",
    )
    assert alert_addresses({}) == ()
    with pytest.raises(SettingsError, match="INFERENCEBENCH_ALERTS names"):
        alert_addresses({"INFERENCEBENCH_ALERTS": "@/nowhere/alerts"})


def test_without_addresses_the_sensor_says_so(definitions, instance, monkeypatch):
    monkeypatch.delenv("INFERENCEBENCH_ALERTS", raising=False)
    tick = Watch(definitions, instance).tick()
    assert "INFERENCEBENCH_ALERTS is not set" in str(tick.skip_message)


def test_a_missed_tick_of_a_benchmarks_schedule_is_told_once(watch, receiver, tmp_path):
    store = Settings.from_environment({"INFERENCEBENCH_HOME": str(tmp_path)}).store
    ticks = [datetime(2026, 5, day, 2, tzinfo=UTC) for day in (5, 6, 7)]
    for count in (2, 3):
        kept = Ledger(schedule="benchmark_x", last_tick=ticks[-1], missed=tuple(ticks[:count]))
        keep_ledger(store, kept)
        watch.tick()
        watch.tick()
    first, second = (message for _, message in receiver.got)
    assert "2026-05-05 02:00:00" in str(first)
    assert "2026-05-06 02:00:00" in str(first)
    assert "schedule benchmark_x missed its tick of 2026-05-07 02:00:00 UTC" in str(second)


# -- what Dagster itself says of ticks ------------------------------------------------------------


def instigator(
    definitions: dg.Definitions, instance: dg.DagsterInstance, name: str, *, on_for: timedelta
) -> InstigatorState:
    """Have a sensor or schedule be on, as after a click in the UI so long ago."""
    repository = definitions.get_repository_def()
    is_sensor = repository.has_sensor_def(name)
    code = ManagedGrpcPythonEnvCodeLocationOrigin(
        LoadableTargetOrigin(python_file="definitions.py"), location_name="here"
    )
    state = InstigatorState(
        RemoteInstigatorOrigin(RemoteRepositoryOrigin(code, "__repository__"), name),
        InstigatorType.SENSOR if is_sensor else InstigatorType.SCHEDULE,
        InstigatorStatus.RUNNING,
        SensorInstigatorData()
        if is_sensor
        else ScheduleInstigatorData(
            repository.get_schedule_def(name).cron_schedule,
            start_timestamp=(datetime.now(tz=UTC) - on_for).timestamp(),
        ),
    )
    return instance.add_instigator_state(state)


def ticked(
    instance: dg.DagsterInstance,
    state: InstigatorState,
    at: datetime,
    error: str | None = None,
) -> None:
    """Have a tick be on record, as Dagster's daemon writes it."""
    instance.create_tick(
        TickData(
            instigator_origin_id=state.instigator_origin_id,
            instigator_name=state.name,
            instigator_type=state.instigator_type,
            status=TickStatus.FAILURE if error else TickStatus.SUCCESS,
            timestamp=at.timestamp(),
            selector_id=state.selector_id,
            run_ids=[] if error else ["a run"],
            error=SerializableErrorInfo(error, [], "SomeError") if error else None,
        )
    )


def lived_since(watch: Watch, ago: timedelta, looked: timedelta = timedelta(minutes=1)) -> None:
    """Have the sensor's first look be so long ago, and its last one a minute."""
    now = datetime.now(tz=UTC)
    cursor = json.loads(watch.cursor or "{}")
    watch.cursor = json.dumps(
        {**cursor, "examined": f"{now - ago}", "looked_at": f"{now - looked}"}
    )


def text(receiver: Receiver) -> str:
    return "\n".join(message["message"] for _, message in receiver.got)


SCHEDULES = [
    "daily_reverification",
    "rolling_reverification",
    "daily_trust_root",
    "daily_log_examination",
    "daily_corpus_statement",
    "daily_index",
    "daily_watch",
    "benchmark_smollm2_chat_quick",
]


def last_ticks(definitions: dg.Definitions, name: str, count: int) -> list[datetime]:
    schedule = definitions.get_repository_def().get_schedule_def(name)
    ticks = schedule_execution_time_iterator(
        (datetime.now(tz=UTC) - GRACE).timestamp(),
        schedule.cron_schedule,
        schedule.execution_timezone or "UTC",
        ascending=False,
    )
    return [next(ticks).astimezone(UTC) for _ in range(count)]


def test_the_table_names_every_schedule(definitions):
    repository = definitions.get_repository_def()
    assert {one.name for one in repository.schedule_defs} == set(SCHEDULES)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_tick_of_any_schedule_that_nobody_was_there_for_is_told_once(
    watch, definitions, instance, receiver, name
):
    state = instigator(definitions, instance, name, on_for=timedelta(days=40))
    last, before, *_ = last_ticks(definitions, name, 3)
    ticked(instance, state, last)
    lived_since(watch, datetime.now(tz=UTC) - before + timedelta(minutes=1))
    watch.tick()
    watch.tick()
    assert f"schedule {name} missed its tick of {before:%Y-%m-%d %H:%M:%S} UTC" in text(receiver)
    assert text(receiver).count(" missed ") == 1


def test_what_a_schedule_was_off_for_or_is_not_on_record_yet_was_not_missed(
    watch, definitions, instance, receiver
):
    instigator(definitions, instance, "daily_index", on_for=timedelta(minutes=1))
    lived_since(watch, timedelta(days=30))
    watch.tick()
    assert receiver.got == []


def test_after_the_daemon_was_away_schedules_are_let_catch_up_before_anything_is_told(
    watch, definitions, instance, receiver
):
    state = instigator(definitions, instance, "daily_index", on_for=timedelta(days=40))
    last, before = last_ticks(definitions, "daily_index", 2)
    lived_since(watch, datetime.now(tz=UTC) - before + timedelta(minutes=1), timedelta(days=2))
    watch.tick()
    assert receiver.got == []
    ticked(instance, state, last)  # the scheduler makes up for the last one alone
    cursor = json.loads(watch.cursor)
    watch.cursor = json.dumps({**cursor, "settled_at": f"{datetime.now(tz=UTC)}"})
    watch.tick()
    assert "daily_index missed its tick of" in text(receiver)
    assert text(receiver).count(" missed ") == 1


def test_many_missed_ticks_are_told_in_a_line_and_those_long_ago_not_at_all(
    watch, definitions, instance, receiver
):
    instigator(definitions, instance, "daily_index", on_for=timedelta(days=400))
    lived_since(watch, timedelta(days=300))
    watch.tick()
    assert re.search(r"schedule daily_index missed 1[345] ticks, from", text(receiver))


@pytest.mark.parametrize("name", ["new_runs", "requested_runs", "alerts", "daily_index"])
def test_failing_ticks_of_sensors_and_schedules_are_told_and_not_each_of_them(
    watch, definitions, instance, receiver, name
):
    state = instigator(definitions, instance, name, on_for=timedelta(minutes=1))
    now = datetime.now(tz=UTC)
    for seconds in (30, 20, 10):
        ticked(instance, state, now - timedelta(seconds=seconds), "the inbox \x1b[2Jis gone")
    watch.tick()
    assert f"{name} failed 3 times, last at" in text(receiver)
    assert "the inbox \\x1b[2Jis gone" in text(receiver)
    ticked(instance, state, now, "the inbox is gone")
    watch.tick()
    assert len(receiver.got) == 1, "told within the hour"
    cursor = json.loads(watch.cursor)
    cursor["failing"][name]["at"] = f"{now - timedelta(hours=2)}"
    watch.cursor = json.dumps(cursor)
    watch.tick()
    assert len(receiver.got) == 2, "and it fails still"
    assert f"{name} failed, last at" in receiver.got[1][1]["message"]


def test_a_run_that_is_given_up_is_told_once(watch, definitions, instance, receiver):
    run = instance.create_run_for_job(
        definitions.resolve_job_def("publish_run"),
        tags={"inferencebench/ended": "given up", "dagster/partition": "0-1-2"},
    )
    assert run
    watch.tick()
    watch.tick()
    assert text(receiver).count("run 0-1-2 was started 7 times and was interrupted each time") == 1


@pytest.mark.parametrize(
    "damaged", ["", "rubbish", "[]", "3", '{"run": "x"}', '{"checks": 1}', '{"failing": {"a": 1}}'],
)  # fmt: skip
def test_a_damaged_cursor_is_told_and_the_sensor_goes_on(
    watch, definitions, instance, receiver, damaged
):
    watch.cursor = damaged
    watch.tick()
    assert "the cursor of the sensor alerts was damaged" in text(receiver)
    fail_day(definitions, instance, "2026-11-20")
    watch.tick()
    assert "org/bad: signature_invalid" in text(receiver)


@pytest.mark.parametrize("cursor", ['{"run": 0, "checks": {}}', '{"of a later version": 1}'])
def test_a_cursor_of_another_version_is_understood(watch, definitions, instance, receiver, cursor):
    watch.cursor = cursor
    fail_day(definitions, instance, "2026-11-20")
    watch.tick()
    assert "org/bad: signature_invalid" in text(receiver)


def test_a_clock_that_was_ahead_silences_nothing(watch, definitions, instance, receiver):
    state = instigator(definitions, instance, "new_runs", on_for=timedelta(days=1))
    ahead = f"{datetime.now(tz=UTC) + timedelta(days=300)}"
    cursor = json.loads(watch.cursor)
    told = {"at": ahead, "last": 0}
    watch.cursor = json.dumps(
        {**cursor, "looked_at": ahead, "examined": ahead, "failing": {"new_runs": told}}
    )
    ticked(instance, state, datetime.now(tz=UTC), "the inbox is gone")
    watch.tick()
    assert "sensor new_runs failed" in text(receiver)


def test_a_damaged_ledger_of_one_schedule_silences_nobody(
    watch, definitions, instance, receiver, tmp_path
):
    store = Settings.from_environment({"INFERENCEBENCH_HOME": str(tmp_path)}).store
    keep_ledger(store, Ledger(schedule="benchmark_x", last_tick=datetime.now(tz=UTC)))
    for path in (store / "schedules").glob("*.json"):
        path.write_bytes(b"\x00rubbish")
    fail_day(definitions, instance, "2026-11-20")
    watch.tick()
    assert "org/bad: signature_invalid" in text(receiver)
