"""Runs that died in the middle are asked for again, and answers stand: none lost, none twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from definitions import build_definitions
from inferencebench_pipeline.automation.run_requests import attempts, interrupted_runs
from inferencebench_pipeline.automation.run_requests.interrupted_runs import MOST_ASKS, Watch
from inferencebench_pipeline.errors import PermanentError, RetryableError
from inferencebench_pipeline.resources import StepRetryPolicy
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile, RunStore, new_run_id
from inferencebench_pipeline.settings import Settings
from tests.automation.ticks import sensor_tick

KEY = "ops/benchmark_run"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"INFERENCEBENCH_HOME": str(tmp_path)})


class Daemon:
    """The sensor, its cursor, and the runs that it had launched."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.definitions = build_definitions(settings)
        self.instance = instance
        self.store = RunStore(settings.store)
        self.job = self.definitions.resolve_job_def("publish_run")
        self.cursor: str | None = None

    def tick(self) -> SensorExecutionData:
        found = sensor_tick(self.definitions, self.instance, "requested_runs", self.cursor)
        self.cursor = found.cursor
        return found

    def asked(self) -> list[str | None]:
        return [request.run_key for request in self.tick().run_requests or ()]

    def request(self) -> RunDirectory:
        run = self.store.run(new_run_id())
        run.write(RunFile.SPEC, b"{}")
        return run

    def launch(self, run: RunDirectory, **tags: str) -> dg.DagsterRun:
        """Create the Dagster run of a request, as the sensor's daemon does."""
        self.instance.add_dynamic_partitions("runs", [run.run_id])
        return self.instance.create_run_for_job(
            self.job, tags={"dagster/partition": run.run_id, **tags}
        )

    def die(self, run: RunDirectory, **tags: str) -> dg.DagsterRun:
        """Have the Dagster run of a request end as one does whose code server is away."""
        launched = self.launch(run, **tags)
        self.instance.report_run_failed(launched, "could not reach user code server")
        return launched

    def ended(self, run: dg.DagsterRun) -> str | None:
        found = self.instance.get_run_by_id(run.run_id)
        assert found is not None
        return found.tags.get(interrupted_runs.ENDED_TAG)


@pytest.fixture
def daemon(settings: Settings, instance: dg.DagsterInstance) -> Daemon:
    return Daemon(settings, instance)


def test_a_queue_that_failed_as_a_whole_is_asked_for_again_once_each(daemon, monkeypatch):
    monkeypatch.setattr(interrupted_runs, "MOST_AT_ONCE", 3)
    runs = [daemon.request() for _ in range(5)]
    for run in runs:
        daemon.die(run)
    first, second = daemon.asked(), daemon.asked()
    assert len(first) == 3
    assert sorted([*first, *second]) == sorted(f"{run.run_id}:2" for run in runs)
    assert daemon.asked() == []


def test_each_further_interruption_waits_longer_and_in_the_end_it_is_given_up(daemon, monkeypatch):
    run = daemon.request()
    daemon.die(run)
    assert daemon.asked() == [f"{run.run_id}:2"]
    daemon.die(run)
    tick = daemon.tick()
    assert not tick.run_requests
    assert "requested again from" in str(tick.skip_message)
    monkeypatch.setattr(attempts, "FIRST_WAIT", timedelta(0))
    for attempt in range(3, MOST_ASKS + 1):
        daemon.die(run)
        assert daemon.asked() == [f"{run.run_id}:{attempt + 1}"]
    last = daemon.die(run)
    assert daemon.asked() == []
    assert daemon.ended(last) == interrupted_runs.GIVEN_UP
    assert list(interrupted_runs.runs_given_up(daemon.instance, 10)) == [(last.run_id, run.run_id)]


@pytest.mark.parametrize(
    "cursor",
    ["", "rubbish", "{}", "[]", '{"failures_read": "x"}', '{"waiting": 3}', "\x00", "1:2", None,
     '{"failures_read": 0, "waiting": {}, "from": "a later version"}'],
)  # fmt: skip
def test_a_damaged_cursor_or_that_of_another_version_loses_and_doubles_nothing(daemon, cursor):
    lost, going_on = daemon.request(), daemon.request()
    daemon.die(lost)
    daemon.die(going_on)
    daemon.launch(going_on)
    daemon.cursor = cursor
    assert daemon.asked() == [f"{lost.run_id}:2"]
    daemon.launch(lost)
    daemon.cursor = cursor
    assert daemon.asked() == []


def refuse() -> None:
    with StepRetryPolicy(retries=0).guard():
        raise PermanentError("this spec is not for this host")


def outage() -> None:
    with StepRetryPolicy(retries=0).guard():
        raise RetryableError("the engine is not there")


def long_outage() -> None:
    with StepRetryPolicy(retries=0).guard():
        raise RetryableError("the quota is used up", retry_after_s=3600)


def database() -> None:
    raise ConnectionError("server closed the connection unexpectedly")


def _ends(daemon: Daemon, run: RunDirectory, how: Callable[[], None]) -> dg.DagsterRun:
    """Run a job of the same name whose step ends as ``how`` does."""

    @dg.op
    def benchmark_run() -> None:
        how()

    @dg.job(name="publish_run", executor_def=dg.in_process_executor)
    def publish_run() -> None:
        benchmark_run()

    result = publish_run.execute_in_process(
        instance=daemon.instance,
        tags={"dagster/partition": run.run_id},
        raise_on_error=False,
    )
    assert not result.success
    return result.dagster_run


@pytest.mark.parametrize(
    ("how", "again"),
    [(refuse, False), (outage, True), (long_outage, True), (database, True)],
)
def test_a_refusal_stands_and_whatever_else_ends_a_step_is_no_answer(daemon, how, again):
    run = daemon.request()
    ended = _ends(daemon, run, how)
    assert daemon.asked() == ([f"{run.run_id}:2"] if again else [])
    assert daemon.ended(ended) == ("interrupted" if again else "refused")


def test_a_failed_check_stands(daemon):
    @dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="runs"))
    def benchmark_run() -> None:
        return

    @dg.asset_check(asset=benchmark_run, blocking=True)
    def engine_answered() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False)

    run = daemon.request()
    daemon.instance.add_dynamic_partitions("runs", [run.run_id])
    job = dg.define_asset_job("publish_run", executor_def=dg.in_process_executor)
    definitions = dg.Definitions(assets=[benchmark_run], asset_checks=[engine_answered], jobs=[job])
    result = definitions.resolve_job_def("publish_run").execute_in_process(
        instance=daemon.instance, partition_key=run.run_id, raise_on_error=False
    )
    assert not result.success
    assert daemon.asked() == []
    assert daemon.ended(result.dagster_run) == "refused"


def cancelled(daemon: Daemon, run: RunDirectory) -> None:
    daemon.instance.report_run_canceled(daemon.launch(run))


def followed(daemon: Daemon, run: RunDirectory) -> None:
    daemon.die(run)
    daemon.launch(run)


def parked(daemon: Daemon, run: RunDirectory) -> None:
    daemon.die(run)
    run.write(
        RunFile.PARKED,
        b'{"stage": "signature", "reason": "down", "since": "2026-11-30T00:00:00Z", "attempts": 1,'
        b' "not_before": "2030-11-30T00:00:00Z"}',
    )


def without_a_request(daemon: Daemon, run: RunDirectory) -> None:
    daemon.die(run)
    run.remove(RunFile.SPEC)


def of_another_job(daemon: Daemon, run: RunDirectory) -> None:
    job = daemon.definitions.resolve_job_def("crawl_corpus")
    tags = {"dagster/partition": run.run_id}
    daemon.instance.report_run_failed(daemon.instance.create_run_for_job(job, tags=tags))


def retried_by_dagster(daemon: Daemon, run: RunDirectory) -> None:
    daemon.die(run, **{"dagster/will_retry": "true"})


@pytest.mark.parametrize(
    "how",
    [cancelled, followed, parked, without_a_request, of_another_job, retried_by_dagster],
)
def test_what_somebody_else_answers_is_not_asked_for_again(daemon, how):
    run = daemon.request()
    how(daemon, run)
    assert [key for key in daemon.asked() if key != f"{run.run_id}:1"] == []


def test_a_crash_that_dagster_could_not_retry_is_asked_for_after_all(daemon, monkeypatch):
    monkeypatch.setattr(interrupted_runs, "RETRIED_BY_DAGSTER_WITHIN", timedelta(0))
    run = daemon.request()
    daemon.die(run, **{"dagster/will_retry": "true"})
    assert daemon.asked() == [f"{run.run_id}:2"]


def test_it_is_asked_for_as_it_was_before(daemon):
    """A launch of one stage alone does not become a publication."""
    run = daemon.request()
    key = dg.AssetKey("benchmark_run")
    daemon.instance.add_dynamic_partitions("runs", [run.run_id])
    launched = daemon.instance.create_run_for_job(
        daemon.job.get_subset(asset_selection={key}),
        asset_selection=frozenset({key}),
        tags={"dagster/partition": run.run_id},
    )
    daemon.instance.report_run_failed(launched)
    (request,) = daemon.tick().run_requests or ()
    assert request.asset_selection == [key]


def test_a_selection_that_is_gone_and_a_partition_that_is_gone_hold_up_nobody(daemon, monkeypatch):
    gone, other = daemon.request(), daemon.request()
    key = dg.AssetKey("benchmark_run")
    launched = daemon.instance.create_run_for_job(
        daemon.job.get_subset(asset_selection={key}),
        asset_selection=frozenset({key}),
        tags={"dagster/partition": gone.run_id},
    )
    daemon.instance.report_run_failed(launched)
    daemon.die(other)
    daemon.instance.delete_dynamic_partition("runs", other.run_id)
    monkeypatch.setattr(interrupted_runs, "LIFE", frozenset({dg.AssetKey("renamed")}))
    tick = daemon.tick()
    assert [request.run_key for request in tick.run_requests or ()] == [f"{other.run_id}:2"]


def test_a_tick_costs_the_same_when_many_runs_failed_long_ago(daemon, monkeypatch):
    """Every failure is read once; what is settled is not asked about again."""
    for _ in range(4):
        run = daemon.request()
        daemon.die(run)
        daemon.launch(run)
    daemon.tick(), daemon.tick()
    asked: list[str] = []
    for name in ("get_run_by_id", "get_records_for_run", "get_runs"):
        real = getattr(daemon.instance, name)

        def counted(*args: object, _real=real, _name=name, **options: object) -> object:
            asked.append(_name)
            return _real(*args, **options)

        monkeypatch.setattr(daemon.instance, name, counted)
    daemon.tick()
    assert asked == []
    assert Watch.from_cursor(daemon.cursor).waiting == {}
