"""The engine of a spec, started or reached, as one context manager."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inferencebench_pipeline.measure.engines.embedded import embedded_engine
from inferencebench_pipeline.measure.engines.http import RunningEngine
from inferencebench_pipeline.measure.engines.openai import openai_engine
from inferencebench_pipeline.measure.engines.vllm import vllm_engine
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec, EmbeddedEngine, OpenAIEngine


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
    if isinstance(spec.engine, EmbeddedEngine):
        manager = embedded_engine(spec, spec.engine, log)
    elif isinstance(spec.engine, OpenAIEngine):
        manager = openai_engine(spec, spec.engine)
    else:
        manager = vllm_engine(spec, spec.engine, log)
    with manager as engine:
        yield engine
