"""Rows of a label and a text: no stranger's text begins a row, and addresses can be copied.

A text that is too long for the terminal continues under itself, so that nothing of a stranger
begins a line. A digest or an address that does not fit beside its label is moved to a line of its
own, further to the left. One that is longer than a whole line is left whole: a terminal breaks it
where it likes and copies it in one piece. So it may begin a row, and it is left whole only if it
can look like nothing but a part of an address: it has no spaces, and none of our lines' words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from rich.console import Console
from rich.text import Text

Row = tuple[Text, Text]
"""A label and the text that belongs to it."""

MARGIN: Final = 2
"""Cells in front of every row."""
_NARROWEST: Final = 40
# Possessive: a long run of dots is the address's or the marks', and is not divided in every way.
_ADDRESS: Final = re.compile(r"\(?(?:[A-Za-z0-9._~/@%+=#?&-]|:(?=//|\d))++[).,;:]*")
"""A word in which a path, an address or a digest is written, with the marks around it."""
_OURS: Final = re.compile(
    "verified|rejected|incomplete|newer|error|warning|note:|differ|empty|missing", re.IGNORECASE
)
"""Words that begin lines of ours; a text with one of them is never left to the terminal."""


def rows_of(rows: Iterable[Row], labels: int, out: Console) -> Iterator[Text]:
    """Yield the lines of rows whose labels stand in a column of their own.

    Args:
        rows: labels and texts.
        labels: the cells of the column of labels. None of them when 0: then the first line begins
            at the margin of the terminal, and must begin with a word of ours.
        out: the console whose width counts.
    """
    margin = MARGIN if labels else 0
    width = max(out.width, _NARROWEST)
    # A label column that leaves no room for the text would be worse than none.
    column = labels if width >= 2 * labels else 4 * bool(labels)
    hang = margin + column or MARGIN
    for label, text in rows:
        head = Text(" " * margin) + label
        wide = label.cell_len >= column > 0
        if wide:
            yield head
            head = Text()
        for number, (line, indent) in enumerate(_lines(text, width, hang, out)):
            first = number == 0 and not wide
            if first and indent < hang and label.cell_len:
                yield head
                head = Text()
            here = head if first else Text()
            here.pad_right(max((0 if first and not labels else indent) - here.cell_len, 0))
            yield here + line


def lines_of(text: Text, room: int, out: Console) -> Iterator[Text]:
    """Yield the lines of a text, each of at most ``room`` cells, but for longer addresses."""
    for part, alone in _parts(text, room):
        if alone:
            yield part
            continue
        for line in part.wrap(out, room, overflow="fold"):
            line.rstrip()
            if line.cell_len:
                yield line


def _lines(text: Text, width: int, hang: int, out: Console) -> Iterator[tuple[Text, int]]:
    """Yield the lines of a text, each with the cells that stand in front of it."""
    found = False
    for line in lines_of(text, width - hang, out):
        found = True
        room_beside = min(hang, width - line.cell_len)
        yield line, max(room_beside, min(2 * MARGIN, hang))
    if not found:
        yield Text(), hang


def _parts(text: Text, room: int) -> Iterator[tuple[Text, bool]]:
    """Yield the parts of a text, and whether a part is an address too long for its room."""
    end = 0
    for word in re.finditer(r"\S+", text.plain):
        if len(word[0]) > room and is_copied_whole(word[0]):
            yield text[end : word.start()], False
            yield text[word.start() : word.end()], True
            end = word.end() + 1
    if end < len(text.plain):
        yield text[end:], False


def is_copied_whole(word: str) -> bool:
    """Return whether a word is an address or a digest, whose parts look like nothing else."""
    return _ADDRESS.fullmatch(word) is not None and _OURS.search(word) is None
