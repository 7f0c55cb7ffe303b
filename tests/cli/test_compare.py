"""``compare`` as a person runs it: folders, files and records on a Hub; tables, JSON, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inferencebench_pipeline.hub.client.client import Repo
from tests.cli.verification.test_verify_and_explain import Bench, bench  # noqa: F401  # fixture
from tests.hub.conftest import ORGANISATION, World, sandbox, world  # noqa: F401  # fixtures
from tests.leaderboard.compared import concurrency, engine, envelope_with, write_run

KEY = "ttft_p50_ms"
OLD, NEW = (98.0, 101.0, 103.0, 99.0, 100.0), (121.0, 118.0, 120.0, 124.0, 119.0)


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    for number, value in enumerate(OLD):
        write_run(tmp_path / "a", number, {KEY: value}, engine("0.12.0"))
    for number, value in enumerate(NEW, start=50):
        write_run(tmp_path / "b", number, {KEY: value}, engine("0.13.0"))
    return tmp_path / "a/runs", tmp_path / "b/runs"


def test_two_folders_of_runs_are_compared(sides: tuple[Path, Path], bench: Bench) -> None:  # noqa: F811
    done = bench("compare", *sides)
    assert done.returncode == 0, done.stderr
    assert "engine_version: A 0.12.0   B 0.13.0" in done.stdout
    assert "B is worse" in done.stdout
    assert "too few runs" not in done.stdout


def test_json_says_the_same(sides: tuple[Path, Path], bench: Bench) -> None:  # noqa: F811
    done = bench("compare", *sides, "--metric", KEY, "--json")
    found = json.loads(done.stdout)
    (metric,) = found["metrics"]
    assert (metric["key"], metric["verdict"]) == (KEY, "worse")
    assert metric["effect_low"] < 0.2 < metric["effect_high"]


def test_single_runs_and_lists_of_them_can_be_named(
    sides: tuple[Path, Path],
    tmp_path: Path,
    bench: Bench,  # noqa: F811
) -> None:
    run = next(sides[0].iterdir())
    listed = tmp_path / "list.txt"
    listed.write_text("# the new ones\n" + "\n".join(str(path) for path in sides[1].iterdir()))
    done = bench("compare", run / "envelope.json", f"@{listed}", "--metric", KEY)
    assert done.returncode == 0, done.stderr
    assert "too few runs" in done.stdout


def test_what_cannot_be_compared_is_refused_with_the_field(
    sides: tuple[Path, Path],
    tmp_path: Path,
    bench: Bench,  # noqa: F811
) -> None:
    other = write_run(tmp_path / "c", 99, {KEY: 1.0}, concurrency(64))
    done = bench("compare", sides[0], other)
    assert done.returncode == 2
    assert "load_point differs: A was run at 2 in flight, B at 64 in flight" in done.stderr


@pytest.mark.parametrize("missing", ["nowhere", "@nowhere"])
def test_what_is_not_there_is_named(
    sides: tuple[Path, Path],
    bench: Bench,  # noqa: F811
    missing: str,
) -> None:
    done = bench("compare", sides[0], missing)
    assert done.returncode == 2
    assert "nowhere" in done.stderr


def test_a_folder_without_runs_says_so(sides: tuple[Path, Path], tmp_path: Path, bench: Bench):  # noqa: F811
    (tmp_path / "empty").mkdir()
    done = bench("compare", sides[0], tmp_path / "empty")
    assert done.returncode == 2
    assert "no run directories" in done.stderr


def test_a_record_on_the_hub_is_one_side(
    sides: tuple[Path, Path],
    world: World,  # noqa: F811
    bench: Bench,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HTTP_PROXY")
    hub, repo = world.hub(), Repo("dataset", f"{ORGANISATION}/compared")
    assert hub.create(repo)
    data = envelope_with(70, {KEY: 120.0})[1]
    head = hub.head(repo)
    hub.commit(repo, {"envelope.json": data}, message="a record", parent=head.commit)
    monkeypatch.setenv("HF_ENDPOINT", world.url)
    done = bench("compare", sides[0], f"hf://datasets/{repo.id}", "--metric", KEY, "--json")
    assert done.returncode == 0, done.stderr
    (metric,) = json.loads(done.stdout)["metrics"]
    assert (metric["n_a"], metric["n_b"], metric["verdict"]) == (5, 1, "too_few_runs")
