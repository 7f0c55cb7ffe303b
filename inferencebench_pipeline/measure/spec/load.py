"""The kinds of load that a spec can ask for: closed loop, open loop and replay."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from inferencebench_pipeline.measure.spec.part import (
    DataFile,
    FilePath,
    Load,
    Part,
)


class ClosedLoad(Part):
    """A fixed number of requests in flight: a new one starts when one ends."""

    kind: Load[Literal["closed"]] = "closed"
    """The kind of load."""
    concurrency: Load[int] = Field(ge=1, le=4096)
    """The number of requests in flight."""
    requests: Load[int] = Field(ge=1, le=1_000_000)
    """The number of measured requests of each repeat."""
    warmup_requests: Load[int] = Field(default=2, ge=0, le=100_000)
    """The number of requests before the measured ones, which no metric counts."""


class OpenLoad(Part):
    """Requests that arrive by a schedule, whether or not earlier ones have ended."""

    kind: Load[Literal["open"]] = "open"
    """The kind of load."""
    rate_per_s: Load[float] = Field(gt=0.0, le=100_000.0)
    """The mean rate of arrivals, in requests per second."""
    requests: Load[int] = Field(ge=1, le=1_000_000)
    """The number of measured requests of each repeat."""
    process: Load[Literal["poisson", "gamma", "constant"]] = "poisson"
    """The process of the arrivals: independent gaps (``poisson``), bursts (``gamma``) or equal gaps
    (``constant``)."""
    burstiness: Load[float | None] = Field(default=None, ge=0.01, le=1000.0)
    """The shape of the gamma distribution of the gaps, for ``process: gamma``. 1 is Poisson, and
    less is burstier: the gaps' coefficient of variation is the inverse square root of it."""
    warmup_requests: Load[int] = Field(default=2, ge=0, le=100_000)
    """The number of requests before the measured ones, which no metric counts."""

    @model_validator(mode="after")
    def _burstiness_of_gamma_only(self) -> OpenLoad:
        if (self.burstiness is None) == (self.process == "gamma"):
            raise ValueError("burstiness goes with process: gamma, and only with it")
        return self


class ReplayLoad(Part):
    """Requests that arrive when those of a recorded schedule did."""

    kind: Load[Literal["replay"]] = "replay"
    """The kind of load."""
    schedule: DataFile[FilePath]
    """The path, relative to the spec file, of a text file with one arrival a line: seconds after
    the first one, in rising order."""
    schedule_sha256: Load[str | None] = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """The SHA-256 of that file. It is recorded with every run, and checked when it is given."""
    speed: Load[float] = Field(default=1.0, ge=0.001, le=1000.0)
    """The number of recorded seconds that pass in one second."""
    requests: Load[int] = Field(ge=1, le=1_000_000)
    """The number of measured requests of each repeat."""
    warmup_requests: Load[int] = Field(default=2, ge=0, le=100_000)
    """The number of requests before the measured ones, which no metric counts."""


LoadSpec = Annotated[ClosedLoad | OpenLoad | ReplayLoad, Field(discriminator="kind")]
