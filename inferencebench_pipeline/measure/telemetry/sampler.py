"""Samples all sources in a thread while a load runs, into a spool that outlives a kill.

The thread is not in the process of the measuring client: neither its interpreter lock nor its loop
is shared. What sampling cost is measured and kept.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

from inferencebench_pipeline.files import StoreError, write_atomically
from inferencebench_pipeline.measure.telemetry.document import Sampling
from inferencebench_pipeline.measure.telemetry.hostload import HostLoad
from inferencebench_pipeline.measure.telemetry.nvml import NvmlSource
from inferencebench_pipeline.measure.telemetry.rapl import RaplSource
from inferencebench_pipeline.measure.telemetry.readings import Cost, Reading, Source, SourceFacts
from inferencebench_pipeline.measure.telemetry.report import EngineUse
from inferencebench_pipeline.measure.telemetry.usage import engine_use

_JOIN_S: Final = 30.0

States = dict[str, dict[str, Any]]


def default_sources() -> list[Source]:
    """Return every source this machine may have; one that it lacks says so in its facts."""
    return [NvmlSource(), RaplSource(), HostLoad()]


@contextmanager
def sampling(
    sources: Sequence[Source], spool: Path, facts: Path, *, engine_pid: int | None
) -> Iterator[None]:
    """Sample while the body runs: readings into ``spool``, and ``facts`` at the end.

    Every source is read once before the body and once after it, so a window inside is covered.

    Args:
        sources: what to sample.
        spool: grows by a line per reading.
        facts: written once at the end; a :class:`Sampling`.
        engine_pid: the engine's first process when we started it.

    Raises:
        StoreError: the facts cannot be written. A spool that cannot grow ends the sampling, and
            the energy of windows that it does not cover is null.
    """
    before = [source.state() for source in sources]
    sink = _opened(spool)
    thread = _Sampler(sources, sink)
    thread.start()
    try:
        yield
    finally:
        thread.stop()
        with suppress(OSError):
            sink.close()
    after = [source.state() for source in sources]
    used = [
        engine_use(states, engine_pid)
        for source, *both in zip(sources, before, after, strict=True)
        if source.name == "nvml"
        for states in both
    ]
    described = Sampling(
        sources=tuple(
            _with_states(source.facts(), first, last)
            for source, first, last in zip(sources, before, after, strict=True)
        ),
        engine=_merged(used),
        realtime_minus_monotonic_ns=time.time_ns() - time.monotonic_ns(),
        sampler_cpu_s=thread.cost.cpu_s,
        sampler_wall_s=thread.cost.wall_s,
        readings=thread.cost.samples,
    )
    write_atomically(facts, described.model_dump_json(indent=2).encode() + b"\n")


def _opened(spool: Path) -> IO[str]:
    try:
        return spool.open("w")
    except OSError as error:
        raise StoreError(
            f"cannot write {spool}: {error.strerror or error}; free space or fix the permissions "
            "of the store, then run again"
        ) from error


class _Sampler(threading.Thread):
    """Reads each source at its own pace."""

    def __init__(self, sources: Sequence[Source], sink: IO[str]) -> None:
        super().__init__(name="telemetry", daemon=True)
        self._sources = sources
        self._sink = sink
        self._enough = threading.Event()
        self.cost = Cost(0.0, 0.0, 0)
        self._samples = 0
        with suppress(OSError):
            # The first reading lies before the load, so that its whole window is covered.
            for source in sources:
                self._keep(source.read())

    def run(self) -> None:
        cpu_s, begun = time.thread_time(), time.monotonic()
        # A full disk ends the sampling and not the run. The energy is then null with a reason.
        with suppress(OSError):
            self._sample(begun)
        self.cost = Cost(time.thread_time() - cpu_s, time.monotonic() - begun, self._samples)

    def _sample(self, begun: float) -> None:
        due = {index: begun + source.period_s for index, source in enumerate(self._sources)}
        while due and not self._enough.wait(max(0.0, min(due.values()) - time.monotonic())):
            now = time.monotonic()
            for index, source in enumerate(self._sources):
                if due[index] <= now:
                    self._keep(source.read())
                    # A reading that took long is not made up for by a burst of later ones.
                    due[index] = max(due[index] + source.period_s, now)
        for source in self._sources:
            self._keep(source.read())

    def stop(self) -> None:
        """Read everything once more, and wait for it."""
        self._enough.set()
        self.join(_JOIN_S)

    def _keep(self, readings: Iterable[Reading]) -> None:
        for reading in readings:
            self._samples += 1
            self._sink.write(json.dumps(reading) + "\n")
        self._sink.flush()


def _with_states(facts: SourceFacts, before: States, after: States) -> SourceFacts:
    devices = tuple(
        device.model_copy(
            update={
                "before": before.get(device.device, {}),
                "after": after.get(device.device, {}),
            }
        )
        for device in facts.devices
    )
    return facts.model_copy(update={"devices": devices})


def _merged(used: Sequence[EngineUse]) -> EngineUse:
    """Return which GPUs were used before or after: an engine may take its GPUs late."""
    known = [use for use in used if use.gpus is not None]
    # One look that could not tell leaves the whole unknown.
    if len(known) < len(used):
        return next(use for use in used if use.gpus is None)
    gpus = tuple(dict.fromkeys(gpu for use in known for gpu in use.gpus or ()))
    shared = tuple(dict.fromkeys(gpu for use in known for gpu in use.shared))
    how = max(known, key=lambda use: len(use.gpus or ())).how if known else "no GPU source"
    return EngineUse(gpus=gpus, shared=shared, how=how)
