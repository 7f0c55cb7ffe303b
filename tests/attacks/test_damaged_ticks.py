"""Every sensor and schedule, evaluated while a file of the store is damaged: no tick fails.

A tick that fails because of a file that the run it would ask for writes anew fails for ever. The
sensors and schedules are those of the code location, and the files those of a built store: the next
ones are covered without a line here.
"""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pytest

from definitions import build_definitions
from inferencebench_pipeline.hub.webhooks import NUDGE_FILE
from inferencebench_pipeline.settings import Settings
from tests.attacks.corpus_store import CorpusWorld, built, damaged_copy, files_of, stopped_clock
from tests.attacks.damage import DAMAGES, Damage
from tests.attacks.test_corpus_damage import not_for_ever
from tests.automation.ticks import schedule_tick, sensor_tick
from tests.chance import dice, drawn

__all__ = ["not_for_ever", "stopped_clock"]
_LONGEST_S = 120


def _now() -> datetime:
    return datetime.now(tz=UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, stopped_clock: None) -> CorpusWorld:
    return built(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def definitions(home: Path) -> dg.Definitions:
    """A deployment with everything that a sensor needs to act; its Hub is not there."""
    return build_definitions(
        Settings.from_environment(
            {
                "INFERENCEBENCH_HOME": str(home),
                "INFERENCEBENCH_HUB_ENDPOINT": "http://127.0.0.1:9",
                "INFERENCEBENCH_ORGANISATION": "example-org",
                "INFERENCEBENCH_INBOX": str(home / "inbox"),
            }
        )
    )


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The alerts have an address, and whoever listens there takes everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("INFERENCEBENCH_ALERTS", f"json://127.0.0.1:{server.server_address[1]}/")
    yield
    server.shutdown()
    server.server_close()


def failing_ticks(
    definitions: dg.Definitions, instance: dg.DagsterInstance, cursors: dict[str, str | None]
) -> dict[str, str]:
    """Evaluate every sensor and schedule; return the errors of those whose tick fails."""
    repository = definitions.get_repository_def()
    failed: dict[str, str] = {}
    names = [one.name for one in (*repository.sensor_defs, *repository.schedule_defs)]
    for name in names:
        try:
            if repository.has_sensor_def(name):
                found = sensor_tick(definitions, instance, name, cursors.get(name))
                cursors[name] = found.cursor or cursors.get(name)
            else:
                schedule_tick(definitions, instance, name, _now())
        except Exception as error:
            cause = error.__cause__ or error
            failed[name] = f"{type(cause).__name__}: {cause}"[:300]
    return failed


def survive(
    world: CorpusWorld,
    home: Path,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    damages: list[tuple[str, Damage]],
) -> dict[str, dict[str, str]]:
    wrong: dict[str, dict[str, str]] = {}
    for name, damage in damages:
        signal.alarm(_LONGEST_S)
        with damaged_copy(world, home) as other:
            shutil.rmtree(home / "store", ignore_errors=True)
            (home / "store").symlink_to(other.store)
            damage.inflict(other.store / name)
            cursors: dict[str, str | None] = {}
            for _ in range(2):
                if failed := failing_ticks(definitions, instance, cursors):
                    wrong[f"{name}: {damage}"] = failed
            (home / "store").unlink()
    return wrong


def _pairs(names: list[str], kinds: int) -> list[tuple[str, Damage]]:
    chance = dice("damage at a tick")
    return [(name, kind) for name in names for kind in chance.sample(DAMAGES, kinds)]


def _read_by_ticks(world: CorpusWorld) -> list[str]:
    return [name for name in files_of(world) if not name.startswith("leaderboard/site/")]


def test_no_tick_fails_over_a_damaged_file(
    world: CorpusWorld,
    home: Path,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    told: None,
) -> None:
    # One blob and one partition are as good as all of them.
    of_a_folder = {str(Path(name).parent): name for name in _read_by_ticks(world)}
    by_hand = [name for name in _read_by_ticks(world) if name.count("/") < 2]
    names = drawn("files at a tick", sorted({*of_a_folder.values(), *by_hand}), 10)
    assert not survive(world, home, definitions, instance, _pairs(names, 1))


@pytest.mark.nightly
def test_no_tick_fails_over_any_damage(
    world: CorpusWorld,
    home: Path,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    told: None,
) -> None:
    pairs = _pairs(_read_by_ticks(world), 12)
    assert not survive(world, home, definitions, instance, pairs)


@pytest.mark.parametrize(
    "nudge", ["1e400", "1e999", "9" * 400, "-1", "null", '"soon"', "true", "[" * 100_000, "NaN"]
)
def test_a_nudge_of_any_content_fails_no_tick(
    world: CorpusWorld,
    home: Path,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    nudge: str,
) -> None:
    (home / "store").mkdir()
    try:
        for content in (nudge, f'{{"schema_version": "1", "nudged_at_ns": {nudge}}}'):
            (home / "store" / NUDGE_FILE).write_text(content)
            for cursor in (None, (_now() - timedelta(minutes=1)).isoformat(), "", "yesterday"):
                sensor_tick(definitions, instance, "nudged_crawl", cursor)
    finally:
        shutil.rmtree(home / "store")
