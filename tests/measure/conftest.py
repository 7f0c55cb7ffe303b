"""A scripted engine, and a run directory to measure it into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from inferencebench_pipeline.runs.run_directory import RunDirectory, RunStore, new_run_id
from tests.measure.fake_engine import Behaviour, FakeEngine, running


@pytest.fixture
def fake() -> Iterator[Callable[..., FakeEngine]]:
    """Start scripted engines; each argument is the behaviour of one request, the last repeats."""
    with ExitStack() as stack:

        def start(*script: Behaviour, ssl_context: Any = None) -> FakeEngine:
            behaviours = script or (Behaviour(),)
            engine = FakeEngine(lambda number: behaviours[min(number, len(behaviours) - 1)])
            return stack.enter_context(running(engine, ssl_context))

        yield start


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunStore(tmp_path / "store").run(new_run_id())
