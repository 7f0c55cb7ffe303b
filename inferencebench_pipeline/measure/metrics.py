"""The metrics: each one's definition, and how it is computed from the traces alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from inferencebench_pipeline.measure.spec import Slo

METRIC_DEFINITIONS_VERSION: Final = "1"


class Metric(BaseModel):
    """One number, how many samples it rests on, and why it is missing when it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: float | None
    unit: str
    n: int = Field(ge=0)
    null_reason: str | None = None


@dataclass(frozen=True)
class MetricDefinition:
    """What a metric means. ``definition`` is the normative sentence."""

    key: str
    label: str
    unit: str
    definition: str
    headline: bool
    better: Literal["lower", "higher"]


DEFINITIONS: dict[str, MetricDefinition] = {}


def compute_metrics(table: pa.Table, slo: Slo) -> dict[str, Metric]:
    """Return every metric of :data:`DEFINITIONS`, in its order."""
    raise NotImplementedError
