"""The suite's own manners: seeds are shown and repeat a run, and no skip goes unnoticed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from tests import skips
from tests.chance import EXAMPLES_VARIABLE, SEED_VARIABLE
from tests.clock import until_the_hour_holds
from tests.paths import REPOSITORY

INNER = """
import random
import pytest
from hypothesis import given, settings, strategies as st
from tests.chance import dice, examples

@given(st.integers())
def test_property(number):
    print("drawn", number)

@settings(max_examples=examples(3))
@given(st.integers(0, 10**9))
def test_few(number):
    print("few", number)

def test_dice():
    print("rolled", dice("here").random(), dice("there").random())

@pytest.mark.skip(reason="root reads everything")
def test_listed(): ...

@pytest.mark.skip(reason="nobody knows why")
def test_unlisted(): ...

@pytest.fixture
def gone():
    pytest.skip("not found at all")

def test_unlisted_fixture(gone): ...
"""


@dataclass(frozen=True)
class Run:
    """The end of a run of the tests above, and its output."""

    code: int
    output: str

    @property
    def drawn(self) -> list[str]:
        return re.findall(r"(?:drawn|few|rolled) .*", self.output)

    @property
    def seed(self) -> str:
        found = re.search(rf"to repeat: {SEED_VARIABLE}=(\d+)", self.output)
        assert found is not None
        return found[1]

    @property
    def order(self) -> list[str]:
        return re.findall(r"^_+ (test_\w+) _+$", self.output, re.M)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("suite")
    copied(folder)
    (folder / "tests/test_inner.py").write_text(INNER)
    shuffled = {"INFERENCEBENCH_RANDOM_ORDER": "1"}
    found = {
        "in ci": run_suite(folder, CI="true"),
        "many examples": run_suite(folder, CI="true", **{EXAMPLES_VARIABLE: "4"}),
        "shuffled": run_suite(folder, **shuffled, **{SEED_VARIABLE: "1"}),
        "otherwise": run_suite(folder, **shuffled, **{SEED_VARIABLE: "2"}),
    }
    return found | {"again": run_suite(folder, CI="true", **{SEED_VARIABLE: found["in ci"].seed})}


def copied(folder: Path) -> None:
    """Write the rules of this suite into the folder, and none of its tests."""
    (folder / "tests").mkdir()
    for name in (
        "__init__.py",
        "conftest.py",
        "chance.py",
        "skips.py",
        "migrations.py",
        "paths.py",
    ):
        (folder / "tests" / name).write_bytes((REPOSITORY / "tests" / name).read_bytes())


def run_suite(folder: Path, *arguments: str, **environment: str) -> Run:
    """Run the tests above under the conftest of this suite."""
    unset = {
        "CI",
        "PYTHONHASHSEED",
        "PYTEST_ADDOPTS",
        SEED_VARIABLE,
        EXAMPLES_VARIABLE,
        "INFERENCEBENCH_RANDOM_ORDER",
    }
    inherited = {key: value for key, value in os.environ.items() if key not in unset}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-rA",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            folder,
            *arguments,
        ],
        cwd=folder,
        env=inherited | {"PYTHONPATH": str(folder)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Run(done.returncode, done.stdout)


def test_ci_tries_other_examples_each_time_and_the_seed_shown_repeats_them(
    runs: dict[str, Run],
) -> None:
    assert len(runs["in ci"].drawn) > 100
    assert runs["in ci"].drawn[:50] != runs["many examples"].drawn[:50]
    assert runs["again"].drawn == runs["in ci"].drawn


def test_the_nightly_run_tries_more_examples_of_each_property(runs: dict[str, Run]) -> None:
    assert len(re.findall(r"few \d+", runs["in ci"].output)) == 3
    assert len(re.findall(r"few \d+", runs["many examples"].output)) == 12
    assert len(re.findall(r"drawn", runs["many examples"].output)) == 400


def test_an_unlisted_skip_is_an_error_in_ci_and_only_there(runs: dict[str, Run]) -> None:
    assert runs["in ci"].code == 1
    assert "3 passed, 1 skipped, 2 errors" in runs["in ci"].output
    assert "nobody knows why\n\nThis skip is not listed in tests/skips.py." in runs["in ci"].output
    assert "not found at all\n\nThis skip is not listed in tests/skips.py." in runs["in ci"].output
    assert runs["shuffled"].code == 0
    assert "3 passed, 3 skipped" in runs["shuffled"].output


def test_a_shuffled_run_has_the_same_tests_in_another_order(runs: dict[str, Run]) -> None:
    assert runs["shuffled"].order != runs["otherwise"].order
    assert sorted(runs["shuffled"].order) == sorted(runs["otherwise"].order)
    assert len(runs["shuffled"].order) == 3


@pytest.mark.parametrize(
    ("chosen", "passed"), [("only", ["test_twice"]), ("without", ["test_drawn", "test_elsewhere"])]
)
def test_a_test_is_either_the_gate_s_or_one_of_the_others(
    tmp_path: Path, chosen: str, passed: list[str]
) -> None:
    copied(tmp_path)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nmarkers =\n    drawn: by seed\ngated_tests =\n    tests/here\n"
    )
    tests = {
        "here": "import pytest\ndef test_twice(): ...\n@pytest.mark.drawn\ndef test_drawn(): ...\n",
        "here_too": "def test_elsewhere(): ...\n",
    }
    for folder, text in tests.items():
        (tmp_path / "tests" / folder).mkdir()
        (tmp_path / "tests" / folder / f"test_{folder}.py").write_text(text)
    found = run_suite(tmp_path, "--gated", chosen)
    assert re.findall(r"PASSED .*::(\w+)", found.output) == passed


def test_all_processes_name_a_test_of_a_set_alike_and_what_they_start_does_not(
    tmp_path: Path,
) -> None:
    copied(tmp_path)
    (tmp_path / "tests/test_sets.py").write_text(
        "import os, pytest\n"
        "SETS = [{f'{a}{b}' for b in range(9)} for a in range(3)]\n"
        "@pytest.mark.parametrize('of', SETS, ids=str)\n"
        "def test_set(of):\n    assert 'PYTHONHASHSEED' not in os.environ\n"
    )
    found = run_suite(tmp_path, "-n", "2")
    assert found.code == 0, found.output
    assert "3 passed" in found.output


@pytest.mark.parametrize("reason", list(skips.ALLOWED))
def test_every_allowed_skip_is_one_that_a_test_can_make(reason: str) -> None:
    said = reason.partition(":")[0]
    files = [path for path in (REPOSITORY / "tests").rglob("*.py") if path.name != "skips.py"]
    assert any(said in path.read_text() for path in files if path != Path(__file__))


def test_what_debian_could_not_give_may_skip_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = "NO CHROMIUM: the leaderboard was not tested in a browser; install `chromium`"
    assert not skips.is_allowed(missing)
    monkeypatch.setenv(skips.UNREACHABLE_VARIABLE, "postgresql chromium")
    assert skips.is_allowed(missing)
    assert skips.is_allowed("PostgreSQL is not installed (initdb, pg_ctl)")
    monkeypatch.setenv(skips.UNREACHABLE_VARIABLE, "postgresql")
    assert not skips.is_allowed(missing)


@pytest.mark.parametrize(
    ("now", "seconds"),
    [("23:00:00", 0), ("23:58:59", 0), ("23:59:00", 60), ("23:59:59", 1), ("00:00:00", 0)],
)
def test_a_test_that_speaks_of_today_does_not_begin_in_its_last_minute(
    now: str, seconds: float
) -> None:
    assert until_the_hour_holds(datetime.fromisoformat(f"2026-11-30T{now}+00:00")) == seconds
