"""The recipe of a workload before any tokenizer: prompts, drawn lengths, and the hash.

Two models have different tokenizers, and text of 512 tokens differs between them; that 512
tokens are asked for does not. The identity of a workload is therefore that of its recipe, and the
text that a recipe becomes for one tokenizer is recorded with a hash of its own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Final

from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.spec.workload import (
    ConversationDataset,
    SharedPrefixDataset,
    SyntheticDataset,
    Workload,
)
from inferencebench_pipeline.measure.workloads.datasets import read_dataset
from inferencebench_pipeline.measure.workloads.items import Item, Made, Message
from inferencebench_pipeline.measure.workloads.lengths import draw_length, generator

RECIPE_VERSION: Final = 1
"""Raised when the same spec would come to ask something else, so that the two do not compare."""

Conversation = tuple[Item, ...]


@dataclass(frozen=True)
class Recipe:
    """The prompts of a workload, in the order they are sent, with text yet to be made."""

    dataset_id: str
    dataset_sha256: str
    items: tuple[Item, ...]
    identity_sha256: str
    """The SHA-256 of the items and of how they are to be answered, without the model."""

    @property
    def needs_tokenizer(self) -> bool:
        """True when some of its text has to be made to measure."""
        return any(
            isinstance(piece, Made)
            for item in self.items
            for message in item.messages
            for piece in message.pieces
        )


def recipe_of(workload: Workload, seed: int) -> Recipe:
    """Return the recipe of a workload: prompts and lengths drawn by the seed.

    Raises:
        SpecError: the data set is missing, damaged, or smaller than ``workload.prompts``.
    """
    dataset = workload.dataset
    if isinstance(dataset, SyntheticDataset):
        drawn = _synthetic(dataset, workload, seed)
    elif isinstance(dataset, SharedPrefixDataset):
        drawn = _shared_prefix(dataset, workload, seed)
    elif isinstance(dataset, ConversationDataset):
        drawn = _conversations(dataset, workload, seed)
    else:
        contents = read_dataset(dataset, max_tokens=workload.max_tokens)
        drawn = _drawn(contents.conversations, contents.id, workload, seed)
    items = tuple(_with_output(item, workload, seed) for turns in drawn for item in turns)
    if workload.api == "completions" and any(len(item.messages) > 1 for item in items):
        raise SpecError(
            "workload.api = completions sends one text, and the data set has prompts of several "
            "messages; use api: chat"
        )
    identity = _identity(workload, seed, items)
    if isinstance(dataset, SyntheticDataset | SharedPrefixDataset | ConversationDataset):
        # Made-up text comes from no file, so the recipe is also the data set.
        return Recipe(dataset.kind, identity, items, identity)
    return Recipe(contents.id, contents.sha256, items, identity)


def _drawn(
    available: tuple[Conversation, ...], name: str, workload: Workload, seed: int
) -> list[Conversation]:
    if workload.prompts > len(available):
        raise SpecError(
            f"workload.prompts = {workload.prompts}: {name} holds only {len(available)} prompts; "
            "lower it"
        )

    def draw(turns: Conversation) -> str:
        return hashlib.sha256(f"{seed}:{turns[0].conversation}".encode()).hexdigest()

    # Each prompt draws its own place, whatever else the file holds.
    return sorted(available, key=draw)[: workload.prompts]


def _synthetic(dataset: SyntheticDataset, workload: Workload, seed: int) -> list[Conversation]:
    items: list[Conversation] = []
    for number in range(workload.prompts):
        name = f"synthetic-{number:05d}"
        length = draw_length(dataset.prompt_tokens, f"{seed}:{name}:prompt")
        message = Message("user", (Made(f"{seed}:{name}", None),))
        items.append((Item(name, (message,), workload.max_tokens, name, length),))
    return items


def _shared_prefix(
    dataset: SharedPrefixDataset, workload: Workload, seed: int
) -> list[Conversation]:
    items: list[Conversation] = []
    for number in range(workload.prompts):
        name = f"question-{number:05d}"
        # Drawn, not taken in turn: how often a document comes back is up to chance, as in life.
        document = int(generator(f"{seed}:{name}:document").random() * dataset.documents)
        key = f"{seed}:document-{document:05d}"
        length = draw_length(dataset.document_tokens, f"{key}:length")
        asked = draw_length(dataset.question_tokens, f"{seed}:{name}:question")
        pieces = (Made(key, length), "\n\nQuestion:", Made(f"{seed}:{name}", asked))
        items.append((Item(name, (Message("user", pieces),), workload.max_tokens, name),))
    return items


def _conversations(
    dataset: ConversationDataset, workload: Workload, seed: int
) -> list[Conversation]:
    conversations = []
    for number in range(workload.prompts):
        name = f"conversation-{number:05d}"
        said: list[Message] = []
        turns: list[Item] = []
        for turn in range(1, dataset.turns + 1):
            key = f"{seed}:{name}:{turn}"
            asked = draw_length(dataset.turn_tokens, f"{key}:question:length")
            answered = draw_length(dataset.answer_tokens, f"{key}:answer:length")
            said.append(Message("user", (Made(f"{key}:question", asked),)))
            turns.append(Item(f"{name}/{turn}", tuple(said), workload.max_tokens, name))
            # Not the engine's own words: the load must be the same for every model and replay.
            said.append(Message("assistant", (Made(f"{key}:answer", answered),)))
        conversations.append(tuple(turns))
    return conversations


def _with_output(item: Item, workload: Workload, seed: int) -> Item:
    if workload.output_tokens is None:
        return item
    drawn = draw_length(workload.output_tokens, f"{seed}:{item.id}:output")
    return replace(item, max_tokens=min(drawn, workload.max_tokens))


def _identity(workload: Workload, seed: int, items: tuple[Item, ...]) -> str:
    """Return the SHA-256 of the recipe as canonical JSON."""
    # Neither the model nor the load: two models, and the points of a sweep, must compare.
    content = {
        "version": RECIPE_VERSION,
        "api": workload.api,
        "ignore_eos": workload.ignore_eos,
        "temperature": workload.temperature,
        "seed": seed,
        "salt": workload.salted_by,
        "items": [
            [item.id, item.conversation, item.max_tokens, item.prompt_tokens, _written(item)]
            for item in items
        ],
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _written(item: Item) -> list[object]:
    return [
        [
            message.role,
            [
                piece if isinstance(piece, str) else {"made": [piece.key, piece.tokens]}
                for piece in message.pieces
            ],
        ]
        for message in item.messages
    ]
