"""The spec of a run: model, engine, workload, load, repeats, SLO and deadlines."""

from __future__ import annotations

import difflib
import hashlib
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from inferencebench_pipeline.measure.metric_definitions import DEFINITIONS
from inferencebench_pipeline.measure.spec.engine import EngineSpec
from inferencebench_pipeline.measure.spec.load import ClosedLoad, LoadSpec
from inferencebench_pipeline.measure.spec.part import (
    PRINTABLE,
    Label,
    Load,
    Part,
    Setting,
    Weights,
)
from inferencebench_pipeline.measure.spec.workload import (
    Workload,
    has_turns,
)

# A word that begins with a dash would be an option on the command line of an engine.
_ModelId = Annotated[str, Field(max_length=200, pattern=r"^[^\s-]\S*$"), PRINTABLE]
_Revision = Annotated[str, Field(min_length=7, max_length=40, pattern=r"^[^\s-]\S*$"), PRINTABLE]
_ServedName = Annotated[str, Field(pattern=r"^[^-]"), PRINTABLE]

Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(?:[._-][a-z0-9]+)*$", max_length=80)]


class Suite(Part):
    """The suite that results are grouped under; ids follow upstream's ``llm.inference.*``."""

    id: Load[str] = Field(pattern=r"^[a-z0-9]+(?:[.-][a-z0-9]+)*$", max_length=80)
    """The name of the suite in lower case, for example ``llm.inference.chat``."""
    version: Load[str] = Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")
    """The version of the suite as three numbers, for example ``1.0.0``."""


class Quantization(Part):
    """The form in which the weights are stored, for example ``{format: q4_1, method: gguf}``."""

    format: Weights[Label]
    """The data type of the stored weights, for example ``q4_1`` or ``bfloat16``."""
    method: Weights[Label]
    """The method or file format of the quantization, for example ``gguf``, ``awq`` or ``none``."""


class ModelSpec(Part):
    """The model under measurement, by its Hub id."""

    id: Weights[_ModelId]
    """The id of the model on the Hub, for example ``HuggingFaceTB/SmolLM2-135M-Instruct``."""
    revision: Weights[_Revision | None] = None
    """The commit of the weights on the Hub. It is taken from the weights file when it is null and
    known there."""
    quantization: Quantization | None = None
    """The form of the stored weights. It is read from the engine's own file when it is null and
    known there."""
    served_name: Weights[_ServedName | None] = None
    """The name that the engine knows the model by, when it is not ``id``."""


class Slo(Part):
    """Service level objective of one request: it is good when every bound that is set holds."""

    ttft_ms: Load[float | None] = Field(default=None, gt=0.0)
    """The longest time to the first token, in milliseconds. It is not judged when it is null."""
    tpot_ms: Load[float | None] = Field(default=None, gt=0.0)
    """The longest mean time per output token after the first, in milliseconds. It is not judged
    when it is null."""


class Deadlines(Part):
    """The time after which a wait becomes a failure, in seconds."""

    request_s: Load[float] = Field(default=60.0, gt=0.0, le=86_400.0)
    """The longest time for one request, in seconds."""
    run_s: Load[float] = Field(default=600.0, gt=0.0, le=604_800.0)
    """The longest time for one repeat, in seconds."""
    engine_start_s: Load[float] = Field(default=60.0, gt=0.0, le=86_400.0)
    """The longest time until the engine answers after its start, in seconds."""


class Limits(Part):
    """The bounds on what a run leaves on the disk, whatever the engine answers."""

    capture_bytes: Setting[int] = Field(default=8 * 2**30, ge=2**20, le=2**50)
    """The size of all answers of a run together, in bytes, as the capture keeps them with the
    instants of their reads. A run that gets more fails. A thousand answers of a thousand tokens are
    some 300 MB."""


class Repeats(Part):
    """The number of independent repeats of a load within a run. A plain number is ``least``."""

    least: Load[int] = Field(default=1, ge=1, le=100)
    """The number of repeats at least. Numbers that are published need five or more, since an
    interval over repeats rests on them."""
    most: Load[int | None] = Field(default=None, ge=1, le=100)
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


def _counted(value: Any) -> Any:  # noqa: ANN401 - anything that YAML can hold
    # `true` of YAML is an int to Python, and no number of repeats.
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return {"least": value} if is_number else value


RepeatsOrCount = Annotated[
    Repeats,
    BeforeValidator(_counted, json_schema_input_type=Repeats | Annotated[int, Field(ge=1)]),
]


class Place(Part):
    """The place of a run in the sweep or the search that it belongs to."""

    sweep: Setting[Name]
    """The name of the spec file."""
    point: Setting[int] = Field(ge=1)
    """The number of the load point, from 1 on, in the order of measuring."""
    points: Setting[int | None] = Field(default=None, ge=1)
    """The number of load points, null where a search finds out as it goes."""


class Client(Part):
    """The measuring client, which is one process or several."""

    processes: Setting[int] = Field(default=1, ge=1, le=256)
    """The number of processes that share the load's one schedule. Use one a core where one core is
    not enough, which is at some 2,000 requests or 40,000 chunks a second; a run says when its
    client was too busy."""


class Benchmark(Part):
    """The fields that a spec file and the spec of a single run have in common."""

    name: Load[Name]
    """The name of the benchmark, in lower case, which is also the name of its sweep."""
    suite: Suite
    """The suite that the results are grouped under."""
    repeats: RepeatsOrCount = Repeats()
    """The number of independent repeats of each load point."""
    seed: Load[int] = Field(default=42, ge=0, lt=2**63)
    """The seed of everything drawn: the prompts, their lengths and the times of arrival."""
    slo: Slo = Slo()
    """The service level objective of one request."""
    deadlines: Deadlines = Deadlines()
    """The longest times that the client waits."""
    limits: Limits = Limits()
    """The bounds on what a run leaves on the disk."""
    client: Client = Client()
    """The settings of the measuring client."""


class BenchmarkSpec(Benchmark):
    """Everything that decides what one run measures."""

    model: ModelSpec
    """The model under measurement."""
    engine: EngineSpec
    """The engine that serves the model."""
    workload: Workload = Workload()
    """The questions that the model is asked."""
    load: LoadSpec
    """The pace at which the requests are sent."""
    place: Place | None = None
    """The place of the run in its sweep or search, null for a run that stands by itself."""

    @model_validator(mode="after")
    def _turns_wait_for_answers(self) -> BenchmarkSpec:
        if has_turns(self.workload.dataset) and not isinstance(self.load, ClosedLoad):
            raise ValueError(
                f"load.kind = {self.load.kind} does not wait for answers, which the turns of "
                f"workload.dataset.kind = {self.workload.dataset.kind} have to; use closed"
            )
        return self

    @model_validator(mode="after")
    def _no_more_processes_than_work(self) -> BenchmarkSpec:
        processes = self.client.processes
        if isinstance(self.load, ClosedLoad) and processes > self.load.concurrency:
            raise ValueError(
                f"client.processes = {processes} is more than load.concurrency = "
                f"{self.load.concurrency}: some would have nothing to do; lower it"
            )
        if processes > 1 and has_turns(self.workload.dataset):
            raise ValueError(
                f"client.processes = {processes}: the turns of conversations are paced by one "
                "process; leave it at 1"
            )
        return self

    def seed_of(self, repeat: int) -> int:
        """Return the seed of a repeat's arrivals: its own, so that repeats are independent."""
        # The first repeat keeps the seed of the spec, whose schedule's hash the record states.
        if repeat == 1:
            return self.seed
        drawn = hashlib.sha256(f"{self.seed}:repeat:{repeat}".encode()).digest()
        # One bit less, since the seed of a spec is below 2^63.
        return int.from_bytes(drawn[:8]) >> 1


def spec_json(spec: BenchmarkSpec) -> bytes:
    """Return the bytes of ``spec.json``: indented for people, every field present."""
    return spec.model_dump_json(indent=2).encode() + b"\n"
