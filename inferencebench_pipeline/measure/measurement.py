"""The measurement document: spec, traces identity, metrics, validity and provenance of one run."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from inferencebench_pipeline.measure.metrics import Metric
from inferencebench_pipeline.measure.provenance import Provenance, Sha256Hex
from inferencebench_pipeline.measure.spec import BenchmarkSpec
from inferencebench_pipeline.measure.traces import TracesInfo, ValidityFlag
from inferencebench_pipeline.runs import RunDirectory


class ClientReport(BaseModel):
    """How well the measuring client itself did: a client that was the bottleneck must say so."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    cpu_share: float = Field(ge=0)
    """CPU seconds of the measuring process per second of the window; 1.0 is one core."""
    lateness_p99_ms: float | None
    """How late requests left against their schedule, 99th percentile."""
    stamp_gap_p50_us: float | None
    """How much later this process saw a chunk than the kernel did, median."""
    stamp_gap_p99_us: float | None
    kernel_stamp_share: float | None
    """Share of chunks that the kernel stamped; the others carry this process's clock."""
    retried_requests: int = Field(ge=0)
    """Requests sent again because a reused connection closed before its first byte."""
    clock_step_us: float
    """How far the wall clock was stepped against the monotonic one during the run."""


class Measurement(BaseModel):
    """The content of ``measurement.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal["1"] = "1"
    run_id: str
    started_at: AwareDatetime
    finished_at: AwareDatetime
    spec: BenchmarkSpec
    traces: TracesInfo
    metric_definitions: str
    metrics: dict[str, Metric]
    validity: tuple[ValidityFlag, ...]
    provenance: Provenance
    workload_sha256: Sha256Hex
    """SHA-256 of what was sent: every request body in order."""
    schedule_sha256: Sha256Hex
    """SHA-256 of when it was to be sent: the arrival offsets, or the closed loop's settings."""
    client: ClientReport


def build_measurement(run: RunDirectory) -> Measurement:
    """Return the measurement of a run from its capture and its traces file."""
    raise NotImplementedError
