"""Runs a benchmark: engine, provenance, the measuring client, and a complete capture at the end."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from inferencebench_pipeline.errors import PermanentError, PipelineError
from inferencebench_pipeline.measure import errors
from inferencebench_pipeline.measure.capture import (
    CLIENT_LOG,
    COMPLETE,
    ENGINE_LOG,
    PROVENANCE,
    Capture,
    Completion,
    read_spool,
)
from inferencebench_pipeline.measure.child import log_tail, running_child
from inferencebench_pipeline.measure.decode import decode
from inferencebench_pipeline.measure.engines import RunningEngine, engine_for
from inferencebench_pipeline.measure.host import collect_host
from inferencebench_pipeline.measure.observation import observed, used_hardware_class
from inferencebench_pipeline.measure.provenance import DatasetProvenance, Provenance
from inferencebench_pipeline.measure.software import collect_software
from inferencebench_pipeline.measure.spec import BenchmarkSpec, EmbeddedEngine, resolve, spec_json
from inferencebench_pipeline.measure.workload import keep_workload
from inferencebench_pipeline.measure.workloads.recipe import Recipe, recipe_of
from inferencebench_pipeline.measure.workloads.tokenizer import Tokenizer, engine_tokenizer
from inferencebench_pipeline.runs import RunDirectory, RunFile, StoreError

_POLL_S: Final = 0.25
_DYING_S: Final = 2.0
"""A client can see an engine's connections close before the engine's process has ended."""
_DEADLINE_GRACE_S: Final = 30.0
"""The client keeps ``run_s`` itself; past this it hangs, and is stopped from outside."""

_CLIENT_ERRORS: Final[dict[str, type[PipelineError]]] = {
    kind.__name__: kind
    for kind in (
        errors.EngineUnreachableError,
        errors.EngineDiedError,
        errors.RunDeadlineError,
        errors.SpecError,
        errors.CaptureError,
        StoreError,
    )
}


class ClientFailedError(PermanentError):
    """The measuring client ended in a way it should not; its log says more."""


@dataclass(frozen=True)
class Progress:
    """How far a run is. Counts are of ended requests."""

    stage: str
    """``starting engine``, ``preparing prompts``, ``warming up``, ``measuring``, ``finishing``."""
    done: int
    total: int
    failed: int
    elapsed_s: float


@dataclass(frozen=True)
class CaptureSummary:
    """What a complete capture holds."""

    run_id: str
    path: Path
    requests: int
    succeeded: int
    failed: int
    started_at: datetime
    finished_at: datetime
    engine: str
    warnings: tuple[str, ...]


def run_benchmark(
    spec: BenchmarkSpec, run: RunDirectory, *, on_progress: Callable[[Progress], None]
) -> CaptureSummary:
    """Measure ``spec`` into ``run``: ``spec.json`` and a complete ``capture/``.

    A capture that is already complete is left as it is, and its summary returned. One that is
    not is moved aside as ``capture.incomplete-N``, and everything is measured again.

    Args:
        spec: what to measure.
        run: where; its directory need not exist.
        on_progress: called in this thread a few times a second.

    Raises:
        SpecError: the spec asks for what is not there, or the run holds that of another spec.
        EngineUnreachableError: the engine does not start or answer; worth retrying.
        EngineDiedError: the engine went away in the middle; worth retrying.
        EngineMissingError: an engine that we start is not installed.
        EngineAccessError: the engine refuses our API key.
        ModelNotServedError: the engine serves other models.
        AllRequestsFailedError: no measured request succeeded; the capture tells why.
        RunDeadlineError: ``deadlines.run_s`` passed.
        StoreError: the run directory is not writable.
    """
    capture = Capture(run)
    completion = _usable_completion(capture)
    if completion is not None:
        _require_same_spec(spec, capture)
        return _summary(capture, completion)
    resolved = resolve(spec)
    recipe = recipe_of(resolved.workload, resolved.seed)  # what is missing fails before all else
    started_at = datetime.now(UTC)
    capture.begin()
    run.write(RunFile.SPEC, spec_json(resolved))
    clock = _Clock(on_progress)
    clock.report("starting engine", 0, 0, 0)
    with engine_for(resolved, capture.path / ENGINE_LOG) as engine:
        capture.write(PROVENANCE, collect_provenance(engine, recipe))
        clock.report("preparing prompts", 0, 0, 0)
        keep_workload(capture.path, resolved, recipe, lambda: _tokenizer(resolved, engine))
        with observed(engine, resolved, capture):
            _measure(resolved, capture, engine, clock)
    completion = _complete(capture, started_at)
    summary = _summary(capture, completion)
    clock.report("finishing", completion.requests, completion.requests, completion.failed)
    if completion.succeeded == 0:
        raise errors.AllRequestsFailedError(_all_failed(capture))
    return summary


def _usable_completion(capture: Capture) -> Completion | None:
    """Return the completion of a capture that is whole and measured something."""
    try:
        if capture.completion() is None:
            return None
        completion = capture.require_completion()
    except errors.CaptureError:
        return None  # damaged: measured again, and kept aside
    return completion if completion.succeeded > 0 else None


def _require_same_spec(spec: BenchmarkSpec, capture: Capture) -> None:
    """Refuse to pass off a complete capture of one spec as that of another.

    What :func:`resolve` takes from the host is taken from the record: another host may look.
    """
    recorded = capture.spec()
    resolved = resolve(spec)
    if isinstance(spec.engine, EmbeddedEngine) and spec.engine.threads is None:
        resolved = resolved.model_copy(update={"engine": recorded.engine})
    if resolved != recorded:
        raise errors.SpecError(
            f"run {capture.run.run_id} already holds a complete capture of another spec "
            f"({recorded.name}); measure {spec.name} under a new run id"
        )


def _tokenizer(spec: BenchmarkSpec, engine: RunningEngine) -> Tokenizer:
    name = spec.model.served_name or spec.model.id
    return engine_tokenizer(engine.base_url, name, engine.api_key_env)


def collect_provenance(engine: RunningEngine, recipe: Recipe) -> Provenance:
    """Return on what, with what and from what a measurement is made, as far as it can be known."""
    host = collect_host()
    software = collect_software(host.value.nvidia_smi_q_hash)
    return Provenance(
        model=engine.model,
        engine=engine.engine,
        quantization=engine.quantization,
        dataset=DatasetProvenance(id=recipe.dataset_id, hash=recipe.dataset_sha256),
        hardware=host.value.hardware,
        software=software.value,
        hardware_class=used_hardware_class(engine, host.value.hardware_class),
        warnings=(*engine.warnings, *host.warnings, *software.warnings),
    )


class _Clock:
    """Reports progress with the time since the run began."""

    def __init__(self, on_progress: Callable[[Progress], None]) -> None:
        self._on_progress = on_progress
        self._begun = time.monotonic()

    def report(self, stage: str, done: int, total: int, failed: int) -> None:
        elapsed_s = time.monotonic() - self._begun
        self._on_progress(Progress(stage, done, total, failed, elapsed_s))


def _measure(spec: BenchmarkSpec, capture: Capture, engine: RunningEngine, clock: _Clock) -> None:
    """Run the client process to its end, watching it and the engine."""
    command = [
        *(sys.executable, "-m", "inferencebench_pipeline.measure.client"),
        *("--run-id", capture.run.run_id),
        *("--run-directory", str(capture.run.path)),
        *("--base-url", engine.base_url),
    ]
    if engine.api_key_env:
        command += ["--api-key-env", engine.api_key_env]
    log = capture.path / CLIENT_LOG
    deadline = time.monotonic() + spec.deadlines.run_s + _DEADLINE_GRACE_S
    with running_child(command, log=log, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        for message in _messages(client.stdout, deadline):
            if message is None:
                _watch_engine(engine, capture)
            elif "error" in message:
                _watch_engine(engine, capture, patience_s=_DYING_S)
                kind = _CLIENT_ERRORS.get(message["error"], ClientFailedError)
                raise kind(message["message"])
            else:
                warming = message["measured"] == 0 and spec.load.warmup_requests > 0
                done = message["warmup"] + message["measured"]
                stage = "warming up" if warming else "measuring"
                clock.report(stage, done, message["total"], message["failed"])
        status = client.wait(_DEADLINE_GRACE_S)
    if status != 0:
        raise ClientFailedError(
            f"the measuring client ended with status {status}; the end of {log}: {log_tail(log)}"
        )


def _messages(stream: IO[bytes], deadline: float) -> Iterator[dict[str, Any] | None]:
    """Yield the client's messages as they come, and None whenever there was none for a while."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        rest = b""
        while True:
            if time.monotonic() > deadline:
                raise errors.RunDeadlineError(
                    "the measuring client hangs past deadlines.run_s; it was stopped"
                )
            if not selector.select(_POLL_S):
                yield None
                continue
            data = stream.read1(65_536)  # type: ignore[attr-defined]
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield json.loads(line)


def _watch_engine(engine: RunningEngine, capture: Capture, patience_s: float = 0.0) -> None:
    """Raise with the end of its log when an engine of ours has ended, or does within patience."""
    if engine.process is None:
        return
    with suppress(subprocess.TimeoutExpired):
        engine.process.wait(patience_s)
    if engine.process.poll() is not None:
        log = capture.path / ENGINE_LOG
        raise errors.EngineDiedError(
            f"the engine exited with status {engine.process.returncode} while it was being "
            f"measured; the end of {log}: {log_tail(log)}"
        )


def _complete(capture: Capture, started_at: datetime) -> Completion:
    """Write ``complete.json``: from here on the capture is complete."""
    succeeded = failed = requests = 0
    for exchange in read_spool(capture.spool):
        requests += 1
        if exchange.phase == "measured":
            good = decode(exchange).error_class is None
            succeeded += good
            failed += not good
    header = capture.header()
    completion = Completion(
        run_id=capture.run.run_id,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        spool_sha256=capture.spool_sha256(),
        workload_sha256=header.workload_sha256,
        schedule_sha256=header.schedule_sha256,
        requests=requests,
        succeeded=succeeded,
        failed=failed,
        loop=capture.loop_facts(),
    )
    capture.write(COMPLETE, completion)
    return completion


def _summary(capture: Capture, completion: Completion) -> CaptureSummary:
    provenance = capture.provenance()
    return CaptureSummary(
        run_id=completion.run_id,
        path=capture.path,
        requests=completion.requests,
        succeeded=completion.succeeded,
        failed=completion.failed,
        started_at=completion.started_at,
        finished_at=completion.finished_at,
        engine=f"{provenance.engine.name} {provenance.engine.version}",
        warnings=provenance.warnings,
    )


def _all_failed(capture: Capture) -> str:
    """Return how the measured requests failed, by class, each with one example."""
    counts: dict[str, int] = {}
    examples: dict[str, str] = {}
    for exchange in read_spool(capture.spool):
        if exchange.phase == "measured":
            answer = decode(exchange)
            name = answer.error_class or ""
            counts[name] = counts.get(name, 0) + 1
            examples.setdefault(name, answer.error_detail or "")
    listed = "; ".join(f"{counts[name]} x {name} ({examples[name]})" for name in sorted(counts))
    return (
        f"all {sum(counts.values())} measured requests of run {capture.run.run_id} failed: "
        f"{listed}; the capture is kept in {capture.path}"
    )
