"""The parts of a spec that a record states again: quantization, SLO and repeats.

They stand apart from the whole spec, since a verifier reads records and no specs.
"""

from __future__ import annotations

import difflib

from pydantic import Field, field_validator, model_validator

from inferencebench_pipeline.measure.largest_run import MOST_REPEATS
from inferencebench_pipeline.measure.metric_definitions import DEFINITIONS
from inferencebench_pipeline.measure.spec.part import Label, Load, Part, Weights


class Quantization(Part):
    """The form in which the weights are stored, for example ``{format: q4_1, method: gguf}``."""

    format: Weights[Label]
    """The data type of the stored weights, for example ``q4_1`` or ``bfloat16``."""
    method: Weights[Label]
    """The method or file format of the quantization, for example ``gguf``, ``awq`` or ``none``."""


class Slo(Part):
    """Service level objective of one request: it is good when every bound that is set holds."""

    ttft_ms: Load[float | None] = Field(default=None, gt=0.0)
    """The longest time to the first token, in milliseconds. It is not judged when it is null."""
    tpot_ms: Load[float | None] = Field(default=None, gt=0.0)
    """The longest mean time per output token after the first, in milliseconds. It is not judged
    when it is null."""


class Repeats(Part):
    """The number of independent repeats of a load within a run. A plain number is ``least``."""

    least: Load[int] = Field(default=1, ge=1, le=MOST_REPEATS)
    """The number of repeats at least. Numbers that are published need five or more, since an
    interval over repeats rests on them."""
    most: Load[int | None] = Field(default=None, ge=1, le=MOST_REPEATS)
    """The number of repeats at most: the run repeats its load until the intervals are narrow
    enough. When it is null the run ends after ``least``."""
    relative_half_width: Load[float] = Field(default=0.05, gt=0.0, le=1.0)
    """Half the width of an interval over repeats, relative to its middle, that is narrow enough."""
    confidence: Load[float] = Field(default=0.95, ge=0.5, lt=1.0)
    """The confidence of all looks at the intervals together. Each look spends a part of the
    remaining error."""
    metrics: Load[tuple[str, ...]] = Field(
        default=("ttft_p50_ms", "output_tok_per_s"), min_length=1, max_length=10
    )
    """The metrics whose intervals must all be narrow enough."""
    pause_s: Load[float] = Field(default=0.0, ge=0.0, le=3600.0)
    """The time that the engine is left alone between two repeats, in seconds."""

    @field_validator("metrics")
    @classmethod
    def _known_metrics(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in DEFINITIONS:
                near = difflib.get_close_matches(name, DEFINITIONS, n=1)
                hint = f"did you mean {near[0]}?" if near else "docs/metrics.md lists them"
                raise ValueError(f"{name} is not a metric; {hint}")
        return value

    @model_validator(mode="after")
    def _enough_for_an_interval(self) -> Repeats:
        if self.most is not None and not 3 <= self.least <= self.most:
            raise ValueError("with repeats.most, repeats.least must be 3 or more, and not larger")
        return self

    @property
    def at_most(self) -> int:
        """The number of repeats at most."""
        return self.least if self.most is None else self.most
