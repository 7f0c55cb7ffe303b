"""Recurring benchmarks: made from specs, once per tick, in every time zone, and never late."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from definitions import build_definitions
from inferencebench_pipeline.automation.instance.pools import LIMITS, hold_pools
from inferencebench_pipeline.automation.sensors.requested_runs import unanswered
from inferencebench_pipeline.automation.ticks import (
    Ledger,
    due_at,
    keep_ledger,
    load_ledger,
    missed_ticks,
    run_id_of_tick,
)
from inferencebench_pipeline.measure.spec.schedule import Schedule
from inferencebench_pipeline.measure.spec.spec_file import read_spec
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore, run_started_at
from inferencebench_pipeline.settings import Settings
from tests.automation.ticks import schedule_tick
from tests.clock import the_last_hour, wait_until_the_hour_holds
from tests.paths import SPECS as SHIPPED

NAME = "benchmark_smollm2_chat_quick"
SPEC = "smollm2-chat-quick"


def write_spec(folder: Path, schedule: str, name: str = SPEC) -> Path:
    text = (SHIPPED / f"{SPEC}.yaml").read_text()
    path = folder / f"{name}.yaml"
    path.write_text(text[: text.index("# A nightly run")] + f"schedule: {schedule}\n")
    return path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    specs = tmp_path / "specs"
    specs.mkdir()
    write_spec(specs, '{cron: "0 * * * *", jitter_s: 600}')
    return Settings.from_environment(
        {"INFERENCEBENCH_HOME": str(tmp_path), "INFERENCEBENCH_SPECS": str(specs)}
    )


@pytest.fixture(autouse=True)
def _one_hour() -> None:
    wait_until_the_hour_holds()


def always_in_time(settings: Settings) -> Settings:
    write_spec(settings.specs, '{cron: "0 * * * *", jitter_s: 600, grace_s: 7200}')
    return settings


def tick(settings: Settings, instance: dg.DagsterInstance, at: datetime):
    return schedule_tick(build_definitions(settings), instance, NAME, at)


def run_it(
    settings: Settings, instance: dg.DagsterInstance, request: dg.RunRequest
) -> dg.ExecuteInProcessResult:
    job = build_definitions(settings).resolve_job_def("scheduled_benchmark")
    return job.execute_in_process(
        instance=instance, run_config=request.run_config, tags=dict(request.tags)
    )


def test_each_spec_with_a_schedule_has_one_and_it_is_off_unless_the_spec_says_on(settings):
    write_spec(settings.specs, '{cron: "5 4 * * sun", timezone: Asia/Tokyo, enabled: true}', "on")
    shutil.copy(SHIPPED / "smollm2-rag.yaml", settings.specs)  # it has none
    found = {
        schedule.name: schedule
        for schedule in build_definitions(settings).get_repository_def().schedule_defs
        if schedule.name.startswith("benchmark_")
    }
    assert set(found) == {NAME, "benchmark_on"}
    assert found["benchmark_on"].cron_schedule == "5 4 * * sun"
    assert found["benchmark_on"].execution_timezone == "Asia/Tokyo"
    assert found["benchmark_on"].default_status is dg.DefaultScheduleStatus.RUNNING
    assert found[NAME].default_status is dg.DefaultScheduleStatus.STOPPED


def test_a_spec_that_cannot_be_read_is_told_and_stops_nothing_else(settings, caplog):
    path = write_spec(settings.specs, '{cron: "0 99 * * *"}', "broken")
    names = {s.name for s in build_definitions(settings).get_repository_def().schedule_defs}
    assert NAME in names
    assert "benchmark_broken" not in names
    assert f"{path}:26:12: schedule.cron" in caplog.text


def test_two_files_whose_schedules_would_share_a_name_are_told(settings, caplog):
    write_spec(settings.specs, '{cron: "0 2 * * *"}', "a.b")
    write_spec(settings.specs, '{cron: "0 3 * * *"}', "a-b")
    schedules = build_definitions(settings).get_repository_def().schedule_defs
    assert [one.cron_schedule for one in schedules if one.name == "benchmark_a_b"] == ["0 3 * * *"]
    assert "rename one" in caplog.text


def test_a_tick_asks_for_a_run_that_begins_within_its_jitter(settings, instance):
    at = the_last_hour()
    (request,) = tick(always_in_time(settings), instance, at).run_requests
    assert run_it(settings, instance, request).success
    store = RunStore(settings.store)
    (run_id,) = store.run_ids()
    assert at <= run_started_at(run_id) <= at + timedelta(seconds=600)
    assert read_spec(store.run(run_id).file(RunFile.SPEC)).name == SPEC
    assert instance.get_dynamic_partitions("runs") == [run_id]
    due = run_started_at(run_id)
    assert unanswered(store, since=at, until=due - timedelta(seconds=1)) == []
    assert unanswered(store, since=at, until=due) == [run_id]


def test_a_tick_that_is_tried_again_asks_with_the_same_key_and_names_the_same_runs(
    settings, instance
):
    write_spec(always_in_time(settings).specs, '{cron: "0 * * * *", grace_s: 7200}', SPEC)
    at = the_last_hour()
    (first,), (second,) = (tick(settings, instance, at).run_requests for _ in range(2))
    assert (first.run_key, first.run_config) == (second.run_key, second.run_config)
    outputs = [
        run_it(settings, instance, request).output_for_node("request_scheduled_run")
        for request in (first, second)
    ]
    assert outputs[0] == outputs[1] == RunStore(settings.store).run_ids()


def test_a_sweep_gets_a_run_for_each_of_its_points(settings, instance):
    path = settings.specs / f"{SPEC}.yaml"
    text = path.read_text().replace("concurrency: 2", "concurrency: [1, 2, 4]")
    path.write_text(text.replace("jitter_s: 600}", "jitter_s: 600, grace_s: 7200}"))
    (request,) = tick(settings, instance, the_last_hour()).run_requests
    run_ids = run_it(settings, instance, request).output_for_node("request_scheduled_run")
    specs = [read_spec(RunStore(settings.store).run(one).file(RunFile.SPEC)) for one in run_ids]
    assert [spec.load.concurrency for spec in specs] == [1, 2, 4]
    assert len(set(run_ids)) == 3


def test_a_late_tick_is_told_and_not_run(settings, instance):
    at = the_last_hour() - timedelta(hours=1)
    data = tick(settings, instance, at)
    assert not data.run_requests
    assert "missed" in data.skip_message
    assert load_ledger(settings.store, NAME).missed == (at,)


def test_ticks_that_nobody_heard_are_told_with_the_next_one(settings, instance):
    at = the_last_hour()
    tick(always_in_time(settings), instance, at - timedelta(hours=4))  # late, but heard
    assert tick(settings, instance, at).run_requests
    hours = [at - timedelta(hours=hours) for hours in (4, 3, 2, 1)]
    assert load_ledger(settings.store, NAME).missed == tuple(hours)
    tick(settings, instance, at)
    assert load_ledger(settings.store, NAME).missed == tuple(hours)


def test_a_tick_that_was_asked_for_before_a_crash_is_not_missed_when_tried_again_late(
    settings, instance
):
    at = the_last_hour() - timedelta(hours=1)
    config = {"spec": SPEC, "tick": at.isoformat(), "due": at.isoformat()}
    instance.create_run_for_job(
        build_definitions(settings).resolve_job_def("scheduled_benchmark"),
        run_config={"ops": {"request_scheduled_run": {"config": config}}},
        tags={"dagster/run_key": f"{SPEC}@{int(at.timestamp())}"},
    )
    data = tick(settings, instance, at)
    assert [request.run_key for request in data.run_requests] == [f"{SPEC}@{int(at.timestamp())}"]
    assert load_ledger(settings.store, NAME).missed == ()


@pytest.mark.parametrize("damage", [b"", b"rubbish", b"[]", b"{}", b"\x00" * 9])
def test_a_damaged_ledger_is_written_anew_and_holds_up_nothing(settings, instance, damage):
    at = the_last_hour()
    tick(always_in_time(settings), instance, at)
    (path,) = (settings.store / "schedules").glob("*.json")
    path.write_bytes(damage)
    assert tick(settings, instance, at).run_requests
    assert load_ledger(settings.store, NAME).last_tick == at


def test_a_clock_that_was_ahead_leaves_a_ledger_that_hides_no_missed_tick(settings, instance):
    at = the_last_hour()
    ahead = datetime.now(tz=UTC) + timedelta(days=300)
    keep_ledger(settings.store, Ledger(schedule=NAME, last_tick=ahead))
    assert tick(always_in_time(settings), instance, at - timedelta(hours=3)).skip_message
    assert tick(settings, instance, at).run_requests
    assert at - timedelta(hours=1) in load_ledger(settings.store, NAME).missed


def test_ticks_while_the_schedule_was_off_are_not_missed():
    schedule = Schedule(cron="0 * * * *")
    now = datetime(2026, 5, 5, 12, 0, 10, tzinfo=UTC)
    noon = now.replace(second=0)
    two_hours_ago = noon - timedelta(hours=2)
    assert missed_ticks(schedule, since=None, tick=noon, now=now) == []
    assert missed_ticks(schedule, since=two_hours_ago, tick=noon, now=now) == [
        noon - timedelta(hours=1)
    ]


def test_a_year_of_silence_is_told_as_its_last_hundred_ticks():
    tick_at = datetime(2026, 5, 5, 12, tzinfo=UTC)
    found = missed_ticks(
        Schedule(cron="* * * * *"),
        since=tick_at - timedelta(days=365),
        tick=tick_at,
        now=tick_at + timedelta(hours=1),
    )
    assert len(found) == 100
    assert found == sorted(found)
    assert found[-1] == tick_at


@pytest.mark.parametrize(("when_busy", "asks"), [("skip", False), ("queue", True)])
def test_a_tick_while_the_gpu_pool_is_taken(settings, instance, when_busy, asks):
    write_spec(
        settings.specs, f'{{cron: "0 * * * *", grace_s: 7200, when_busy: {when_busy}}}', SPEC
    )
    definitions = build_definitions(settings)
    hold_pools(instance)
    run = instance.create_run_for_job(
        definitions.resolve_job_def("publish_run"),
        tags={"dagster/partition": run_id_of_tick(SPEC, the_last_hour(), the_last_hour())},
        status=dg.DagsterRunStatus.STARTED,
    )
    data = tick(settings, instance, the_last_hour())
    assert bool(data.run_requests) is asks
    assert asks or "pool gpu is taken" in data.skip_message
    instance.report_run_failed(instance.get_run_by_id(run.run_id))
    assert tick(settings, instance, the_last_hour()).run_requests


def test_a_run_that_only_publishes_does_not_keep_the_gpu_busy(settings, instance):
    job = build_definitions(settings).resolve_job_def("publish_run")
    instance.create_run_for_job(
        job.get_subset(asset_selection={dg.AssetKey("hub_dataset")}),
        asset_selection=frozenset({dg.AssetKey("hub_dataset")}),
        tags={"dagster/partition": "x"},
        status=dg.DagsterRunStatus.STARTED,
    )
    assert tick(always_in_time(settings), instance, the_last_hour()).run_requests


def test_pools_get_their_limits_and_an_operators_choice_stays(instance):
    instance.event_log_storage.set_concurrency_slots("gpu", 4)
    assert hold_pools(instance) == {name: 1 for name in LIMITS if name != "gpu"}
    limits = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
    assert limits == {**LIMITS, "gpu": 4}
    assert hold_pools(instance) == {}


@pytest.mark.parametrize(
    ("zone", "start", "cron", "ticks"),
    [
        # Clocks jump from two to three: one tick on that day, at three.
        (
            "Europe/Zurich",
            "2026-03-28",
            "30 2 * * *",
            ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"],
        ),
        # Clocks pass half past two twice: one tick on that day, the later.
        (
            "Europe/Zurich",
            "2026-10-24",
            "30 2 * * *",
            ["2026-10-24T00:30", "2026-10-25T01:30", "2026-10-26T01:30"],
        ),
        (
            "America/New_York",
            "2026-11-01",
            "30 1 * * *",
            ["2026-11-01T06:30", "2026-11-02T06:30", "2026-11-03T06:30"],
        ),
        # Half an hour of daylight saving time.
        (
            "Australia/Lord_Howe",
            "2026-10-03",
            "0 12 * * *",
            ["2026-10-03T01:30", "2026-10-04T01:00", "2026-10-05T01:00"],
        ),
        (
            "Asia/Kolkata",
            "2026-06-01",
            "0 2 * * *",
            ["2026-05-31T20:30", "2026-06-01T20:30", "2026-06-02T20:30"],
        ),
    ],
)
def test_a_local_time_is_ticked_once_a_day_also_when_clocks_change(zone, start, cron, ticks):
    schedule = Schedule(cron=cron, timezone=zone)
    begin = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone))
    clock = schedule_execution_time_iterator(begin.timestamp(), schedule.cron, schedule.timezone)
    instants = [next(clock) for _ in range(3)]
    assert [f"{one.astimezone(UTC):%Y-%m-%dT%H:%M}" for one in instants] == ticks
    last = instants[-1]
    before = missed_ticks(
        schedule,
        since=instants[0].astimezone(UTC) - timedelta(seconds=1),
        tick=last.astimezone(UTC),
        now=last.astimezone(UTC),
    )
    assert [f"{one:%Y-%m-%dT%H:%M}" for one in before] == ticks[:-1]
    assert len({run_id_of_tick("spec", one, due_at("spec", one, 60)) for one in instants}) == 3


def test_every_hour_of_a_day_that_clocks_change_on_has_a_tick_and_a_run_of_its_own():
    begin = datetime(2026, 10, 24, 22, tzinfo=UTC)  # midnight of the 25th in Zurich
    clock = schedule_execution_time_iterator(begin.timestamp(), "0 * * * *", "Europe/Zurich")
    instants = [next(clock) for _ in range(25)]
    assert [one.timestamp() for one in instants] == [
        (begin + timedelta(hours=hours)).timestamp() for hours in range(25)
    ]
    assert len({run_id_of_tick("spec", one, one) for one in instants}) == 25


def test_jitter_is_drawn_anew_for_each_tick_and_always_the_same():
    start = datetime(2026, 1, 1, 2, tzinfo=UTC)
    ticks = [start + timedelta(days=day) for day in range(200)]
    later_s = [(due_at("spec", one, 600) - one).total_seconds() for one in ticks]
    assert later_s == [(due_at("spec", one, 600) - one).total_seconds() for one in ticks]
    assert min(later_s) >= 0 and max(later_s) <= 600
    assert len(set(later_s)) > 100
    assert [due_at("spec", one, 0) for one in ticks] == ticks
