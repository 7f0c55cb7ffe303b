"""The measurement document: spec, traces identity, metrics, validity and provenance of one run."""

from __future__ import annotations

from array import array
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from pydantic import AwareDatetime, ValidationError

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.measure.audit.audit import audit, audit_flags
from inferencebench_pipeline.measure.audit.document import EngineAudit
from inferencebench_pipeline.measure.client.capture import Capture, Completion, read_spool
from inferencebench_pipeline.measure.errors import CaptureError
from inferencebench_pipeline.measure.metrics.compute import (
    METRIC_DEFINITIONS_VERSION,
    Metric,
    compute_metrics,
)
from inferencebench_pipeline.measure.provenance.document import Provenance, Sha256Hex
from inferencebench_pipeline.measure.run.client_report import ClientReport
from inferencebench_pipeline.measure.run.conduct_report import ConductReport
from inferencebench_pipeline.measure.run.settling import conduct_report
from inferencebench_pipeline.measure.run.trace_writer import (
    Traces,
    TracesInfo,
    ValidityFlag,
    check_traces,
    open_traces,
    traces_info,
)
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec
from inferencebench_pipeline.measure.telemetry.report import TelemetryReport
from inferencebench_pipeline.measure.telemetry.summary import telemetry_flags, write_telemetry
from inferencebench_pipeline.measure.traces.order import ChunkFacts
from inferencebench_pipeline.runs import RunDirectory, RunFile

_BUSY_CLIENT_SHARE: Final = 0.8
_MOST_CLOCK_STEP_US: Final = 50.0
_MOST_SHARED_ARRIVALS: Final = 0.01


class Measurement(DocumentPart):
    """The content of ``measurement.json``."""

    schema_version: Literal["1"] = "1"
    """The version of the form of the document."""
    run_id: str
    """The run id, a UUIDv7."""
    started_at: AwareDatetime
    """The time at which the run started."""
    finished_at: AwareDatetime
    """The time at which the run ended."""
    spec: BenchmarkSpec
    """The spec with every default filled in."""
    traces: TracesInfo
    """The traces file that the metrics are computed from."""
    metric_definitions: str
    """The version of the metric definitions."""
    metrics: dict[str, Metric]
    """The metrics by their names."""
    validity: tuple[ValidityFlag, ...]
    """The statements about the trust that the measurement deserves."""
    provenance: Provenance
    """The model, engine, machine and code."""
    workload_sha256: Sha256Hex
    """The SHA-256 of the recipe of the workload: the prompts and how to answer them, before salting
    and without the model."""
    schedule_sha256: Sha256Hex
    """The SHA-256 of the arrival offsets, or of the settings of a closed loop."""
    client: ClientReport
    """The measuring client's account of itself."""
    audit: EngineAudit | None = None
    """The engine's own account of the same requests."""
    telemetry: TelemetryReport | None = None
    """The machine's state during the load, and the joules it took. It is null in older
    measurements."""
    conduct: ConductReport | None = None
    """The repeats, the looks that ended them, and the time that each took to settle."""


def build_measurement(run: RunDirectory) -> Measurement:
    """Return the measurement of a run from its capture and its traces file.

    Raises:
        MissingRunFileError: ``traces.parquet`` has not been written.
        DamagedRunFileError: it has changed since.
        CaptureError: the capture is incomplete or damaged.
        TracesError: the traces file is damaged.
    """
    capture = Capture(run)
    completion = capture.require_completion()
    spec = capture.spec()
    path = run.require_as_written(RunFile.TRACES)
    traces = open_traces(path)
    client = _client_report(capture, completion, traces)
    engine_audit = audit(capture, traces.rows)
    telemetry = write_telemetry(capture, traces.rows)
    return Measurement(
        run_id=run.run_id,
        started_at=completion.started_at,
        finished_at=completion.finished_at,
        spec=spec,
        traces=traces_info(path, traces),
        metric_definitions=METRIC_DEFINITIONS_VERSION,
        metrics=compute_metrics(traces, spec.slo),
        validity=(
            *check_traces(traces),
            *_client_flags(client),
            *audit_flags(engine_audit),
            *telemetry_flags(telemetry),
        ),
        provenance=capture.provenance(),
        workload_sha256=completion.workload_sha256,
        schedule_sha256=completion.schedule_sha256,
        client=client,
        audit=engine_audit,
        telemetry=telemetry,
        conduct=conduct_report(capture, traces),
    )


def write_measurement(run: RunDirectory) -> Measurement:
    """Write ``measurement.json`` and return its content; errors as in :func:`build_measurement`."""
    with run.writing("writing the measurement"):
        measurement = build_measurement(run)
        run.write(RunFile.MEASUREMENT, measurement.model_dump_json(indent=2).encode() + b"\n")
    return measurement


def read_measurement(run: RunDirectory) -> Measurement:
    """Return the measurement of ``run`` as it was written.

    Raises:
        MissingRunFileError: the run is not measured yet.
        DamagedRunFileError: it has changed since.
        CaptureError: it is no measurement, or that of another run.
    """
    path, data = run.file(RunFile.MEASUREMENT), run.read_as_written(RunFile.MEASUREMENT)
    try:
        measurement = Measurement.model_validate_json(data)
    except ValidationError as error:
        raise CaptureError(
            f"{path} is damaged ({error.error_count()} problems); materialise the traces again"
        ) from error
    if measurement.run_id != run.run_id:
        raise CaptureError(
            f"{path} is of run {measurement.run_id}, not of {run.run_id}; materialise the traces "
            "again"
        )
    return measurement


def _client_report(capture: Capture, completion: Completion, traces: Traces) -> ClientReport:
    gaps = array("q")
    reads = retried = 0
    # From the spool: a chunk of the traces has one stamp, and only a read has both clocks.
    for exchange in read_spool(capture.spool):
        retried += exchange.attempt > 1
        reads += len(exchange.reads)
        gaps.extend(
            read.seen_ns - read.kernel_ns for read in exchange.reads if read.kernel_ns is not None
        )
    # A request that was never sent was not late, but failed.
    sent = traces.rows.filter(pc.is_valid(traces.rows.column("sent_ns")))
    late = sent.column("sent_ns").to_numpy() - sent.column("scheduled_ns").to_numpy()
    stamped = np.frombuffer(gaps, dtype=np.int64)
    loop = completion.loop
    return ClientReport(
        cpu_share=loop.window_cpu_ns / loop.window_wall_ns if loop.window_wall_ns else 0.0,
        lateness_p99_ms=_percentile(late, 99, 1e6),
        stamp_gap_p50_us=_percentile(stamped, 50, 1e3),
        stamp_gap_p99_us=_percentile(stamped, 99, 1e3),
        kernel_stamp_share=len(gaps) / reads if reads else None,
        retried_requests=retried,
        clock_step_us=loop.clock_step_ns / 1e3,
        clock_drift_us=loop.clock_drift_ns / 1e3,
        shared_arrival_share=_shared_arrivals(traces),
    )


def _shared_arrivals(traces: Traces) -> float | None:
    facts = ChunkFacts.of(traces)
    # The first text chunk of an answer has none before it whose arrival it could share.
    gaps = int(np.maximum(facts.text - 1, 0).sum())
    return int(facts.shared.sum()) / gaps if gaps else None


def _percentile(values: npt.NDArray[np.int64], percent: float, unit: float) -> float | None:
    return float(np.percentile(values, percent)) / unit if len(values) else None


def _client_flags(client: ClientReport) -> tuple[ValidityFlag, ...]:
    """Return the statements about the measurement that follow from the client's own report."""
    busy = client.cpu_share > _BUSY_CLIENT_SHARE
    stepped = client.clock_step_us > _MOST_CLOCK_STEP_US
    shared = client.shared_arrival_share or 0.0
    return (
        ValidityFlag(
            name="client_not_the_bottleneck",
            ok=not busy,
            severity="warn",
            detail=f"the client used {client.cpu_share:.0%} of a core"
            + (
                f", more than {_BUSY_CLIENT_SHARE:.0%}: it slowed the run down; raise "
                "client.processes"
                if busy
                else ""
            ),
        ),
        ValidityFlag(
            name="clock_steady",
            ok=not stepped,
            severity="warn",
            detail=f"the wall clock moved {client.clock_step_us:.1f} us against the monotonic one"
            + (", so kernel stamps may be off by as much" if stepped else ""),
        ),
        ValidityFlag(
            name="arrivals_told_apart",
            ok=shared <= _MOST_SHARED_ARRIVALS,
            severity="warn",
            detail=f"{shared:.1%} of text chunks share the arrival of the one before: sent "
            "together by the engine, or merged by the kernel because the client was late",
        ),
    )
