"""What is watched while a load runs: the engine's own metrics, and the machine's telemetry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from inferencebench_pipeline.measure.audit import metrics_before_and_after
from inferencebench_pipeline.measure.capture import Capture
from inferencebench_pipeline.measure.engines import RunningEngine
from inferencebench_pipeline.measure.spec import BenchmarkSpec
from inferencebench_pipeline.measure.telemetry.report import FACTS, SPOOL
from inferencebench_pipeline.measure.telemetry.sampler import default_sources, sampling


@contextmanager
def observed(engine: RunningEngine, spec: BenchmarkSpec, capture: Capture) -> Iterator[None]:
    """Watch ``engine`` and this machine while the body puts load on it, all repeats together.

    Raises:
        StoreError: the capture is not writable.
    """
    with (
        metrics_before_and_after(engine, spec.model.served_name or spec.model.id, capture),
        sampling(
            default_sources(),
            capture.path / SPOOL,
            capture.path / FACTS,
            engine_pid=None if engine.process is None else engine.process.pid,
        ),
    ):
        yield
