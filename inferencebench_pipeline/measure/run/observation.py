"""The observation of a run under load: the engine's own metrics, and the machine's telemetry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from inferencebench_pipeline.measure.audit.audit import metrics_before_and_after
from inferencebench_pipeline.measure.client.capture import Capture
from inferencebench_pipeline.measure.engines.http import RunningEngine
from inferencebench_pipeline.measure.provenance.host import gpu_class
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec
from inferencebench_pipeline.measure.telemetry.nvml import NvmlSource
from inferencebench_pipeline.measure.telemetry.sampler import default_sources, sampling
from inferencebench_pipeline.measure.telemetry.summary import FACTS, SPOOL
from inferencebench_pipeline.measure.telemetry.usage import engine_use


def used_hardware_class(engine: RunningEngine, machine: str) -> str:
    """Return the kind of hardware that ``engine`` computes on, of a machine of kind ``machine``.

    An engine that we started is looked up in the driver's lists of processes: one that computes on
    the CPU of a machine with GPUs is compared with CPUs.
    """
    if not engine.on_this_host:
        return "remote"
    if engine.process is None or machine == "cpu":
        return machine
    source = NvmlSource()
    used = engine_use(source.state(), engine.process.pid).gpus
    if used is None:
        return machine
    models = [device.name for device in source.facts().devices if device.device in used]
    return gpu_class(models[0]) if models else "cpu"


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
