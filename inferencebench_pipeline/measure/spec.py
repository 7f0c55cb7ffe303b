"""The benchmark spec: what to measure, on which engine, under which load, to which deadlines."""

from __future__ import annotations

import hashlib
import os
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from inferencebench_pipeline.measure.environment import is_secret, reaches_engines
from inferencebench_pipeline.measure.errors import SpecError

_MAX_SPEC_BYTES = 1_000_000
_MAX_SCHEDULE_BYTES = 64_000_000
_KINDS = {"closed", "open", "replay", "embedded", "openai", "vllm"}
_NOT_REPEATED = {"base_url", "api_key_env", "args", "env"}
_ARGUMENTS_WE_DECIDE = {
    *("--model", "--served-model-name", "--revision"),
    *("--host", "--port", "--uds", "--api-key", "--hf-token"),
}


class _Part(BaseModel):
    """Base of every part of a spec: immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Suite(_Part):
    """The suite that results are grouped under; ids follow upstream's ``llm.inference.*``."""

    id: str = Field(pattern=r"^[a-z0-9]+(?:[.-][a-z0-9]+)*$", max_length=80)
    version: str = Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")


class Quantization(_Part):
    """How the weights are stored, for example ``{format: q4_1, method: gguf}``."""

    format: str = Field(min_length=1)
    method: str = Field(min_length=1)


class ModelSpec(_Part):
    """The model under measurement, by its Hub id."""

    id: str = Field(min_length=1, max_length=200, pattern=r"^\S+$")
    revision: str | None = Field(default=None, min_length=7, max_length=40)
    """Commit of the weights on the Hub; taken from the weights file when null and known."""
    quantization: Quantization | None = None
    """Read from the engine's own file when null and known."""
    served_name: str | None = Field(default=None, min_length=1)
    """The name the engine knows the model by, when it is not ``id``."""


class EmbeddedEngine(_Part):
    """llama.cpp's server from the ``demo`` extra, with the model file of its wheel."""

    kind: Literal["embedded"]
    threads: int | None = Field(default=None, ge=1, le=1024)
    """Compute threads; one fewer than the cores at hand when null, so the client has its own."""
    context_tokens: int = Field(default=4096, ge=64)
    """Context shared by the parallel slots, in tokens."""


class OpenAIEngine(_Part):
    """Any server that speaks the OpenAI HTTP API; we neither start nor stop it."""

    kind: Literal["openai"]
    base_url: str = Field(pattern=r"^https?://[^\s/?#]+(?:/[^\s?#]*)?$")
    """Address including the ``/v1``. No credentials in it: name a variable in ``api_key_env``."""
    api_key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """The environment variable that holds the API key. The key itself never enters a spec."""
    name: str | None = Field(default=None, min_length=1)
    version: str | None = Field(default=None, min_length=1)
    provider: str | None = Field(default=None, min_length=1, max_length=80)
    """Who hosts it, for example ``together``; the host of the address when null and remote."""

    @field_validator("base_url")
    @classmethod
    def _no_credentials(cls, value: str) -> str:
        if "@" in value.split("//", 1)[1].split("/", 1)[0]:
            raise ValueError(
                "holds credentials; put the key in an environment variable and name it in "
                "engine.api_key_env"
            )
        return value.rstrip("/")


class VllmEngine(_Part):
    """``vllm serve`` started by the pipeline itself; needs the ``vllm`` extra."""

    kind: Literal["vllm"]
    args: tuple[str, ...] = ()
    """More arguments of ``vllm serve``, for example ``[--dtype, bfloat16]``."""
    env: dict[str, str] = Field(default_factory=dict)
    """Environment variables to set for it, for example ``{VLLM_CPU_KVCACHE_SPACE: "4"}``."""
    model_path: str | None = Field(default=None, min_length=1)
    """A local folder with the weights of ``model.id``, instead of fetching them from the Hub."""

    @field_validator("args")
    @classmethod
    def _ours_to_decide(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for argument in value:
            name = argument.split("=", 1)[0]
            if name in _ARGUMENTS_WE_DECIDE:
                raise ValueError(f"{name} is the pipeline's to decide, or a secret; remove it")
        return value

    @field_validator("env")
    @classmethod
    def _known_variables(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not reaches_engines(name):
                raise ValueError(
                    f"{name} is not among the variables an engine may get (docs/engines.md)"
                )
            if is_secret(name):
                raise ValueError(
                    f"{name} would put a secret into the record; export it in the environment"
                )
        return value


EngineSpec = Annotated[EmbeddedEngine | OpenAIEngine | VllmEngine, Field(discriminator="kind")]


class Workload(_Part):
    """What is asked of the model."""

    dataset: str = Field(default="builtin:chat-short", pattern=r"^builtin:[a-z0-9-]+$")
    prompts: int = Field(default=24, ge=1, le=10_000)
    """How many distinct prompts are drawn; requests take them in turn."""
    max_tokens: int = Field(default=32, ge=1, le=1_000_000)
    ignore_eos: bool = True
    """Ask the engine to generate exactly ``max_tokens``, so that runs compare."""
    api: Literal["chat", "completions"] = "chat"
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)


class ClosedLoad(_Part):
    """A fixed number of requests in flight: a new one starts when one ends."""

    kind: Literal["closed"]
    concurrency: int = Field(ge=1, le=4096)
    requests: int = Field(ge=1, le=1_000_000)
    warmup_requests: int = Field(default=2, ge=0, le=100_000)


class OpenLoad(_Part):
    """Requests that arrive by a schedule, whether or not earlier ones have ended."""

    kind: Literal["open"]
    rate_per_s: float = Field(gt=0.0, le=100_000.0)
    requests: int = Field(ge=1, le=1_000_000)
    process: Literal["poisson", "gamma", "constant"] = "poisson"
    burstiness: float | None = Field(default=None, ge=0.01, le=1000.0)
    """Shape of the gamma distribution of the gaps, for ``process: gamma``: 1 is Poisson, less is
    burstier. The gaps' coefficient of variation is its inverse square root."""
    warmup_requests: int = Field(default=2, ge=0, le=100_000)

    @model_validator(mode="after")
    def _burstiness_of_gamma_only(self) -> OpenLoad:
        if (self.burstiness is None) == (self.process == "gamma"):
            raise ValueError("burstiness goes with process: gamma, and only with it")
        return self


class ReplayLoad(_Part):
    """Requests that arrive when those of a recorded schedule did."""

    kind: Literal["replay"]
    schedule: str = Field(min_length=1, max_length=1000)
    """A text file with one arrival a line: seconds after the first, not falling. A relative path
    starts where the command runs."""
    schedule_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of that file; recorded with every run, and checked when it is given."""
    speed: float = Field(default=1.0, ge=0.001, le=1000.0)
    """How many recorded seconds pass in one second."""
    requests: int = Field(ge=1, le=1_000_000)
    warmup_requests: int = Field(default=2, ge=0, le=100_000)


LoadSpec = Annotated[ClosedLoad | OpenLoad | ReplayLoad, Field(discriminator="kind")]


class Slo(_Part):
    """Service level objective of one request: it is good when every bound that is set holds."""

    ttft_ms: float | None = Field(default=None, gt=0.0)
    tpot_ms: float | None = Field(default=None, gt=0.0)


class Deadlines(_Part):
    """How long we wait before a wait becomes a failure, in seconds."""

    request_s: float = Field(default=60.0, gt=0.0, le=86_400.0)
    run_s: float = Field(default=600.0, gt=0.0, le=604_800.0)
    engine_start_s: float = Field(default=60.0, gt=0.0, le=86_400.0)


class BenchmarkSpec(_Part):
    """Everything that decides what a run measures."""

    name: str = Field(pattern=r"^[a-z0-9]+(?:[._-][a-z0-9]+)*$", max_length=80)
    suite: Suite
    model: ModelSpec
    engine: EngineSpec
    workload: Workload = Workload()
    load: LoadSpec
    seed: int = Field(default=42, ge=0, lt=2**63)
    slo: Slo = Slo()
    deadlines: Deadlines = Deadlines()

    def seed_of(self, repeat: int) -> int:
        """Return the seed of a repeat's arrivals: its own, so that repeats are independent."""
        if repeat == 1:
            return self.seed
        drawn = hashlib.sha256(f"{self.seed}:repeat:{repeat}".encode()).digest()
        return int.from_bytes(drawn[:8]) >> 1


def load_spec(path: Path) -> BenchmarkSpec:
    """Return the spec in the YAML file at ``path``.

    Raises:
        SpecError: the file cannot be read, is not YAML, or a field of it is wrong; the message
            names the field, the value and what is allowed.
    """
    try:
        with path.open("rb") as handle:
            data = handle.read(_MAX_SPEC_BYTES + 1)
    except OSError as error:
        raise SpecError(
            f"cannot read the spec {path}: {error.strerror or error}; check the path"
        ) from error
    if len(data) > _MAX_SPEC_BYTES:
        raise SpecError(f"the spec {path} is larger than {_MAX_SPEC_BYTES} bytes; is it a spec?")
    try:
        content = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise SpecError(f"the spec {path} is not valid YAML: {error}") from error
    return parse_spec(content, where=str(path))


def named_spec(folder: Path, name: str) -> Path:
    """Return the path of the spec called ``name`` among those in ``folder``.

    Raises:
        SpecError: there is none of that name; the message lists those there are.
    """
    known = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    if name not in known:
        raise SpecError(
            f"there is no spec {name!r} in {folder}; there are: {', '.join(known) or 'none'}"
        )
    return known[name]


def parse_spec(content: object, *, where: str) -> BenchmarkSpec:
    """Return the spec that ``content``, plain data from YAML or JSON, describes.

    Args:
        content: what the YAML or JSON parser returned.
        where: named in the error, so that the reader knows which file to edit.

    Raises:
        SpecError: a field is unknown, missing or out of range.
    """
    if not isinstance(content, dict):
        raise SpecError(f"the spec {where} must be a mapping of fields, not {content!r:.80}")
    try:
        return BenchmarkSpec.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(_problem(detail) for detail in error.errors(include_url=False))
        raise SpecError(f"the spec {where} is not usable: {problems}") from error


def _problem(detail: ErrorDetails) -> str:
    """Return what is wrong with which field; values that may be secrets are not repeated."""
    # A union's location names the member that was tried: engine.openai.base_url.
    steps = [str(step) for step in detail["loc"] if step not in _KINDS]
    location = ".".join(steps) or "the spec"
    kind = detail["type"]
    if kind == "extra_forbidden":
        return f"{location} is not a known field; remove it or correct its spelling"
    if kind == "missing":
        return f"{location} is missing; add it"
    if kind.startswith("union_tag"):
        return f"{location}.kind: {detail['msg']}"
    if steps and steps[-1] in _NOT_REPEATED:
        return f"{location}: {detail['msg']} (its value is not shown, it may hold a secret)"
    return f"{location} = {detail['input']!r:.120}: {detail['msg']}"


def resolve(spec: BenchmarkSpec) -> BenchmarkSpec:
    """Return ``spec`` with every default that depends on this host or on another field filled in.

    The result is what ``spec.json`` records: reading it never needs the defaults of a version.

    Raises:
        SpecError: a schedule to replay cannot be read.
    """
    engine = spec.engine
    if isinstance(engine, EmbeddedEngine) and engine.threads is None:
        engine = engine.model_copy(update={"threads": max(1, usable_cores() - 1)})
    model = spec.model
    if model.served_name is None:
        model = model.model_copy(update={"served_name": model.id})
    load = spec.load
    if isinstance(load, ReplayLoad):
        load = load.model_copy(update={"schedule_sha256": sha256(read_schedule(load)).hexdigest()})
    return spec.model_copy(update={"engine": engine, "model": model, "load": load})


def read_schedule(load: ReplayLoad) -> bytes:
    """Return the bytes of the schedule that ``load`` replays.

    Raises:
        SpecError: the file cannot be read, is too large, or is not the one that
            ``schedule_sha256`` names.
    """
    try:
        with Path(load.schedule).open("rb") as handle:
            data = handle.read(_MAX_SCHEDULE_BYTES + 1)
    except OSError as error:
        raise SpecError(
            f"cannot read load.schedule = {load.schedule!r}: {error.strerror or error}; "
            "check the path"
        ) from error
    if len(data) > _MAX_SCHEDULE_BYTES:
        raise SpecError(
            f"load.schedule = {load.schedule!r} is larger than {_MAX_SCHEDULE_BYTES} bytes; "
            "cut it down to the arrivals that are replayed"
        )
    found = sha256(data).hexdigest()
    if load.schedule_sha256 not in (None, found):
        raise SpecError(
            f"load.schedule = {load.schedule!r} has SHA-256 {found}, not load.schedule_sha256 = "
            f"{load.schedule_sha256}; bring the file it was made for, or correct the hash"
        )
    return data


def usable_cores() -> int:
    """Return how many cores this process may run on, which a container may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spec_json(spec: BenchmarkSpec) -> bytes:
    """Return the bytes of ``spec.json``: indented for people, every field present."""
    return spec.model_dump_json(indent=2).encode() + b"\n"
