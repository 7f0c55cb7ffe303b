"""The report on a run's telemetry: its devices before and after, and the energy of its windows.

These are the documents alone, for readers of a record. Nothing here asks a device.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.measure.provenance.document import Sha256Hex
from inferencebench_pipeline.measure.telemetry.readings import SourceFacts

EnergySource = Literal["nvml_total_energy", "nvml_power", "rapl", "none"]


class DeviceEnergy(DocumentPart):
    """The energy of one device in the window."""

    device: str
    """The name of the device in its source."""
    joules: float = Field(ge=0)
    """The energy in joules."""
    integral_joules: float | None = None
    """The integral of the power over the same window in joules, to check the counter by."""
    largest_gap_s: float
    """The longest time between two readings, in seconds."""


class Energy(DocumentPart):
    """The energy of a window. ``joules`` is null, never 0, when it was not measured."""

    joules: float | None
    """The energy of all devices in joules."""
    valid: bool
    """True when ``joules`` may be reported. Otherwise ``reasons`` say why not."""
    source: EnergySource
    """The counter or power reading that the energy comes from."""
    window_s: float
    """The length of the window, in seconds."""
    devices: tuple[DeviceEnergy, ...]
    """The energy of each device."""
    reasons: tuple[str, ...]
    """The reasons why the energy is unmeasured or in doubt."""

    @property
    def reportable_joules(self) -> float | None:
        """Return the joules that a metric may rest on: null when unmeasured or in doubt."""
        return self.joules if self.valid else None


class EngineUse(DocumentPart):
    """The GPUs with a compute process of the engine, as the driver lists them."""

    gpus: tuple[str, ...] | None
    """The UUIDs of the GPUs. It is empty for an engine that computes on the CPU, and null when
    nobody can tell."""
    shared: tuple[str, ...] = ()
    """The GPUs among them that other processes computed on too."""
    how: str
    """The way in which this is known, or the reason why it is not."""


class TelemetryReport(DocumentPart):
    """The telemetry of a run in ``measurement.json``; the readings are in ``telemetry.parquet``."""

    engine: EngineUse
    """The GPUs that the engine's processes really used."""
    sources: tuple[SourceFacts, ...]
    """The sources that were read."""
    energy: tuple[Energy, ...]
    """The energy of the measured window of each repeat, in their order."""
    throttled: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """The reasons why each GPU's clocks were held down while it was measured. Idling is no
    reason."""
    sampler_cpu_share: float = Field(ge=0)
    """The CPU seconds of sampling per second. 1.0 is one core."""
    readings: int = Field(ge=0)
    """The number of readings."""
    file_sha256: Sha256Hex | None
    """The SHA-256 of ``telemetry.parquet``, null when nothing was sampled."""

    @property
    def energy_joules(self) -> float | None:
        """Return the joules of all measured windows; null unless every one was measured well."""
        joules = [energy.reportable_joules for energy in self.energy]
        if not joules or any(value is None for value in joules):
            return None
        return sum(value for value in joules if value is not None)

    @property
    def energy_null_reason(self) -> str | None:
        """Return the reason why :attr:`energy_joules` is null, or None when it is not."""
        if self.energy_joules is not None:
            return None
        reasons = dict.fromkeys(reason for energy in self.energy for reason in energy.reasons)
        return "; ".join(reasons) or "nothing was measured"
