"""One prompt, as a recipe describes it and as it is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Made:
    """Text that is made up once there is a tokenizer."""

    key: str
    """Decides which words: the same key gives the same text."""
    tokens: int | None
    """The number of tokens. Null fills the prompt up to the recipe's ``prompt_tokens``."""


@dataclass(frozen=True)
class Message:
    """One message of a prompt: pieces of text, one after the other."""

    role: Role
    pieces: tuple[str | Made, ...]

    @property
    def text(self) -> str:
        """The message as text; only of a message that nothing has to be made for."""
        return "".join(piece for piece in self.pieces if isinstance(piece, str))


@dataclass(frozen=True)
class Item:
    """One prompt of a workload."""

    id: str
    messages: tuple[Message, ...]
    max_tokens: int
    conversation: str
    """The conversation that it is a turn of; its own id when it stands alone."""
    prompt_tokens: int | None = None
    """The tokens that the engine should count, chat template and salt included; null when
    unknown."""
