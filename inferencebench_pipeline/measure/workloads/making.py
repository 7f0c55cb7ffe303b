"""Makes the text of a recipe to measure for one tokenizer, and keeps it beside the capture.

Every word used is a single token wherever it stands after a space, which is found out by asking;
so a text of n words is n tokens, and the whole prompt is then counted once more as the engine
will count it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Final

from inferencebench_pipeline.files import write_atomically
from inferencebench_pipeline.measure.errors import CaptureError, SpecError
from inferencebench_pipeline.measure.workloads.items import Item, Message
from inferencebench_pipeline.measure.workloads.lengths import generator
from inferencebench_pipeline.measure.workloads.recipe import Recipe
from inferencebench_pipeline.measure.workloads.tokenizer import Tokenizer

OPENER: Final = "Note"
"""The beginning of made-up text, since the first word has no space before it."""
# Of 64 words or more, six make 2^36 different salts or more.
SALT_WORDS: Final = 6
_FEWEST_WORDS: Final = 64
_MOST_ATTEMPTS: Final = 5


@dataclass(frozen=True)
class MadeWorkload:
    """A workload as it is sent, but for the salt."""

    identity_sha256: str
    """The SHA-256 of the recipe, which compares across models."""
    text_sha256: str
    """The SHA-256 of the items as they are here, which two runs against one tokenizer share."""
    items: tuple[Item, ...]
    salt_words: tuple[str, ...] = ()
    """Words of one token each, to make salts of; digits are used when there are none."""


def as_it_is(recipe: Recipe) -> MadeWorkload:
    """Return the workload of a recipe that needs no tokenizer."""
    return MadeWorkload(recipe.identity_sha256, _text_sha256(recipe.items), recipe.items)


def make(recipe: Recipe, tokenizer: Tokenizer, *, api: str, salted: bool) -> MadeWorkload:
    """Return the workload of a recipe, its text made for ``tokenizer``.

    Args:
        recipe: with text to be made.
        tokenizer: the engine's.
        api: ``chat`` or ``completions``, which count differently.
        salted: whether a salt comes before each prompt, and is counted.

    Raises:
        SpecError: too few words are single tokens, or a length is too short to be reached.
        EngineUnreachableError: the tokenizer does not answer.
    """
    words = _single_tokens(tokenizer)
    salt = OPENER + "".join(" " + word for word in words[: SALT_WORDS * salted])
    maker = _Maker(tokenizer, words, salt, api)
    items = tuple(maker.item(item) for item in recipe.items)
    return MadeWorkload(recipe.identity_sha256, _text_sha256(items), items, tuple(words))


class _Maker:
    def __init__(self, tokenizer: Tokenizer, words: list[str], salt: str, api: str) -> None:
        self._tokenizer = tokenizer
        self._words = words
        self._salt = salt
        self._api = api
        self._around: int | None = None

    def item(self, item: Item) -> Item:
        if item.prompt_tokens is None:
            made = self._filled(item, 0)
            return replace(made, prompt_tokens=self._count(made))
        if self._around is None:  # the same for every item: one message, the same template
            self._around = self._count(self._filled(item, 1)) - 1
        fill = item.prompt_tokens - self._around
        for _ in range(_MOST_ATTEMPTS):
            if fill < 1:
                raise SpecError(
                    f"workload.dataset.prompt_tokens = {item.prompt_tokens} is too short: the "
                    f"chat template and the salt alone take {self._around} tokens; raise it"
                )
            made = self._filled(item, fill)
            missing = item.prompt_tokens - self._count(made)
            if missing == 0:
                return made
            # Where made-up text meets the template or the salt, tokens may merge: add what lacks.
            fill += missing
        raise SpecError(
            f"no text of exactly {item.prompt_tokens} tokens could be made for this tokenizer; "
            "use workload.dataset.kind: jsonl"
        )

    def _filled(self, item: Item, fill: int) -> Item:
        messages = tuple(
            self._message(message, fill, opens=place > 0)
            for place, message in enumerate(item.messages)
        )
        return replace(item, messages=messages)

    def _message(self, message: Message, fill: int, *, opens: bool) -> Message:
        """Return a message as text; the first of a prompt is opened by the salt instead."""
        text = OPENER if opens else ""
        for piece in message.pieces:
            if isinstance(piece, str):
                text += piece
            else:
                wanted = fill if piece.tokens is None else piece.tokens
                # The opener takes the place of the first word.
                text += self._text(piece.key, wanted - (opens and text == OPENER))
        return Message(message.role, (text,))

    def _text(self, key: str, count: int) -> str:
        chance = generator(key)
        words = self._words
        return "".join(f" {words[int(chance.random() * len(words))]}" for _ in range(count))

    def _count(self, item: Item) -> int:
        messages = salted_messages(item, self._salt)
        if self._api == "chat":
            return self._tokenizer.prompt_length(messages)
        return self._tokenizer.completion_length(messages[0]["content"])


def salted_messages(item: Item, salt: str) -> list[dict[str, str]]:
    """Return the messages of an item as the API takes them, the salt before the first."""
    first, *others = item.messages
    return [
        {"role": first.role, "content": salt + first.text},
        *({"role": message.role, "content": message.text} for message in others),
    ]


def _single_tokens(tokenizer: Tokenizer) -> list[str]:
    """Return the words that are one token after a space, of those that ship with this package."""
    source = resources.files(__package__) / "words.txt"
    opener = tokenizer.length(OPENER)

    def single(words: list[str]) -> list[str]:
        if tokenizer.length(" ".join([OPENER, *words])) == opener + len(words):
            return words
        # Nearly all common words are single tokens, so halving finds the others in few questions.
        if len(words) == 1:
            return []
        middle = len(words) // 2
        return single(words[:middle]) + single(words[middle:])

    found = single(source.read_text().split())
    if len(found) < _FEWEST_WORDS:
        raise SpecError(
            f"only {len(found)} common English words are single tokens for this tokenizer, too "
            "few to make text of; use workload.dataset.kind: jsonl"
        )
    return found


def write_workload(path: Path, workload: MadeWorkload) -> None:
    """Write a workload as JSON lines: a header, then an item on each line."""
    header = {
        "identity_sha256": workload.identity_sha256,
        "text_sha256": workload.text_sha256,
        "salt_words": workload.salt_words,
    }
    lines = [json.dumps(header), *(_line(item) for item in workload.items)]
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def read_workload(path: Path) -> MadeWorkload:
    """Return the workload that :func:`write_workload` wrote.

    Raises:
        CaptureError: the file is missing or damaged.
    """
    try:
        first, *others = path.read_bytes().splitlines()
        header = json.loads(first)
        workload = MadeWorkload(
            identity_sha256=header["identity_sha256"],
            text_sha256=header["text_sha256"],
            items=tuple(_item(json.loads(line)) for line in others),
            salt_words=tuple(header["salt_words"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CaptureError(f"{path} is missing or damaged ({error}); run it again") from error
    if _text_sha256(workload.items) != workload.text_sha256:
        raise CaptureError(f"{path} is not what was written; run it again")
    return workload


def _line(item: Item) -> str:
    return json.dumps(
        {
            "id": item.id,
            "conversation": item.conversation,
            "max_tokens": item.max_tokens,
            "prompt_tokens": item.prompt_tokens,
            "messages": [[message.role, message.text] for message in item.messages],
        }
    )


def _item(row: dict[str, Any]) -> Item:
    messages = tuple(Message(role, (text,)) for role, text in row.pop("messages"))
    return Item(messages=messages, **row)


def _text_sha256(items: Sequence[Item]) -> str:
    digest = hashlib.sha256()
    for item in items:
        digest.update(_line(item).encode() + b"\n")
    return digest.hexdigest()
