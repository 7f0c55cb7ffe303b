"""Data sets in files: the prompt sets that ship with this package, JSONL, and ShareGPT's form."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.spec.workload import (
    BuiltinDataset,
    JsonlDataset,
    ShareGptDataset,
)
from inferencebench_pipeline.measure.workloads.items import Item, Message, Role

FileDataset = BuiltinDataset | JsonlDataset | ShareGptDataset

_MOST_BYTES: Final = 2 * 2**30
# ShareGPT's names for who speaks, beside those of the API.
_ROLES: Final[dict[str, Role]] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
_FIELDS: Final = {"id", "prompt", "messages", "max_tokens"}


@dataclass(frozen=True)
class Contents:
    """The conversations of a data set, each of which is its turns in order."""

    id: str
    sha256: str
    """The SHA-256 of the file's bytes."""
    conversations: tuple[tuple[Item, ...], ...]


def read_dataset(dataset: FileDataset, *, max_tokens: int) -> Contents:
    """Return the contents of a data set.

    Args:
        dataset: which one.
        max_tokens: of the items that do not say it themselves.

    Raises:
        SpecError: the file is missing, is not the one that ``sha256`` names, or something in it
            has not the form that it must have. Nothing is ever put in its place.
    """
    data = _data(dataset)
    digest = hashlib.sha256(data).hexdigest()
    if isinstance(dataset, BuiltinDataset):
        rows = json.loads(data)["prompts"]
        return Contents(
            f"builtin:{dataset.name}",
            digest,
            tuple((_single(row["id"], row["text"], max_tokens),) for row in rows),
        )
    if dataset.sha256 not in (None, digest):
        raise SpecError(
            f"workload.dataset.path = {dataset.path!r} has SHA-256 {digest}, not "
            f"workload.dataset.sha256 = {dataset.sha256}; bring the file it was made for, or "
            "correct the hash"
        )
    name = Path(dataset.path).name
    if isinstance(dataset, JsonlDataset):
        conversations = _jsonl(dataset.path, data, max_tokens)
    else:
        conversations = _sharegpt(dataset, data, max_tokens)
    # The draw, the salts and the rows of the traces all go by the id.
    if len({turns[0].conversation for turns in conversations}) != len(conversations):
        raise SpecError(f"two prompts of {dataset.path} have the same id; give each its own")
    return Contents(f"{dataset.kind}:{name}", digest, conversations)


def file_sha256(dataset: JsonlDataset | ShareGptDataset) -> str:
    """Return the SHA-256 of a data set's file.

    Raises:
        SpecError: it cannot be read.
    """
    return hashlib.sha256(_data(dataset)).hexdigest()


def _data(dataset: FileDataset) -> bytes:
    if isinstance(dataset, BuiltinDataset):
        return _builtin(dataset)
    path = Path(dataset.path)
    try:
        with path.open("rb") as handle:
            data = handle.read(_MOST_BYTES + 1)
    except OSError as error:
        raise SpecError(
            f"cannot read workload.dataset.path = {dataset.path!r}: {error.strerror or error}; "
            "put the file there or correct the path, which starts at the spec's folder"
        ) from error
    if len(data) > _MOST_BYTES:
        raise SpecError(f"workload.dataset.path = {dataset.path!r} is larger than 2 GiB; cut it")
    return data


def _builtin(dataset: BuiltinDataset) -> bytes:
    folder = resources.files(__package__) / "prompts"
    file = folder / f"{dataset.name}.json"
    if not file.is_file():
        names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".json"))
        known = ", ".join("builtin:" + name.removesuffix(".json") for name in names)
        raise SpecError(
            f"workload.dataset = 'builtin:{dataset.name}' is not a known prompt set; use {known}"
        )
    return file.read_bytes()


def _single(name: str, text: str, max_tokens: int) -> Item:
    return Item(name, (Message("user", (text,)),), max_tokens, conversation=name)


def _jsonl(path: str, data: bytes, max_tokens: int) -> tuple[tuple[Item, ...], ...]:
    items = []
    for number, line in enumerate(data.splitlines(), start=1):
        if line.strip():
            where = f"{path}:{number}"
            items.append((_jsonl_item(_parsed(line, where), number, max_tokens, where),))
    return tuple(items)


def _jsonl_item(row: Any, number: int, max_tokens: int, where: str) -> Item:  # noqa: ANN401
    if not isinstance(row, dict) or ("prompt" in row) == ("messages" in row):
        raise SpecError(f"{where}: a line must be an object with either prompt or messages")
    unknown = sorted(set(row) - _FIELDS)
    if unknown:
        raise SpecError(
            f"{where}: {unknown[0]} is not a known field; a line has {', '.join(sorted(_FIELDS))}"
        )
    name = row.get("id", f"line-{number}")
    asked = row.get("max_tokens", max_tokens)
    if isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
        raise SpecError(f"{where}: max_tokens = {asked!r} is not a whole number of 1 or more")
    messages: tuple[Message, ...]
    if "prompt" in row:
        messages = (_message("user", row["prompt"], where),)
    else:
        said = row["messages"]
        if not isinstance(said, list) or not said or not all(isinstance(m, dict) for m in said):
            raise SpecError(f"{where}: messages must be a list of objects with role and content")
        messages = tuple(_message(m.get("role"), m.get("content"), where) for m in said)
    return Item(str(name), messages, min(asked, max_tokens), conversation=str(name))


def _sharegpt(
    dataset: ShareGptDataset, data: bytes, max_tokens: int
) -> tuple[tuple[Item, ...], ...]:
    rows = _parsed(data, dataset.path)
    if not isinstance(rows, list):
        raise SpecError(f"{dataset.path} must be a JSON list of conversations")
    conversations = []
    for number, row in enumerate(rows):
        where = f"{dataset.path}: conversation {number}"
        said = row.get("conversations") if isinstance(row, dict) else None
        if not isinstance(said, list) or not all(isinstance(message, dict) for message in said):
            raise SpecError(f"{where} has no list `conversations` of objects with from and value")
        name = str(row.get("id", number))
        messages = [_message(entry.get("from"), entry.get("value"), where) for entry in said]
        turns = _turns(name, messages, dataset.turns, max_tokens)
        # A conversation without a question asks nothing.
        if turns:
            conversations.append(turns)
    return tuple(conversations)


def _turns(name: str, messages: list[Message], most: int, max_tokens: int) -> tuple[Item, ...]:
    """Return a conversation's questions, each with everything that was said before it."""
    asked = [place for place, message in enumerate(messages) if message.role == "user"]
    return tuple(
        Item(
            name if len(asked) == 1 or most == 1 else f"{name}/{turn}",
            tuple(messages[: place + 1]),
            max_tokens,
            conversation=name,
        )
        for turn, place in enumerate(asked[:most], start=1)
    )


def _message(role: Any, content: Any, where: str) -> Message:  # noqa: ANN401
    if role not in _ROLES:
        raise SpecError(f"{where}: {role!r:.40} is not a role; use {', '.join(sorted(_ROLES))}")
    if not isinstance(content, str) or not content.strip():
        raise SpecError(f"{where}: a message must hold text, not {content!r:.40}")
    return Message(_ROLES[role], (content,))


def _parsed(data: bytes, where: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(data)
    # The parser goes down one call a level, and a file may nest as deeply as it likes.
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{where}: not valid JSON: {error}") from error
