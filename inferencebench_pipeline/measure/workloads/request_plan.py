"""The request plan: the body of every request of a repeat, salted for prefix caches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from inferencebench_pipeline.measure.errors import CaptureError
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec
from inferencebench_pipeline.measure.workloads.items import Item
from inferencebench_pipeline.measure.workloads.making import (
    OPENER,
    SALT_WORDS,
    MadeWorkload,
    as_it_is,
    make,
    read_workload,
    salted_messages,
    write_workload,
)
from inferencebench_pipeline.measure.workloads.recipe import Recipe, recipe_of
from inferencebench_pipeline.measure.workloads.tokenizer import Tokenizer

_SALT_DIGITS: Final = 9
# A mark that no prompt of a person holds: the encoded body is split at it.
_SALT_PLACE: Final = "\x00salt\x00"
_SALT_PLACE_JSON: Final = json.dumps(_SALT_PLACE)[1:-1].encode()

MADE_WORKLOAD: Final = "workload.jsonl"
"""The file of a capture that holds text made to measure; prompts of data sets stay in theirs."""


def keep_workload(
    folder: Path, spec: BenchmarkSpec, recipe: Recipe, tokenizer: Callable[[], Tokenizer]
) -> MadeWorkload:
    """Return the plan of ``spec``; text that has to be made is made, and kept in ``folder``.

    Raises:
        SpecError: the tokenizer cannot give what the spec asks for.
        EngineUnreachableError: it does not answer.
    """
    if not recipe.needs_tokenizer:
        return as_it_is(recipe)
    salted = spec.workload.salted_by != "none"
    workload = make(recipe, tokenizer(), api=spec.workload.api, salted=salted)
    write_workload(folder / MADE_WORKLOAD, workload)
    return workload


def workload_of(folder: Path, spec: BenchmarkSpec) -> MadeWorkload:
    """Return the plan of the run of ``spec`` whose capture is in ``folder``.

    Raises:
        SpecError: its data set is gone or has changed.
        CaptureError: text had to be made for it, and is missing or damaged.
    """
    path = folder / MADE_WORKLOAD
    if path.exists():
        return read_workload(path)
    recipe = recipe_of(spec.workload, spec.seed)
    if recipe.needs_tokenizer:
        raise CaptureError(f"{path} is missing; run it again")
    return as_it_is(recipe)


@dataclass(frozen=True)
class RequestPlan:
    """The body of every request of one repeat, by its place in an endless list of items."""

    run_id: str
    repeat: int
    workload: MadeWorkload
    salted_by: str
    bodies: tuple[tuple[bytes, bytes], ...]
    """The text before and after the salt of each item, so that nothing is encoded in the window."""

    @classmethod
    def of(
        cls, spec: BenchmarkSpec, run_id: str, workload: MadeWorkload, repeat: int = 1
    ) -> RequestPlan:
        """Return the plan of one repeat of ``spec``, which asks what ``workload`` holds."""
        bodies = tuple(_body(spec, item) for item in workload.items)
        return cls(run_id, repeat, workload, spec.workload.salted_by, bodies)

    @property
    def conversation_lengths(self) -> tuple[int, ...]:
        """The number of turns of each conversation, in the order of the items."""
        grouped = groupby(self.workload.items, key=lambda item: item.conversation)
        return tuple(len(list(turns)) for _, turns in grouped)

    def item(self, number: int) -> Item:
        """Return the item that place ``number`` of the endless list sends: the items in turn."""
        return self.workload.items[number % len(self.workload.items)]

    def body(self, number: int) -> bytes:
        """Return the JSON body that place ``number`` of the endless list sends."""
        head, tail = self.bodies[number % len(self.bodies)]
        return head + self._salt(number).encode() + tail

    def _salt(self, number: int) -> str:
        """Return the salt at the beginning of a prompt.

        It has as many tokens in every prompt: words that are one token each where the text was
        made for the tokenizer, otherwise digits, of which most tokenizers make equally many.
        """
        words = self.workload.salt_words
        if self.salted_by == "none":
            return OPENER if words else ""
        drawn = hashlib.sha256(self._shared(number).encode()).digest()
        if not words:
            return f"[{str(int.from_bytes(drawn[:8]) % 10**_SALT_DIGITS).zfill(_SALT_DIGITS)}] "
        value = int.from_bytes(drawn)
        chosen = []
        for _ in range(SALT_WORDS):
            value, place = divmod(value, len(words))
            chosen.append(words[place])
        return " ".join([OPENER, *chosen])

    def _shared(self, number: int) -> str:
        """Return the name of what shares one salt; another repeat never does."""
        scope = f"{self.run_id}:{self.repeat}"
        if self.salted_by == "run":
            return scope
        if self.salted_by == "request":
            return f"{scope}:{number}"
        # A later round through the items has other salts, or a cache would serve all of it.
        turn_of = number // len(self.workload.items)
        return f"{scope}:{turn_of}:{self.item(number).conversation}"


def _body(spec: BenchmarkSpec, item: Item) -> tuple[bytes, bytes]:
    workload = spec.workload
    messages = salted_messages(item, _SALT_PLACE)
    content: dict[str, object] = {
        "model": spec.model.served_name or spec.model.id,
        "max_tokens": item.max_tokens,
        "temperature": workload.temperature,
        "seed": spec.seed % 2**31,
        "stream": True,
        # A stream holds no token counts unless it is asked for them.
        "stream_options": {"include_usage": True},
    }
    if workload.ignore_eos:
        # Not OpenAI's, but vLLM's, SGLang's and llama.cpp's; left out when not asked for.
        content["ignore_eos"] = True
    if workload.api == "chat":
        content["messages"] = messages
    else:
        content["prompt"] = messages[0]["content"]
    encoded = json.dumps(content, separators=(",", ":")).encode()
    head, tail = encoded.split(_SALT_PLACE_JSON)
    return head, tail
