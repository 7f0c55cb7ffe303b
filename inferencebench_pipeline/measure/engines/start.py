"""The registry of engine kinds, and the engine of a spec as one context manager."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

from inferencebench_pipeline.measure.engines.embedded import embedded_engine
from inferencebench_pipeline.measure.engines.http import RunningEngine
from inferencebench_pipeline.measure.engines.openai import openai_engine
from inferencebench_pipeline.measure.engines.vllm import vllm_engine
from inferencebench_pipeline.measure.spec.engine import (
    EmbeddedEngine,
    Engine,
    OpenAIEngine,
    VllmEngine,
)
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec

Starter = Callable[[BenchmarkSpec, Any, Path], AbstractContextManager[RunningEngine]]
"""Starts or reaches the engine of a resolved spec, given its ``engine`` and the file of its log."""

STARTERS: Final[Mapping[type[Engine], Starter]] = {
    EmbeddedEngine: embedded_engine,
    # Its log is kept by whoever runs it.
    OpenAIEngine: lambda spec, settings, _log: openai_engine(spec, settings),
    VllmEngine: vllm_engine,
}
"""The starter of each kind. Everything else about a kind is declared by its class: the role of each
field decides what is published, what a launch may replace and what a replay refuses."""


@contextmanager
def engine_for(spec: BenchmarkSpec, log: Path) -> Iterator[RunningEngine]:
    """Yield the engine of ``spec``, answering and serving its model; stop it if we started it.

    Args:
        spec: a resolved spec.
        log: takes the output of an engine that we start.

    Raises:
        EngineUnreachableError: it does not answer within ``deadlines.engine_start_s``.
        EngineMissingError: an engine that we start is not installed.
        EngineAccessError: it refuses our API key.
        ModelNotServedError: it does not serve the spec's model.
    """
    with STARTERS[type(spec.engine)](spec, spec.engine, log) as engine:
        yield engine
