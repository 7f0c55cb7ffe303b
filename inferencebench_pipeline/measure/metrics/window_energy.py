"""The energy drawn during a measured window, as the traces file's metadata states it."""

from __future__ import annotations

from typing import Final

from pydantic import Field, model_validator

from inferencebench_pipeline.documents import DocumentPart


class WindowEnergy(DocumentPart):
    """The energy drawn in one repeat's measured window, or the reason why it is unknown."""

    joules: float | None = Field(gt=0)
    """The energy in joules, null and never 0 when it was not measured."""
    source: str | None = None
    """The counter that was read, for example ``nvml_total_energy``."""
    null_reason: str | None = None
    """The reason why the energy is unknown."""

    @model_validator(mode="after")
    def _one_of_both(self) -> WindowEnergy:
        if (self.joules is None) != (self.null_reason is not None):
            raise ValueError("energy has either joules or a reason why there are none")
        return self


NO_TELEMETRY: Final = WindowEnergy(joules=None, null_reason="no telemetry was recorded")
"""The energy of a run whose traces say nothing about it."""
