"""The workload of a spec: a data set, lengths and sampling."""

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
    """A fixed number of tokens; a plain number means this."""

    distribution: Load[Literal["fixed"]] = "fixed"
    """The kind of distribution."""
    tokens: Load[Tokens]
    """The length in tokens."""


class _DrawnLength(Part):
    mean: Load[float] = Field(ge=1.0, le=MOST_TOKENS)
    """The mean of the distribution in tokens, before it is cut to ``min`` and ``max``."""
    stdev: Load[float] = Field(gt=0.0, le=MOST_TOKENS)
    """The standard deviation in tokens, before the cut."""
    min: Load[Tokens] = 1
    """The shortest length in tokens."""
    max: Load[Tokens]
    """The longest length in tokens."""

    @model_validator(mode="after")
    def _ordered(self) -> _DrawnLength:
        # A draw that finds nothing within the bounds falls back on the mean (workloads/lengths.py).
        if not self.min <= self.mean <= self.max:
            raise ValueError(
                f"min = {self.min}, mean = {self.mean:g} and max = {self.max} must not fall"
            )
        return self


class NormalLength(_DrawnLength):
    """A normal distribution of lengths, rounded and drawn again while outside the bounds."""

    distribution: Load[Literal["normal"]] = "normal"
    """The kind of distribution."""


class LognormalLength(_DrawnLength):
    """A log-normal distribution: many short lengths and a few long ones, as real traffic has."""

    distribution: Load[Literal["lognormal"]] = "lognormal"
    """The kind of distribution."""


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
    """The kind of data set."""
    name: Load[str] = Field(pattern=r"^[a-z0-9-]+$")
    """The name of the prompt set, for example ``chat-short``."""


class JsonlDataset(Part):
    """A file with one JSON object a line: ``prompt`` or ``messages``, ``id``, ``max_tokens``."""

    kind: Load[Literal["jsonl"]] = "jsonl"
    """The kind of data set."""
    path: DataFile[FilePath]
    """The path of the file, relative to the spec file."""
    sha256: Load[Sha256OrNull] = None
    """The SHA-256 of the file. It is recorded with every run, and checked when it is given."""


class ShareGptDataset(Part):
    """A JSON list of conversations in ShareGPT's form: ``conversations`` of ``from``, ``value``."""

    kind: Load[Literal["sharegpt"]] = "sharegpt"
    """The kind of data set."""
    path: DataFile[FilePath]
    """The path of the file, relative to the spec file."""
    sha256: Load[Sha256OrNull] = None
    """The SHA-256 of the file. It is recorded with every run, and checked when it is given."""
    turns: Load[int] = Field(default=1, ge=1, le=100)
    """The number of questions of a conversation that are asked at most, each with the recorded
    answers to the earlier ones before it."""


class SyntheticDataset(Part):
    """Text of an exact number of tokens, by the tokenizer of the engine under measurement."""

    kind: Load[Literal["synthetic"]] = "synthetic"
    """The kind of data set."""
    prompt_tokens: Length
    """The length of the whole prompt in tokens as the engine counts it, chat template included."""


class SharedPrefixDataset(Part):
    """Questions about a few long documents, as retrieval (RAG) asks them."""

    kind: Load[Literal["shared_prefix"]] = "shared_prefix"
    """The kind of data set."""
    documents: Load[int] = Field(ge=1, le=10_000)
    """The number of documents. Each prompt begins with one of them."""
    document_tokens: Length
    """The length of each document, in tokens."""
    question_tokens: Length
    """The length of each question, in tokens."""


class ConversationDataset(Part):
    """Made-up conversations, of which each turn carries all that was said before it."""

    kind: Load[Literal["conversation"]] = "conversation"
    """The kind of data set."""
    turns: Load[int] = Field(ge=2, le=100)
    """The number of questions of each conversation."""
    turn_tokens: Length
    """The length of each question, in tokens."""
    answer_tokens: Length
    """The length of each answer as the next turn repeats it, in tokens. The answers are made up and
    are not the engine's own words."""


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
    """The questions that the model is asked."""

    dataset: Dataset = BuiltinDataset(name="chat-short")
    """The data set that the prompts are drawn from, or ``builtin:NAME`` for a set that ships with
    the package."""
    prompts: Load[int] = Field(default=24, ge=1, le=10_000)
    """The number of distinct prompts, or conversations, that are drawn. Requests take them in
    turn."""
    max_tokens: Load[Tokens] = 32
    """The number of output tokens that each request asks for at most."""
    output_tokens: Length | None = None
    """The output length drawn for each prompt, in tokens, cut to ``max_tokens``. Each request asks
    for ``max_tokens`` when it is null."""
    ignore_eos: Load[bool] = True
    """True to ask the engine for exactly that many output tokens, so that runs compare."""
    api: Load[Literal["chat", "completions"]] = "chat"
    """The endpoint of the engine: ``chat`` applies the model's chat template, ``completions`` sends
    plain text."""
    temperature: Load[float] = Field(default=0.0, ge=0.0, le=2.0)
    """The sampling temperature. 0 always takes the likeliest token."""
    salt: Load[Salt | None] = None
    """The sharing of the random beginning of prompts, which decides how much a prefix cache can
    serve: with ``request`` nothing, with ``conversation`` the earlier turns, with ``run``
    everything that the prompts of one repeat have in common, with ``none`` also text that earlier
    runs left. When it is null the data set decides: ``run`` for shared_prefix, ``conversation``
    where there are turns, ``request`` otherwise."""

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
