"""The spec file that a person writes, and its expansion into single runs in a fixed order.

Reading the YAML and naming the wrong line is in :mod:`.spec_file`.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.spec.engine import EngineSpec
from inferencebench_pipeline.measure.spec.load import ClosedLoad, LoadSpec, OpenLoad, ReplayLoad
from inferencebench_pipeline.measure.spec.part import Load, Part, Setting
from inferencebench_pipeline.measure.spec.schedule import Schedule
from inferencebench_pipeline.measure.spec.spec import (
    Benchmark,
    BenchmarkSpec,
    ModelSpec,
    Place,
)
from inferencebench_pipeline.measure.spec.stated_parts import Slo
from inferencebench_pipeline.measure.spec.workload import Workload

MOST_RUNS: Final = 1000
"""A file that comes to more runs than this is a mistake."""


def _listed(value: Any) -> Any:  # noqa: ANN401 - anything that YAML can hold
    return value if isinstance(value, list | tuple) else [value]


# One of a kind, or a list of them: the file then comes to runs with each. Written out for each
# kind, since a JSON Schema is made of types and not of type variables.
_Many = Field(min_length=1, max_length=MOST_RUNS)
_Concurrency = Annotated[int, Field(ge=1, le=4096)]
_Concurrencies = Annotated[
    tuple[_Concurrency, ...],
    _Many,
    BeforeValidator(_listed, json_schema_input_type=_Concurrency | list[_Concurrency]),
]
_Rate = Annotated[float, Field(gt=0.0, le=100_000.0)]
_Rates = Annotated[
    tuple[_Rate, ...], _Many, BeforeValidator(_listed, json_schema_input_type=_Rate | list[_Rate])
]
_Models = Annotated[
    tuple[ModelSpec, ...],
    _Many,
    BeforeValidator(_listed, json_schema_input_type=ModelSpec | list[ModelSpec]),
]
_Engines = Annotated[
    tuple[EngineSpec, ...],
    _Many,
    BeforeValidator(_listed, json_schema_input_type=EngineSpec | list[EngineSpec]),
]
_Workloads = Annotated[
    tuple[Workload, ...],
    _Many,
    BeforeValidator(_listed, json_schema_input_type=Workload | list[Workload]),
]


class ClosedPoints(ClosedLoad):
    """A closed loop at one number of requests in flight, or at each of several."""

    concurrency: Load[_Concurrencies]  # type: ignore[assignment]
    """The number of requests in flight, or a list of such numbers."""

    def points(self) -> list[LoadSpec]:
        """Return the load points in the order they are written."""
        shared = self.model_dump(exclude={"concurrency"})
        return [ClosedLoad(concurrency=value, **shared) for value in self.concurrency]


class OpenPoints(OpenLoad):
    """An open loop at one rate of arrivals, or at each of several."""

    rate_per_s: Load[_Rates]  # type: ignore[assignment]
    """The mean rate of arrivals in requests per second, or a list of such rates."""

    def points(self) -> list[LoadSpec]:
        """Return the load points in the order they are written."""
        shared = self.model_dump(exclude={"rate_per_s"})
        return [OpenLoad(rate_per_s=value, **shared) for value in self.rate_per_s]


class ReplayPoint(ReplayLoad):
    """A recorded schedule, which is a single load point."""

    def points(self) -> list[LoadSpec]:
        """Return the one load point."""
        return [ReplayLoad(**self.model_dump())]


LoadPoints = Annotated[ClosedPoints | OpenPoints | ReplayPoint, Field(discriminator="kind")]
_Loads = Annotated[
    tuple[LoadPoints, ...],
    _Many,
    BeforeValidator(_listed, json_schema_input_type=LoadPoints | list[LoadPoints]),
]


class Search(Part):
    """A search for the highest rate, or number in flight, at which the SLO is still met."""

    low: Setting[float] = Field(gt=0.0, le=100_000.0)
    """The load to begin with, in requests per second or in flight. The SLO should be met there."""
    high: Setting[float] = Field(gt=0.0, le=100_000.0)
    """The highest load to try, in requests per second or in flight."""
    attainment: Setting[float] = Field(default=0.9, gt=0.0, lt=1.0)
    """The share of requests that must meet the SLO. A probe passes when the lower bound of its 95 %
    interval is not below, so this takes enough requests."""
    resolution: Setting[float] = Field(default=0.1, gt=0.0, le=1.0)
    """The distance between the highest load that passed and the lowest that failed, relative to the
    former, at which the search stops."""
    most_probes: Setting[int] = Field(default=12, ge=2, le=100)
    """The number of probes at most."""

    @model_validator(mode="after")
    def _ordered(self) -> Search:
        if self.low >= self.high:
            raise ValueError(f"low = {self.low:g} must be smaller than high = {self.high:g}")
        return self


class BenchmarkFile(Benchmark):
    """A benchmark spec: models x engines x workloads x load points, repeated, and one SLO."""

    model: _Models
    """The model under measurement, or a list of models."""
    engine: _Engines
    """The engine that serves the model, or a list of engines."""
    workload: _Workloads = (Workload(),)
    """The questions that the model is asked, or a list of workloads."""
    load: _Loads
    """The pace at which the requests are sent, or a list of loads."""
    search: Search | None = None
    """The search that ``inferencebench search`` makes instead of the load points' own rates."""
    schedule: Schedule | None = None
    """The times at which the benchmark repeats itself. No run's own spec holds them."""

    @model_validator(mode="after")
    def _search_has_one_load_and_an_slo(self) -> BenchmarkFile:
        if self.search is not None and (self.slo == Slo() or len(self.load) > 1):
            raise ValueError("search needs an SLO to meet and a single load to vary")
        return self


@dataclass(frozen=True)
class Plan:
    """The runs that a file comes to, in a fixed order: one for each of its points."""

    name: str
    runs: tuple[BenchmarkSpec, ...]
    search: Search | None
    schedule: Schedule | None = None


def expand(file: BenchmarkFile, *, folder: Path) -> Plan:
    """Return the plan of a file: the product of its lists, the last list varying fastest.

    Args:
        file: what the person wrote.
        folder: what paths in it are relative to.

    Raises:
        SpecError: it comes to too many runs, or two of its parts do not fit together.
    """
    loads = [load for points in file.load for load in points.points()]
    product = list(itertools.product(file.model, file.engine, file.workload, loads))
    if len(product) > MOST_RUNS:
        raise SpecError(
            f"the spec {file.name} comes to {len(product)} runs, more than {MOST_RUNS}; shorten "
            "one of its lists"
        )
    # By the fields of the common base, so that a new one cannot be forgotten here.
    shared = {name: getattr(file, name) for name in Benchmark.model_fields}
    runs = []
    for number, (model, engine, workload, load) in enumerate(product, start=1):
        place = Place(sweep=file.name, point=number, points=len(product))
        try:
            spec = BenchmarkSpec(
                **shared,
                model=model,
                engine=engine,
                workload=_data_found_from(workload, folder),
                load=_schedule_found_from(load, folder),
                place=place if len(product) > 1 else None,
            )
        except ValidationError as error:
            # pydantic writes its own word before the sentence of a validator.
            said = "; ".join(
                detail["msg"].removeprefix("Value error, ") for detail in error.errors()
            )
            raise SpecError(f"the spec {file.name} does not fit together: {said}") from error
        runs.append(spec)
    return Plan(file.name, tuple(runs), file.search, file.schedule)


def load_label(load: LoadSpec) -> str:
    """Return a load point in a few words."""
    if isinstance(load, ClosedLoad):
        return f"{load.concurrency} in flight"
    if isinstance(load, OpenLoad):
        return f"{load.rate_per_s:g} req/s {load.process}"
    return f"{Path(load.schedule).name} x {load.speed:g}"


def _schedule_found_from(load: LoadSpec, folder: Path) -> LoadSpec:
    if not isinstance(load, ReplayLoad):
        return load
    return load.model_copy(update={"schedule": str((folder / load.schedule).absolute())})


def _data_found_from(workload: Workload, folder: Path) -> Workload:
    """Return ``workload`` with an absolute path, for a reader that stands elsewhere."""
    # Data sets that ship with the package, and those that are made up, have no path.
    path = getattr(workload.dataset, "path", None)
    if path is None:
        return workload
    dataset = workload.dataset.model_copy(update={"path": str((folder / path).absolute())})
    return workload.model_copy(update={"dataset": dataset})


class _FileSchema(GenerateJsonSchema):
    """The JSON Schema for editors, in which the kind of a part must be written.

    Code may leave the kind out, because the class says it. A file has nothing else that says it.
    """

    def field_is_required(
        self,
        field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField,
        total: bool,
    ) -> bool:
        """Return true for a field without a default, and for one with a single possible value."""
        inner = field["schema"]
        if inner["type"] == "default":
            inner = inner["schema"]
        only_one = inner["type"] == "literal" and len(inner["expected"]) == 1
        return only_one or super().field_is_required(field, total)


def json_schema() -> bytes:
    """Return the JSON Schema of a benchmark file, for editors that check while one types."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **BenchmarkFile.model_json_schema(schema_generator=_FileSchema),
    }
    return json.dumps(schema, indent=2, sort_keys=True).encode() + b"\n"
