"""The spec of a run: model, engine, workload, load, repeats, SLO and deadlines.

The parts that a record states again are in ``stated_parts``.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from inferencebench_pipeline.measure.largest_run import MOST_CHUNKS, MOST_ROWS
from inferencebench_pipeline.measure.spec.engine import EngineSpec
from inferencebench_pipeline.measure.spec.load import ClosedLoad, LoadSpec
from inferencebench_pipeline.measure.spec.part import (
    PRINTABLE,
    Load,
    Part,
    Setting,
    Weights,
)
from inferencebench_pipeline.measure.spec.stated_parts import Quantization, Repeats, Slo
from inferencebench_pipeline.measure.spec.workload import (
    FixedLength,
    JsonlDataset,
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

    @model_validator(mode="after")
    def _no_larger_than_traces_that_are_read(self) -> BenchmarkSpec:
        repeats, load = self.repeats.at_most, self.load
        of_each = load.warmup_requests + load.requests
        # As many as are in flight may begin while the last measured one ends.
        rows = repeats * (of_each + (load.concurrency if isinstance(load, ClosedLoad) else 0))
        asked = f"repeats = {repeats} of {of_each} requests, warm-up included,"
        if rows > MOST_ROWS:
            raise ValueError(
                f"{asked} leave {rows} rows of traces with those that keep the load level, and "
                f"nobody reads more than {MOST_ROWS}: no verdict could be reached; lower repeats "
                "or load.requests, or measure several runs"
            )
        tokens = self._exact_output_tokens()
        chunks = int(repeats * of_each * tokens)
        if chunks > MOST_CHUNKS:
            raise ValueError(
                f"{asked} with {tokens:g} output tokens each leave {chunks} chunks of traces, and "
                f"nobody reads more than {MOST_CHUNKS}: no verdict could be reached; lower "
                "repeats, load.requests or the output tokens, or measure several runs"
            )
        return self

    def _exact_output_tokens(self) -> float:
        """Return the mean length of the answers; 0 where the engine or a file decides it."""
        workload = self.workload
        if not workload.ignore_eos or isinstance(workload.dataset, JsonlDataset):
            return 0
        length = workload.output_tokens
        if length is None:
            return workload.max_tokens
        mean = length.tokens if isinstance(length, FixedLength) else length.mean
        return min(mean, workload.max_tokens)

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
