"""One top-level key of a card's front matter, edited in place: no other byte changes.

Loading the YAML and dumping it again is not an option on somebody else's card: ``no`` becomes
``false``, ``1.10`` becomes ``1.1``, comments and quotes are lost. Here the parser only says where
things lie, the edit is cut and paste of text, and every edit is parsed again and compared before
it is returned. What cannot be edited this way is refused with a reason, never guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import yaml

from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.untrusted import (
    YamlDocumentError,
    parse_yaml,
    write_yaml,
    yaml_events,
    yaml_tokens,
)

_BOM = "\ufeff"
_NEWLINE = re.compile(r"\r\n|\r|\n")
_LINE = re.compile(r"[^\r\n]*+(?:\r\n|\r|\n|\Z)")
_FENCE = "---"
_MAX_CARD_BYTES = 8 << 20
"""Front matter of a card with the results of a large benchmark suite has one or two million."""
_BLOCK = "the front matter"


class FrontMatterError(PermanentError):
    """The front matter cannot be edited without touching more than the one key."""


@dataclass(frozen=True)
class _Card:
    """A card's text and where its front matter lies in it."""

    text: str
    start: int
    end: int
    """Index of the closing fence; equal to ``start`` when the block is empty."""

    @property
    def block(self) -> str:
        return self.text[self.start : self.end]

    @property
    def newline(self) -> str:
        found = _NEWLINE.search(self.text)
        return found[0] if found else "\n"


@dataclass(frozen=True)
class _Entry:
    """One top-level key: its name, the lines it takes in the block, and what the parser saw."""

    key: str | None
    start: int
    end: int
    value: yaml.Event
    seen: tuple[tuple[object, ...], ...]


def get_key(data: bytes, key: str) -> Any:  # noqa: ANN401 - whatever the card holds
    """Return the value of ``key`` in the front matter, or ``None`` when it is not there.

    Raises:
        FrontMatterError: the front matter cannot be read.
    """
    card = _read(data)
    entry = None if card is None else _find(_entries(card.block), key)
    if card is None or entry is None:
        return None
    lines = card.block[entry.start : entry.end]
    try:
        return parse_yaml(lines, what=_BLOCK, max_bytes=_MAX_CARD_BYTES).value[key]
    except YamlDocumentError as error:
        before = card.block.count("\n", 0, entry.start)
        raise FrontMatterError(
            f"the value of {key!r} cannot be read on its own ({_place(error, before)}); "
            "does it refer to an anchor elsewhere? Edit the card by hand"
        ) from error


def set_key(data: bytes, key: str, value: object) -> bytes:
    """Return ``data`` with ``key: value`` in its front matter, replaced in place or added last.

    A card without front matter gets a block of this key alone before its first byte (after a byte
    order mark). Line ends follow the file's.

    Raises:
        FrontMatterError: no such edit leaves everything else as it is.
    """
    card = _read(data)
    if card is None:
        text = data.decode("utf-8")
        mark = _BOM if text.startswith(_BOM) else ""
        newline = _Card(text, 0, 0).newline
        lines = _lines({key: value}, 0, newline)
        return f"{mark}---{newline}{lines}---{newline}{text[len(mark) :]}".encode()
    entries = _entries(card.block)
    entry = _find(entries, key)
    start, end = (len(card.block),) * 2 if entry is None else (entry.start, entry.end)
    lines = _lines({key: value}, _indent(card.block, entries), card.newline)
    return _spliced(card, key, start, end, lines)


def append_item(data: bytes, key: str, item: Mapping[str, object]) -> bytes:
    """Return ``data`` with ``item`` added at the end of the list under ``key``.

    The lines of the items already there are not rewritten.

    Raises:
        FrontMatterError: the value is something else than a list in block style.
    """
    card = _read(data)
    entry = None if card is None else _find(_entries(card.block), key)
    if card is None or entry is None or get_key(data, key) in (None, []):
        return set_key(data, key, [dict(item)])
    if not isinstance(entry.value, yaml.SequenceStartEvent) or entry.value.flow_style:
        raise FrontMatterError(
            f"{key!r} holds something else than a list with one '- ' per item; "
            "rewrite it as such a list, or remove it"
        )
    lines = _lines([dict(item)], _mark(entry.value).column, card.newline)
    return _spliced(card, key, entry.end, entry.end, lines)


def remove_items(data: bytes, key: str, unwanted: Callable[[object], bool]) -> bytes:
    """Return ``data`` without the items of the list under ``key`` that are ``unwanted``.

    The lines of the other items, and comments between items, stay as they are; a list that would
    be left empty goes with its key. Undoes :func:`append_item` to the byte.

    Raises:
        FrontMatterError: no such edit leaves everything else as it is.
    """
    items = get_key(data, key)
    card = _read(data)
    entry = None if card is None else _find(_entries(card.block), key)
    if card is None or entry is None or not isinstance(items, list):
        return data
    removed = [index for index, item in enumerate(items) if unwanted(item)]
    if len(removed) == len(items):
        return remove_key(data, key)
    if removed and getattr(entry.value, "flow_style", False):
        raise FrontMatterError(
            f"{key!r} is a list in one line; write one '- ' per item, or edit it by hand"
        )
    # From the last one, so that the places of those before it stay right.
    for index in reversed(removed):
        start, end = _item_lines(card.block, entry, index)
        card = replace(
            card,
            text=card.text[: card.start + start] + card.text[card.start + end :],
            end=card.end - (end - start),
        )
    edited = card.text.encode()
    kept = [item for index, item in enumerate(items) if index not in removed]
    if removed and (
        get_key(edited, key) != kept or remove_key(edited, key) != remove_key(data, key)
    ):
        raise FrontMatterError(f"items of {key!r} cannot be cut out cleanly; edit it by hand")
    return edited


def remove_key(data: bytes, key: str) -> bytes:
    """Return ``data`` without ``key``; a block that held nothing else goes with it.

    Undoes :func:`set_key` to the byte, on a card with front matter and on one without.

    Raises:
        FrontMatterError: no such edit leaves everything else as it is.
    """
    card = _read(data)
    entry = None if card is None else _find(_entries(card.block), key)
    if card is None or entry is None:
        return data
    if not (card.block[: entry.start] + card.block[entry.end :]).strip():
        mark = _BOM if card.text.startswith(_BOM) else ""
        rest = card.text[card.end + len(_FENCE) :]
        return (mark + _NEWLINE.sub("", rest, count=1)).encode()
    return _spliced(card, key, entry.start, entry.end, "")


def _read(data: bytes) -> _Card | None:
    """Return where the front matter lies, or ``None`` when the card has none."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FrontMatterError(f"the card is not UTF-8 ({error}); save it as UTF-8") from error
    lines = _LINE.finditer(text, len(_BOM) if text.startswith(_BOM) else 0)
    opening = next((line for line in lines if line[0].strip()), None)
    if opening is None or opening[0].strip() != _FENCE:
        return None
    closing = next((line for line in lines if line[0].rstrip("\r\n") == _FENCE), None)
    if closing is None or opening[0].lstrip().rstrip("\r\n") != _FENCE:
        raise FrontMatterError(
            "the card begins with '---' but its front matter has no closing line of exactly '---' "
            "(or the first has trailing spaces); fix the fences first"
        )
    return _Card(text, opening.end(), closing.start())


@lru_cache(maxsize=4)
def _entries(block: str) -> tuple[_Entry, ...]:
    """Return the block's top-level keys in order.

    One edit looks at the same text several times, and large cards take a second each time.

    Raises:
        FrontMatterError: not one YAML mapping in block style.
    """
    events = _events(block)
    # Without the start and the end of the stream. An empty text has nothing in between.
    body = events[1:-1]
    if not body:
        return ()
    root = body[1]
    documents = sum(isinstance(event, yaml.DocumentStartEvent) for event in body)
    ended = isinstance(body[-1], yaml.DocumentEndEvent) and body[-1].explicit
    if documents != 1 or ended or not isinstance(root, yaml.MappingStartEvent) or root.flow_style:
        raise FrontMatterError(
            "the front matter is not one mapping with one 'key: value' per line; rewrite it so"
        )
    # What is left is inside of the document and of its mapping.
    return tuple(_pairs(block, body[2:-2]))


def _events(block: str) -> list[yaml.Event]:
    try:
        return yaml_events(block, what=_BLOCK)
    except YamlDocumentError as error:
        raise FrontMatterError(
            f"the front matter is not YAML ({_place(error, 0)}); fix it"
        ) from error


def _place(error: YamlDocumentError, lines_before: int) -> str:
    """Return what is wrong and where, in lines of the front matter."""
    if error.line is None:
        return error.problem
    line = lines_before + error.line
    return f"line {line} of the front matter, column {error.column}: {error.problem}"


def _pairs(block: str, events: list[yaml.Event]) -> Iterator[_Entry]:
    at = 0
    while at < len(events):
        value_at = _after_node(events, at)
        end = _after_node(events, value_at)
        name = events[at]
        name_at = _mark(name).index
        start = max(block.rfind("\n", 0, name_at), block.rfind("\r", 0, name_at)) + 1
        alone = not block[start:name_at].strip(" ")
        yield _Entry(
            key=name.value if isinstance(name, yaml.ScalarEvent) and alone else None,
            start=start,
            end=_end_of_lines(block, start, _content_end(events[at:end])),
            value=events[value_at],
            seen=tuple(_seen(event) for event in events[at:end]),
        )
        at = end


def _after_node(events: list[yaml.Event], at: int) -> int:
    depth = 0
    while True:
        if isinstance(events[at], yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(events[at], yaml.CollectionEndEvent):
            depth -= 1
        at += 1
        if depth == 0:
            return at


def _content_end(events: list[yaml.Event]) -> int:
    """Return where the last content ends.

    The end the parser gives a block collection is that of the next token, past any comments.
    """
    end = 0
    flow: list[bool] = []
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            flow.append(bool(event.flow_style))
        closes_block = isinstance(event, yaml.CollectionEndEvent) and not flow.pop()
        opens = isinstance(event, yaml.CollectionStartEvent)
        if not closes_block and not opens:
            end = max(end, event.end_mark.index if event.end_mark else end)
    return end


def _end_of_lines(block: str, start: int, end: int) -> int:
    """Return the end of the line ``end`` lies in, leaving blank lines after it to what follows."""
    kept = block[start:end].rstrip(" \t\r\n")
    newline = _NEWLINE.search(block, start + len(kept))
    return newline.end() if newline else len(block)


def _item_lines(block: str, entry: _Entry, index: int) -> tuple[int, int]:
    """Return where the lines of one item of a block list begin and end in the block."""
    column = _mark(entry.value).column
    dashes = [
        token.start_mark.index
        for token in yaml_tokens(block[: entry.end], what=_BLOCK)
        if isinstance(token, yaml.BlockEntryToken)
        and token.start_mark.index >= entry.start
        # A dash that is further in belongs to a list inside of an item.
        and token.start_mark.column == column
    ]
    start = max(block.rfind("\n", 0, dashes[index]), block.rfind("\r", 0, dashes[index])) + 1
    return start, _end_of_lines(block, start, _end_of_item(block, entry, index))


def _end_of_item(block: str, entry: _Entry, index: int) -> int:
    events = _events(block)
    at = 1 + next(
        number
        for number, event in enumerate(events)
        if isinstance(event, yaml.SequenceStartEvent)
        and _mark(event).index == _mark(entry.value).index
    )
    for _ in range(index):
        at = _after_node(events, at)
    return _content_end(events[at : _after_node(events, at)])


def _mark(event: yaml.Event) -> Any:  # noqa: ANN401 - the stubs give a union with None
    return event.start_mark


def _seen(event: yaml.Event) -> tuple[object, ...]:
    return (
        # All that the parser makes of an event but its place, which an edit above it moves.
        type(event).__name__,
        getattr(event, "anchor", None),
        getattr(event, "tag", None),
        getattr(event, "implicit", None),
        getattr(event, "style", None),
        getattr(event, "flow_style", None),
        getattr(event, "value", None),
    )


def _find(entries: Sequence[_Entry], key: str) -> _Entry | None:
    found = [entry for entry in entries if entry.key == key]
    if len(found) > 1:
        raise FrontMatterError(f"the front matter has {key!r} {len(found)} times; keep one")
    return found[0] if found else None


def _indent(block: str, entries: Sequence[_Entry]) -> int:
    if not entries:
        return 0
    first = block[entries[0].start :]
    return len(first) - len(first.lstrip(" "))


def _lines(value: object, indent: int, newline: str) -> str:
    return "".join(
        (" " * indent + line if line else "") + newline
        for line in write_yaml(value).removesuffix("\n").split("\n")
    )


def _spliced(card: _Card, key: str, start: int, end: int, lines: str) -> bytes:
    """Return the card with ``block[start:end]`` replaced, after proving that nothing else moved."""
    block = card.block[:start] + lines + card.block[end:]
    before = _entries(card.block)
    replaced = [entry for entry in before if start <= entry.start < end]
    # Something elsewhere may refer to it, and would break with it.
    if any(anchor is not None for entry in replaced for _, anchor, *_ in entry.seen):
        raise FrontMatterError(
            f"the value of {key!r} holds an anchor or an alias (&, *); edit it by hand"
        )
    others = [entry.seen for entry in before if entry.key != key]
    edited = _entries(block)
    result = (card.text[: card.start] + block + card.text[card.end :]).encode()
    fenced = _read(result)
    if (
        [entry.seen for entry in edited if entry.key != key] != others
        or (_find(edited, key) is None) != (not lines)
        or fenced is None
        or fenced.block != block
    ):
        raise FrontMatterError(
            f"editing {key!r} would change another key of the front matter; edit it by hand"
        )
    return result
