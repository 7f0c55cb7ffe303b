"""One request and its answer as the client saw them: instants, reads and bytes, nothing parsed."""

from __future__ import annotations

from dataclasses import dataclass, field

from inferencebench_pipeline.measure.client.pacing import Phase


@dataclass(slots=True)
class Read:
    """One read of the answer: its bytes, their arrival, and the moment this process saw them."""

    seen_ns: int
    kernel_ns: int | None
    """The time at which the kernel received the bytes; None when it gave no usable stamp."""
    data: bytes


@dataclass(slots=True)
class Exchange:
    """A request on its way; all instants are nanoseconds after the run's origin."""

    index: int
    phase: Phase
    prompt_id: str
    scheduled_ns: int
    repeat: int = 1
    """The number of the repeat that the request belongs to, from 1 on."""
    repeat_origin_ns: int = 0
    """The start of that repeat after the run's origin. The spool's instants count from there."""
    attempt: int = 1
    connect_started_ns: int | None = None
    connected_ns: int | None = None
    """The time at which its connection was established, before the origin on one opened in
    advance."""
    sent_ns: int | None = None
    end_ns: int = 0
    error_class: str | None = None
    """The error on the wire. An error within the answer is found when it is decoded."""
    error_detail: str | None = None
    reads: list[Read] = field(default_factory=list)

    def restart(self) -> None:
        """Forget the first attempt, of which not a byte came back."""
        self.attempt += 1
        self.connect_started_ns = self.connected_ns = self.sent_ns = None
        self.reads.clear()
