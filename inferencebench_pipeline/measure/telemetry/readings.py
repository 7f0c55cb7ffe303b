"""The interface of a telemetry source, and the readings and facts that it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from pydantic import Field

from inferencebench_pipeline.documents import DocumentPart

SourceName = Literal["nvml", "rapl", "host"]


class Reading(NamedTuple):
    """One value of one device at one instant."""

    time_ns: int
    """CLOCK_MONOTONIC, the clock of the measuring client."""
    source: SourceName
    device: str
    quantity: str
    """The name of the quantity with its unit, for example ``power_mw`` or ``energy_uj``."""
    value: float | None
    """The value; None when the reading failed, which is a gap and never a zero."""


class DeviceFacts(DocumentPart):
    """A device that is sampled, and its state before and after the load."""

    device: str
    """The name of the device, unique in its source: a GPU's UUID, or a RAPL zone with its name."""
    name: str
    """The name of the device for people."""
    counter_range: float | None = None
    """The value at which the energy counter starts again from zero, in the counter's unit."""
    before: dict[str, Any] = Field(default_factory=dict)
    """The state of the device before the load."""
    after: dict[str, Any] = Field(default_factory=dict)
    """The state of the device after the load."""


class SourceFacts(DocumentPart):
    """The devices that a source can see, and the reasons why it cannot see more."""

    source: SourceName
    """The name of the source."""
    devices: tuple[DeviceFacts, ...]
    """The devices that it can see."""
    reasons: tuple[str, ...]
    """The reasons why it cannot see more."""


@dataclass(frozen=True)
class Cost:
    """The cost of sampling itself."""

    cpu_s: float
    wall_s: float
    samples: int


class Source(Protocol):
    """Something that can be read again and again."""

    name: SourceName
    period_s: float
    """The time between two readings, in seconds."""

    def read(self) -> list[Reading]:
        """Return the readings of every device now; a value that cannot be read is None."""
        ...

    def facts(self) -> SourceFacts:
        """Return the devices that can be read, and the reasons why there are no more."""
        ...

    def state(self) -> dict[str, dict[str, Any]]:
        """Return each device's slow-moving state: driver, clocks, limits, error counts."""
        ...
