"""Fixtures and rules of all tests: fresh seeds, counted skips, the gate's tests, reference data."""

from __future__ import annotations

import os
import random
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import migrations, skips
from tests.chance import SEED_VARIABLE, examples, fix_seed
from tests.paths import REPOSITORY

# A slow machine is no counterexample. Hypothesis's own profile for CI would try the same examples
# for ever; here each run tries others, and a failure prints how to repeat it.
settings.register_profile(
    "inferencebench",
    settings.get_profile("default"),
    deadline=None,
    derandomize=False,
    print_blob=True,
    max_examples=examples(100),
)
settings.load_profile("inferencebench")

_RANDOM_ORDER = "INFERENCEBENCH_RANDOM_ORDER"
_NOT_GATED = ("slow", "nightly", "drawn", "hypothesis")
"""Markers of the tests that the coverage gate does not run: long ones, and those that differ."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run take the tests of the coverage gate alone, or all others."""
    parser.addoption("--gated", choices=["only", "without"], help="the tests of the coverage gate")
    parser.addini("gated_tests", "files and folders of the coverage gate", "linelist", [])


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Fix the seed before Hypothesis reads it and before other processes are started."""
    asked_for = SEED_VARIABLE in os.environ or skips.is_strict()
    seed = fix_seed()
    # Under a seed Hypothesis does not try its earlier failures first, which a developer wants.
    # Processes that xdist starts have the option from this one, and know the variable already.
    is_first = not hasattr(config, "workerinput")
    if is_first and asked_for and config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(seed)
    # The name of a test that is made of a set must be the same in all processes of xdist. What
    # those start gets hashes of its own again, so that no result rests on the order of a set.
    if not is_first:
        os.environ.pop("PYTHONHASHSEED", None)
    elif getattr(config.option, "numprocesses", None):
        os.environ["PYTHONHASHSEED"] = str(seed)


def pytest_report_header() -> str:
    """Show how to repeat this run."""
    order = f" {_RANDOM_ORDER}=1" if os.environ.get(_RANDOM_ORDER) else ""
    return f"to repeat: {SEED_VARIABLE}={fix_seed()}{order}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep those that the option ``--gated`` asks for, and shuffle them where that is asked for."""
    if chosen := config.option.gated:
        folders = config.getini("gated_tests")
        left_out = [item for item in items if _is_gated(item, folders) != (chosen == "only")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if _is_gated(item, folders) == (chosen == "only")]
    _shuffle(items)


def _is_gated(item: pytest.Item, folders: list[str]) -> bool:
    """Return whether the coverage gate runs the test, which always does the same."""
    path = item.nodeid.partition("::")[0]
    is_here = any(path == folder or path.startswith(f"{folder}/") for folder in folders)
    return is_here and not any(item.get_closest_marker(name) for name in _NOT_GATED)


def _shuffle(items: list[pytest.Item]) -> None:
    """Shuffle, where the environment asks for it, the modules, and the tests within each."""
    if not os.environ.get(_RANDOM_ORDER):
        return
    shuffle = random.Random(f"order {fix_seed()}").shuffle
    modules: dict[str, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.nodeid.partition("::")[0], []).append(item)
    order = list(modules)
    shuffle(order)
    for module in order:
        shuffle(modules[module])
    items[:] = [item for module in order for item in modules[module]]


def pytest_collection_finish() -> None:
    """Now that every module is imported: Dagster reads its migrations once in this process."""
    migrations.read_once()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip that is not listed into an error, where that is asked for."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and skips.is_strict():
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not skips.is_allowed(reason):
            report.outcome = "failed"
            report.longrepr = f"{reason}\n\nThis skip is not listed in tests/skips.py."
    return report


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real envelopes, vectors and bundles, or a skip that names what is missing."""
    folder = Path(os.environ.get("INFERENCEBENCH_SHARED_DATA", REPOSITORY.parent / "shared/data"))
    if not folder.is_dir():
        pytest.skip(f"shared reference data not found at {folder} (INFERENCEBENCH_SHARED_DATA)")
    return folder
