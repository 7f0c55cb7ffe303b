"""The part of a spec that says what is asked of the model: a data set, lengths, sampling."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from inferencebench_pipeline.measure.spec.part import DataFile, FilePath, Load, Part

MOST_TOKENS: Final = 1_000_000
_BUILTIN: Final = "builtin:"

Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
Sha256OrNull = Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$")]
Salt = Literal["request", "conversation", "run", "none"]


class FixedLength(Part):
    """The same number of tokens every time; a plain number means this."""

    distribution: Load[Literal["fixed"]] = "fixed"
    tokens: Load[Tokens]


class _DrawnLength(Part):
    mean: Load[float] = Field(ge=1.0, le=MOST_TOKENS)
    """Mean of the distribution in tokens, before it is cut to ``min`` and ``max``."""
    stdev: Load[float] = Field(gt=0.0, le=MOST_TOKENS)
    """Standard deviation in tokens, before the cut."""
    min: Load[Tokens] = 1
    max: Load[Tokens]

    @model_validator(mode="after")
    def _ordered(self) -> _DrawnLength:
        if not self.min <= self.mean <= self.max:
            raise ValueError(
                f"min = {self.min}, mean = {self.mean:g} and max = {self.max} must not fall"
            )
        return self


class NormalLength(_DrawnLength):
    """Normally distributed, rounded, and drawn again while outside ``min`` to ``max``."""

    distribution: Load[Literal["normal"]] = "normal"


class LognormalLength(_DrawnLength):
    """Log-normally distributed: many short ones and a few long ones, as real traffic has."""

    distribution: Load[Literal["lognormal"]] = "lognormal"


def _fixed(value: Any) -> Any:  # noqa: ANN401 - anything that YAML can hold
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return {"distribution": "fixed", "tokens": value} if is_number else value


_AnyLength = Annotated[
    FixedLength | NormalLength | LognormalLength, Field(discriminator="distribution")
]
Length = Annotated[_AnyLength, BeforeValidator(_fixed, json_schema_input_type=Tokens | _AnyLength)]


class BuiltinDataset(Part):
    """A prompt set that ships with this package; ``builtin:NAME`` is short for it."""

    kind: Load[Literal["builtin"]] = "builtin"
    name: Load[str] = Field(pattern=r"^[a-z0-9-]+$")


class JsonlDataset(Part):
    """A file with one JSON object a line: ``prompt`` or ``messages``, ``id``, ``max_tokens``."""

    kind: Load[Literal["jsonl"]] = "jsonl"
    path: DataFile[FilePath]
    """Relative to the spec file."""
    sha256: Load[Sha256OrNull] = None
    """Of the file; recorded with every run, and checked when it is given."""


class ShareGptDataset(Part):
    """A JSON list of conversations in ShareGPT's form: ``conversations`` of ``from``, ``value``."""

    kind: Load[Literal["sharegpt"]] = "sharegpt"
    path: DataFile[FilePath]
    """Relative to the spec file."""
    sha256: Load[Sha256OrNull] = None
    """Of the file; recorded with every run, and checked when it is given."""
    turns: Load[int] = Field(default=1, ge=1, le=100)
    """At most so many questions of a conversation are asked, each with the recorded answers to
    the earlier ones before it."""


class SyntheticDataset(Part):
    """Text of an exact number of tokens, by the tokenizer of the engine under measurement."""

    kind: Load[Literal["synthetic"]] = "synthetic"
    prompt_tokens: Length
    """Of the whole prompt as the engine counts it, chat template included."""


class SharedPrefixDataset(Part):
    """Questions about a few long documents, as retrieval (RAG) asks them."""

    kind: Load[Literal["shared_prefix"]] = "shared_prefix"
    documents: Load[int] = Field(ge=1, le=10_000)
    """How many documents there are; each prompt begins with one of them."""
    document_tokens: Length
    question_tokens: Length


class ConversationDataset(Part):
    """Made-up conversations: each turn carries all that was said before it."""

    kind: Load[Literal["conversation"]] = "conversation"
    turns: Load[int] = Field(ge=2, le=100)
    turn_tokens: Length
    """Of each question."""
    answer_tokens: Length
    """Of each answer, as the next turn repeats it: made up, not the engine's own words."""


def _named(value: Any) -> Any:  # noqa: ANN401 - anything that YAML can hold
    if isinstance(value, str) and value.startswith(_BUILTIN):
        return {"kind": "builtin", "name": value.removeprefix(_BUILTIN)}
    return value


_AnyDataset = Annotated[
    BuiltinDataset
    | JsonlDataset
    | ShareGptDataset
    | SyntheticDataset
    | SharedPrefixDataset
    | ConversationDataset,
    Field(discriminator="kind"),
]
Dataset = Annotated[
    _AnyDataset,
    BeforeValidator(
        _named,
        json_schema_input_type=Annotated[str, Field(pattern=r"^builtin:[a-z0-9-]+$")] | _AnyDataset,
    ),
]


class Workload(Part):
    """What is asked of the model."""

    dataset: Dataset = BuiltinDataset(name="chat-short")
    prompts: Load[int] = Field(default=24, ge=1, le=10_000)
    """How many distinct prompts, or conversations, are drawn; requests take them in turn."""
    max_tokens: Load[Tokens] = 32
    """Output tokens that each request asks for at most."""
    output_tokens: Length | None = None
    """Drawn for each prompt instead, cut to ``max_tokens``; always ``max_tokens`` when null."""
    ignore_eos: Load[bool] = True
    """Ask the engine to generate exactly that many, so that runs compare."""
    api: Load[Literal["chat", "completions"]] = "chat"
    temperature: Load[float] = Field(default=0.0, ge=0.0, le=2.0)
    salt: Load[Salt | None] = None
    """What shares a random beginning, and so what a prefix cache can serve: ``request`` nothing,
    ``conversation`` the earlier turns, ``run`` whatever the prompts of one repeat have in common,
    ``none`` also what earlier runs left. By the data set when null: ``run`` for shared_prefix,
    ``conversation`` where there are turns, ``request`` otherwise."""

    @model_validator(mode="after")
    def _fits_together(self) -> Workload:
        if self.api == "completions" and has_turns(self.dataset):
            raise ValueError("api = completions knows no turns; use api: chat")
        return self

    @property
    def salted_by(self) -> Salt:
        """``salt``, or what the data set makes of null."""
        if self.salt is not None:
            return self.salt
        if isinstance(self.dataset, SharedPrefixDataset):
            return "run"
        return "conversation" if has_turns(self.dataset) else "request"


def has_turns(dataset: Dataset) -> bool:
    """Return whether a request of the data set may have to wait for the answer to another."""
    return isinstance(dataset, ConversationDataset) or (
        isinstance(dataset, ShareGptDataset) and dataset.turns > 1
    )
