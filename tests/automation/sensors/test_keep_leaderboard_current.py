"""The leaderboard follows the corpus: no verification is missed, whenever it ends."""

from __future__ import annotations

import random
from pathlib import Path

import dagster as dg
import pytest

from definitions import build_definitions
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.files.atomic_writes import write_atomically
from inferencebench_pipeline.leaderboard.index.parquet.manifest import DOCUMENT_FILE
from inferencebench_pipeline.leaderboard.index.sources import Sources
from inferencebench_pipeline.leaderboard.store import LeaderboardStore
from inferencebench_pipeline.lifecycle.leaderboard import leaderboard_index
from inferencebench_pipeline.settings import Settings
from tests.automation.ticks import sensor_tick

SENSOR = "keep_leaderboard_current"
DAYS = [f"2026-05-{day:02}" for day in range(1, 29)]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    prices = tmp_path / "prices.yaml"
    return Settings.from_environment(
        {"INFERENCEBENCH_HOME": str(tmp_path), "INFERENCEBENCH_PRICES": str(prices)}
    )


@pytest.fixture
def definitions(settings: Settings) -> dg.Definitions:
    return build_definitions(settings)


def verify(settings: Settings, day: str) -> None:
    """Leave what a verification of a day leaves: its verdicts, then the table of all records."""
    write_atomically(CorpusStore(settings.store).verdicts_path(day), b"")
    write_atomically(settings.store / "corpus" / "records.parquet", b"")


def asks(definitions: dg.Definitions, instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    return list(sensor_tick(definitions, instance, SENSOR).run_requests or ())


def build(definitions: dg.Definitions, instance: dg.DagsterInstance) -> bool:
    job = definitions.resolve_job_def("rebuild_leaderboard")
    return job.execute_in_process(instance=instance, raise_on_error=False).success


@pytest.fixture
def _prices(settings: Settings) -> None:
    assert settings.prices is not None
    settings.prices.write_text(
        "{version: 1, source: 'https://a.org', date: 2026-10-01, currency: USD, "
        "accelerators: [{accelerator: H100, per_hour: 2.5}]}"
    )


@pytest.mark.usefixtures("_prices")
def test_a_day_verified_while_a_build_runs_is_built_too(
    definitions, instance, settings, monkeypatch
):
    assert asks(definitions, instance) == [], "nothing is verified"
    verify(settings, DAYS[0])
    (first,) = asks(definitions, instance)
    render = leaderboard_index.render_site

    def late(board: LeaderboardStore) -> Path:
        verify(settings, DAYS[1])  # after the build has read what there was
        return render(board)

    monkeypatch.setattr(leaderboard_index, "render_site", late)
    assert build(definitions, instance)
    monkeypatch.undo()
    (second,) = asks(definitions, instance)
    assert second.run_key != first.run_key
    assert build(definitions, instance)
    assert asks(definitions, instance) == []


@pytest.mark.usefixtures("_prices")
@pytest.mark.parametrize(
    "change",
    ["takedowns.json", "evaluations.json", "corpus/log_reports.json", "../prices.yaml"],
)
def test_whatever_else_an_index_is_made_from_asks_for_a_build_too(
    definitions, instance, settings, change
):
    verify(settings, DAYS[0])
    assert build(definitions, instance)
    path = settings.store / change
    before = path.read_bytes() if path.exists() else b""
    path.write_bytes(before)
    if before:
        assert asks(definitions, instance) == [], "the same content, written again"
    path.write_bytes(before + b" ")
    assert len(asks(definitions, instance)) == 1


@pytest.mark.usefixtures("_prices")
@pytest.mark.parametrize("gone", ["built_from.json", DOCUMENT_FILE, ""])
def test_an_index_that_was_removed_or_damaged_is_built_again(definitions, instance, settings, gone):
    verify(settings, DAYS[0])
    assert build(definitions, instance)
    path = settings.store / "leaderboard" / gone
    if gone == "built_from.json":
        path.write_bytes(b'{"records": 3}')
    elif gone:
        path.unlink()
    else:
        path.rename(path.with_name("elsewhere"))
    assert len(asks(definitions, instance)) == 1


def test_a_build_that_fails_is_asked_for_again_later_and_not_at_each_tick(
    definitions, instance, settings
):
    verify(settings, DAYS[0])  # there is no list of prices: the build is refused
    (first,) = asks(definitions, instance)
    job = definitions.resolve_job_def("rebuild_leaderboard")
    failed = job.execute_in_process(instance=instance, tags=first.tags, raise_on_error=False)
    assert not failed.success
    tick = sensor_tick(definitions, instance, SENSOR)
    assert not tick.run_requests
    assert "failed 1 time(s)" in str(tick.skip_message)


def test_while_a_verification_goes_on_its_end_is_waited_for(definitions, instance, settings):
    verify(settings, DAYS[0])
    write_atomically(settings.store / "leaderboard" / DOCUMENT_FILE, b"{}")
    board = LeaderboardStore(settings.store)
    Sources.now(board, settings.prices).keep(board)
    run = instance.create_run_for_job(
        definitions.resolve_job_def("reverify"), status=dg.DagsterRunStatus.STARTED
    )
    write_atomically(CorpusStore(settings.store).verdicts_path(DAYS[1]), b"")
    assert asks(definitions, instance) == []
    instance.report_run_failed(instance.get_run_by_id(run.run_id))
    assert len(asks(definitions, instance)) == 1, "it died, and its verdicts count"


@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_order_the_last_verification_is_built_in_the_end(
    definitions, instance, settings, seed
):
    """Verifications, builds that begin, end or die, and ticks, in an order drawn from a seed."""
    draw = random.Random(seed)
    begun: Sources | None = None
    write_atomically(settings.store / "leaderboard" / DOCUMENT_FILE, b"{}")
    for _ in range(15):
        happens = draw.choice(["verify", "begin", "end", "die"])
        if happens == "verify":
            verify(settings, draw.choice(DAYS))
        elif happens == "begin":
            begun = Sources.now(LeaderboardStore(settings.store), settings.prices)
        elif happens == "end" and begun is not None:
            begun.keep(LeaderboardStore(settings.store))
            begun = None
        elif happens == "die":
            begun = None
        current = Sources.of_the_index(LeaderboardStore(settings.store)) == Sources.now(
            LeaderboardStore(settings.store), settings.prices
        )
        verified = (settings.store / "corpus" / "records.parquet").exists()
        assert bool(asks(definitions, instance)) is (verified and not current)


def test_no_asset_follows_by_an_automation_condition(definitions):
    """Those with ``since`` lose what comes in the tick in which a run ends (Dagster #33587)."""
    graph = definitions.get_repository_def().asset_graph
    keys = [*graph.get_all_asset_keys(), *graph.asset_check_keys]
    assert [key for key in keys if graph.get(key).automation_condition is not None] == []
    sensors = definitions.get_repository_def().sensor_defs
    assert [s.name for s in sensors if isinstance(s, dg.AutomationConditionSensorDefinition)] == []
