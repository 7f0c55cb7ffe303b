"""The engine's own tokenizer, asked over HTTP: it alone knows what the engine will count."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol, TypeVar

from inferencebench_pipeline.measure.engines.http import Access, ask
from inferencebench_pipeline.measure.errors import (
    EngineAnswerError,
    EngineUnreachableError,
    SpecError,
)
from inferencebench_pipeline.untrusted import AnswerTooLargeError, JsonDocumentError, NoAnswerError

_TIMEOUT_S: Final = 60.0
_MOST_TOKENS: Final = 2**31
_NOT_OFFERED: Final = {400, 404, 405, 501}

_T = TypeVar("_T")
ChatMessages = Sequence[dict[str, str]]


class Tokenizer(Protocol):
    """Counts tokens as the engine does."""

    def length(self, text: str) -> int:
        """Return the number of tokens of a text, with nothing added."""
        ...

    def prompt_length(self, messages: ChatMessages) -> int:
        """Return the number of tokens of a chat, chat template and special tokens included."""
        ...

    def completion_length(self, text: str) -> int:
        """Return the number of tokens of a prompt for completions, special tokens included."""
        ...


class _Asked:
    """POST to the engine's root."""

    def __init__(self, base_url: str, model: str, access: Access) -> None:
        self._root = base_url.removesuffix("/").removesuffix("/v1")
        self._access = access
        self.model = model

    def __call__(self, path: str, content: dict[str, object]) -> dict[str, Any] | None:
        """Return the answer; None when the engine does not offer ``path``.

        Raises:
            EngineUnreachableError: it cannot be reached, or fails.
            EngineAnswerError: its answer is not one of an engine.
        """
        try:
            answer = ask(self._root + path, self._access, _TIMEOUT_S, content=content)
            if answer.status in _NOT_OFFERED:
                return None
            if answer.status != HTTPStatus.OK:
                raise EngineUnreachableError(
                    f"the engine answered {path} with HTTP {answer.status}; its log may say why"
                )
            parsed = answer.json()
        except NoAnswerError as error:
            raise EngineUnreachableError(
                f"the engine did not answer {path}: {error}; is it still running?"
            ) from error
        except (AnswerTooLargeError, JsonDocumentError) as error:
            raise EngineAnswerError(f"{error}; is it an engine?") from error
        return parsed if isinstance(parsed, dict) else None


class LlamaCppTokenizer:
    """llama.cpp's ``/tokenize`` and ``/apply-template``."""

    def __init__(self, ask: _Asked) -> None:
        self._ask = ask

    def length(self, text: str) -> int:
        """Return the number of tokens of a text, with nothing added."""
        return self._count(text, special=False)

    def prompt_length(self, messages: ChatMessages) -> int:
        """Return the number of tokens of a chat, chat template and special tokens included."""
        answer = self._ask("/apply-template", {"messages": list(messages)}) or {}
        prompt = _required(answer, "prompt", str, "/apply-template")
        return self._count(prompt, special=True)

    def completion_length(self, text: str) -> int:
        """Return the number of tokens of a prompt for completions, special tokens included."""
        return self._count(text, special=True)

    def _count(self, text: str, *, special: bool) -> int:
        # The marks of a template are tokens in a whole prompt, and characters in plain text.
        content = {"content": text, "add_special": special, "parse_special": special}
        return len(_required(self._ask("/tokenize", content) or {}, "tokens", list, "/tokenize"))


class VllmTokenizer:
    """vLLM's ``/tokenize``, which applies the chat template itself."""

    def __init__(self, ask: _Asked) -> None:
        self._ask = ask

    def length(self, text: str) -> int:
        """Return the number of tokens of a text, with nothing added."""
        return self._count({"prompt": text, "add_special_tokens": False})

    def prompt_length(self, messages: ChatMessages) -> int:
        """Return the number of tokens of a chat, chat template and special tokens included."""
        return self._count({"messages": list(messages), "add_generation_prompt": True})

    def completion_length(self, text: str) -> int:
        """Return the number of tokens of a prompt for completions, special tokens included."""
        return self._count({"prompt": text, "add_special_tokens": True})

    def _count(self, content: dict[str, object]) -> int:
        answer = self._ask("/tokenize", {"model": self._ask.model, **content}) or {}
        count = _required(answer, "count", int, "/tokenize")
        if not 0 <= count < _MOST_TOKENS:
            raise EngineAnswerError("the engine's answer to /tokenize has an impossible count")
        return count


def engine_tokenizer(base_url: str, model: str, access: Access) -> Tokenizer:
    """Return the tokenizer of the engine at ``base_url``.

    Args:
        base_url: its address, ``/v1`` included.
        model: the name it serves the model under.
        access: what it takes to ask it.

    Raises:
        SpecError: the engine has none to ask.
        EngineUnreachableError: the engine does not answer.
    """
    ask = _Asked(base_url, model, access)
    # Both offer /tokenize, so the route that only llama.cpp has is tried first.
    if ask("/apply-template", {"messages": [{"role": "user", "content": "a"}]}) is not None:
        return LlamaCppTokenizer(ask)
    answer = ask("/tokenize", {"model": model, "prompt": "a"})
    if answer is not None and isinstance(answer.get("count"), int):
        return VllmTokenizer(ask)
    raise SpecError(
        f"the engine at {base_url} answers neither llama.cpp's nor vLLM's /tokenize, so text of an "
        "exact length cannot be made for it; use workload.dataset.kind: jsonl or sharegpt"
    )


def _required(answer: dict[str, Any], field: str, kind: type[_T], path: str) -> _T:
    value = answer.get(field)
    if not isinstance(value, kind):
        raise EngineAnswerError(
            f"the engine's answer to {path} has no usable {field}; is it the engine that the spec "
            "means?"
        )
    return value
