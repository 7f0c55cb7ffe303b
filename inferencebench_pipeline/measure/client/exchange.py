"""One request and its answer as the client saw them: instants, reads and bytes, nothing parsed."""

from __future__ import annotations

from dataclasses import dataclass, field

from inferencebench_pipeline.measure.client.pacing import Phase


@dataclass(slots=True)
class Read:
    """One read of the answer: what came, when it arrived, and when this process saw it."""

    seen_ns: int
    kernel_ns: int | None
    """When the kernel received it; None when it gave no usable stamp."""
    data: bytes


@dataclass(slots=True)
class Exchange:
    """A request on its way; all instants are nanoseconds after the run's origin."""

    index: int
    phase: Phase
    prompt_id: str
    scheduled_ns: int
    repeat: int = 1
    """Which of the run's independent repeats it belongs to, counted from 1."""
    repeat_origin_ns: int = 0
    """When that repeat began, after the run's origin: the spool's instants count from there."""
    attempt: int = 1
    connect_started_ns: int | None = None
    connected_ns: int | None = None
    """When its connection was established: before the origin, on one opened in advance."""
    sent_ns: int | None = None
    end_ns: int = 0
    error_class: str | None = None
    """What went wrong on the wire; what the answer says is found out when it is decoded."""
    error_detail: str | None = None
    reads: list[Read] = field(default_factory=list)

    def restart(self) -> None:
        """Forget the first attempt, of which not a byte came back."""
        self.attempt += 1
        self.connect_started_ns = self.connected_ns = self.sent_ns = None
        self.reads.clear()
