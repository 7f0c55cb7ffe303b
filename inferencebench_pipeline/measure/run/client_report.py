"""The measuring client's report on itself, as ``measurement.json`` and the envelope state it."""

from __future__ import annotations

from pydantic import Field

from inferencebench_pipeline.documents import DocumentPart


class ClientReport(DocumentPart):
    """The measuring client's account of itself, which tells whether it was the bottleneck."""

    cpu_share: float = Field(ge=0)
    """The CPU seconds of the measuring process per second of the window. 1.0 is one core."""
    lateness_p99_ms: float | None
    """The 99th percentile of the delay of requests against their schedule, in milliseconds."""
    stamp_gap_p50_us: float | None
    """The median delay between the kernel's stamp of a chunk and ours, in microseconds."""
    stamp_gap_p99_us: float | None
    """The 99th percentile of the same delay, in microseconds."""
    kernel_stamp_share: float | None
    """The share of reads that the kernel stamped. The others carry this process's clock."""
    retried_requests: int = Field(ge=0)
    """The number of requests sent again because a reused connection closed before its first
    byte."""
    clock_step_us: float
    """The largest step of the wall clock against the monotonic one during the run, in
    microseconds."""
    clock_drift_us: float | None = None
    """The change of the distance between the two clocks over the run, signed, in microseconds."""
    shared_arrival_share: float | None = None
    """The share of text chunks with exactly the arrival of the text chunk before them: the engine
    sent them together, or the client was late and the kernel merged them."""
