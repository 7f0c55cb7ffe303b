"""What a telemetry source is, and the readings and facts that it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

SourceName = Literal["nvml", "rapl", "host"]


class Reading(NamedTuple):
    """One value of one device at one instant."""

    time_ns: int
    """CLOCK_MONOTONIC, the clock of the measuring client."""
    source: SourceName
    device: str
    quantity: str
    """With its unit: ``power_mw``, ``energy_uj`` ..."""
    value: float | None
    """None when the reading failed: a gap, and never a zero."""


class DeviceFacts(BaseModel):
    """A device that is sampled, and its state before and after the load."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str
    """Unique in its source: a GPU's UUID, a RAPL zone with its name."""
    name: str
    counter_range: float | None = None
    """At what value its energy counter starts again from zero, in the counter's unit."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}


class SourceFacts(BaseModel):
    """What a source can see, and why it cannot see more."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: SourceName
    devices: tuple[DeviceFacts, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Cost:
    """What sampling itself cost."""

    cpu_s: float
    wall_s: float
    samples: int


class Source(Protocol):
    """Something that can be read again and again."""

    name: SourceName
    period_s: float
    """How long to wait between two readings."""

    def read(self) -> list[Reading]:
        """Return what every device says now; a value that cannot be read is None."""
        ...

    def facts(self) -> SourceFacts:
        """Return what there is to read, and why not more."""
        ...

    def state(self) -> dict[str, dict[str, Any]]:
        """Return each device's slow-moving state: driver, clocks, limits, error counts."""
        ...
