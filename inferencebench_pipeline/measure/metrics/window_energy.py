"""The energy drawn during a measured window, as the traces file's metadata states it."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field, model_validator


class WindowEnergy(BaseModel):
    """Joules drawn from the start to the end of one repeat's measured window, or why unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    joules: float | None = Field(gt=0)
    """Null when unmeasured, never 0."""
    source: str | None = None
    """What was read, for example ``nvml_total_energy``."""
    null_reason: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> WindowEnergy:
        if (self.joules is None) != (self.null_reason is not None):
            raise ValueError("energy has either joules or a reason why there are none")
        return self


NO_TELEMETRY: Final = WindowEnergy(joules=None, null_reason="no telemetry was recorded")
"""Of a run whose traces say nothing about energy."""
