"""Runs a benchmark: engine, provenance, the measuring client, and a complete capture at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from inferencebench_pipeline.measure import errors
from inferencebench_pipeline.measure.client.capture import (
    ENGINE_LOG,
    PROVENANCE,
    Capture,
    Completion,
    LoopFacts,
    read_spool,
)
from inferencebench_pipeline.measure.client.completion import bound_files
from inferencebench_pipeline.measure.client.decoder import decode
from inferencebench_pipeline.measure.engines.http import RunningEngine
from inferencebench_pipeline.measure.engines.start import engine_for
from inferencebench_pipeline.measure.metrics.compute import compute_metrics
from inferencebench_pipeline.measure.provenance.document import DatasetProvenance, Provenance
from inferencebench_pipeline.measure.provenance.host import collect_host
from inferencebench_pipeline.measure.provenance.software import collect_software
from inferencebench_pipeline.measure.run.client_process import measure_repeat
from inferencebench_pipeline.measure.run.observation import observed, used_hardware_class
from inferencebench_pipeline.measure.run.own_spec import own_spec
from inferencebench_pipeline.measure.run.progress import Progress, ProgressReport
from inferencebench_pipeline.measure.run.stopping_rule import CONDUCT, Conduct, Look, look
from inferencebench_pipeline.measure.run.token_check import count_answers
from inferencebench_pipeline.measure.run.trace_writer import table_of
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec, spec_json
from inferencebench_pipeline.measure.spec.stated_parts import Repeats
from inferencebench_pipeline.measure.workloads.recipe import Recipe, recipe_of
from inferencebench_pipeline.measure.workloads.request_plan import keep_workload
from inferencebench_pipeline.measure.workloads.resolution import resolve
from inferencebench_pipeline.measure.workloads.tokenizer import Tokenizer, engine_tokenizer
from inferencebench_pipeline.runs import RunDirectory, RunFile
from inferencebench_pipeline.untrusted import within


@dataclass(frozen=True)
class CaptureSummary:
    """The summary of a complete capture."""

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
    not is moved aside as ``capture.incomplete-N``, and everything is measured again; so is one that
    is damaged, unless the run has been signed. A run that has a ``spec.json`` is measured by it.

    Args:
        spec: what to measure.
        run: where; its directory need not exist.
        on_progress: called in this thread a few times a second.

    Raises:
        SpecError: the spec asks for what is not there, or is another than the run's own.
        CaptureError: the capture of a signed run, or of another host's delivery, is damaged.
        RunBusyError: another process works on the run.
        EngineUnreachableError: the engine does not start or answer; worth retrying.
        EngineDiedError: the engine went away in the middle; worth retrying.
        EngineMissingError: an engine that we start is not installed.
        EngineAccessError: the engine refuses our API key.
        EngineAnswerError: what answers at the engine's address is no engine.
        ModelNotServedError: the engine serves other models.
        AllRequestsFailedError: no measured request succeeded; the capture tells why.
        RunDeadlineError: ``deadlines.run_s`` passed.
        CaptureTooLargeError: the answers come to more than ``limits.capture_bytes``.
        StoreError: the run directory is not writable.
    """
    with run.writing("measuring"):
        return _run_benchmark(spec, run, on_progress)


def _run_benchmark(
    spec: BenchmarkSpec, run: RunDirectory, on_progress: Callable[[Progress], None]
) -> CaptureSummary:
    capture = Capture(run)
    run.mend_digests()
    if run.has(RunFile.SPEC):
        spec = own_spec(spec, run)
    elif os.path.lexists(capture.path):
        # Of a capture without its spec nobody can tell what it measured, so no other stands in.
        run.require(RunFile.SPEC)
    usable = _usable_completion(capture)
    if isinstance(usable, Completion):
        return _summary(capture, usable)
    _require_measured_here(run)
    resolved = resolve(spec)
    recipe = recipe_of(resolved.workload, resolved.seed)  # what is missing fails before all else
    started_at = datetime.now(UTC)
    capture.begin(why=usable)
    run.write(RunFile.SPEC, spec_json(resolved))
    report = ProgressReport(on_progress, resolved.repeats.at_most)
    report.say("starting engine")
    with engine_for(resolved, capture.path / ENGINE_LOG) as engine:
        capture.write(PROVENANCE, collect_provenance(engine, recipe))
        report.say("preparing prompts")
        with within(resolved.deadlines.run_s):  # all the engine's counting of tokens together
            keep_workload(capture.path, resolved, recipe, lambda: _tokenizer(resolved, engine))
        with observed(engine, resolved, capture):
            conduct = _measure_repeats(resolved, capture, engine, report)
        if recipe.needs_tokenizer:
            count_answers(capture, lambda: _tokenizer(resolved, engine), resolved.load.requests)
    capture.write(CONDUCT, conduct)
    # Last of all, since it names the digests of all other files.
    completion = _complete(capture, started_at, conduct.repeats)
    summary = _summary(capture, completion)
    report.say("finishing", completion.requests, completion.requests, completion.failed)
    # Only now: the complete capture tells why everything failed.
    if completion.succeeded == 0:
        raise errors.AllRequestsFailedError(_all_failed(capture))
    return summary


def _usable_completion(capture: Capture) -> Completion | str | None:
    """Return the completion of a capture that is whole and measured something.

    Otherwise what is wrong with the one that is there, which is measured again; None when there is
    nothing to say.

    Raises:
        CaptureError: it is damaged, and the run has been signed: what is signed was measured once.
    """
    try:
        if capture.completion() is None:
            return None
        completion = capture.require_completion()
    except errors.CaptureError as error:
        if _is_signed(capture.run):
            raise
        return str(error)
    return completion if completion.succeeded > 0 else "no measured request succeeded"


def _require_measured_here(run: RunDirectory) -> None:
    """Refuse to start an engine as the spec of a delivery says: another host wrote it.

    Raises:
        CaptureError: the run was delivered by another host, and its capture is not complete.
    """
    if run.has(RunFile.DELIVERY):
        raise errors.CaptureError(
            f"run {run.run_id} was delivered by another host, and its capture is damaged or holds "
            "nothing that succeeded; it is never measured here. Measure it again where it was, "
            "and deliver that under a run id of its own"
        )


def _is_signed(run: RunDirectory) -> bool:
    """Return whether a signature of the run's record exists, or ever did."""
    names = (RunFile.SIGNATURE, RunFile.ENVELOPE, RunFile.VERDICT, RunFile.PUBLICATION)
    return any(os.path.lexists(run.file(name)) or run.was_written(name.value) for name in names)


def _tokenizer(spec: BenchmarkSpec, engine: RunningEngine) -> Tokenizer:
    name = spec.model.served_name or spec.model.id
    return engine_tokenizer(engine.base_url, name, engine.access)


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


def _measure_repeats(
    spec: BenchmarkSpec, capture: Capture, engine: RunningEngine, report: ProgressReport
) -> Conduct:
    """Measure repeat after repeat until the spec's rule is satisfied."""
    rule = spec.repeats
    looks: list[Look] = []
    values: list[dict[str, float | None]] = []
    while True:
        if report.repeat > 1:
            time.sleep(rule.pause_s)
        measure_repeat(spec, capture, engine, report)
        # A fixed number of repeats stops at no look, so none is taken.
        if rule.most is not None:
            values.append(_metrics_of_repeat(capture, report.repeat, spec))
            if report.repeat >= rule.least:
                looks.append(look(rule, values))
        if why := _enough(rule, report.repeat, looks):
            return Conduct(
                repeats=report.repeat, rule=rule, looks=tuple(looks), stopped_because=why
            )
        report.repeat += 1


def _metrics_of_repeat(
    capture: Capture, repeat: int, spec: BenchmarkSpec
) -> dict[str, float | None]:
    """Return the metrics of one repeat by itself, as the traces will give them."""
    requests = (each for each in read_spool(capture.spool) if each.repeat == repeat)
    metrics = compute_metrics(table_of(requests), spec.slo)
    return {name: metric.value for name, metric in metrics.items()}


def _enough(rule: Repeats, repeats: int, looks: list[Look]) -> str | None:
    """Return the reason why there are enough repeats; None while there are not."""
    if looks and looks[-1].narrow_enough:
        return f"the intervals over {repeats} repeats are narrow enough"
    if repeats < rule.at_most:
        return None
    if rule.most is None:
        return f"{repeats} repeats were asked for"
    return f"repeats.most = {repeats} was reached before the intervals were narrow enough"


def _complete(capture: Capture, started_at: datetime, repeats: int) -> Completion:
    """Write ``complete.json``: from here on the capture is complete."""
    # The client decodes nothing while it measures, so successes are counted here.
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
        files=bound_files(capture.run),
        loop=_together([capture.loop_facts(repeat) for repeat in range(1, repeats + 1)]),
    )
    capture.complete(completion)
    return completion


def _together(repeats: list[LoopFacts]) -> LoopFacts:
    """Return the report of the clients of all repeats, from the first one's origin."""
    return repeats[0].model_copy(
        update={
            "window_cpu_ns": sum(loop.window_cpu_ns for loop in repeats),
            "window_wall_ns": sum(loop.window_wall_ns for loop in repeats),
            "clock_step_ns": max(loop.clock_step_ns for loop in repeats),
        }
    )


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
    """Return the failures of measured requests by class, each with one example."""
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
