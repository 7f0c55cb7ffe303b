"""Reading of a card's page: its titles, the rows of its tables, and the numbers that it tells.

Nothing here knows the record. A page is read as a person sees it: tables and titles in Markdown and
in HTML, numbers with their units in any usual spelling. Pictures and numbers in words are not read.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

_CODE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING: Final = re.compile(r" {0,3}#[ \t]")
_BAR: Final = re.compile(r"(?<!\\)\|")
_NUMBER: Final = r"\d{1,3}(?:[,_' ]\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_A_NUMBER: Final = re.compile(rf"-?(?:{_NUMBER})(?:e[-+]?\d{{1,3}})?", re.IGNORECASE)
# A number with no word or number before it. The pattern begins with a digit and looks back from
# there, so that a search skips to digits and does not stop at each letter. Groups of three do not
# end before a digit: `of 12` and `6633303 tok/s` on the next line are two numbers.
_TOLD: Final = (
    r"\d(?<![\w.,]\d)(?:\d{0,2}(?:[,_' ]\d{3})+(?!\d)(?:\.\d+)?|\d*(?:\.\d+)?)(?:e[-+]?\d{1,3})?"
)
_UNIT: Final = (
    r"(?:[a-z]{1,12} )?(?:tokens?|toks?|requests?|reqs?)"
    r"(?: ?/ ?s(?:ec(?:ond)?)?\b| per s(?:ec(?:ond)?)?\b| (?:a|each|every) second\b)"
    r"|t ?/ ?s\b|tps\b|rps\b|qps\b|ms\b|milliseconds?\b|seconds?\b|joules? per token\b"
    r"|j/token\b"
)
_CLAIM: Final = re.compile(
    rf"(?P<number>{_TOLD})(?: ?(?P<times>k|m|thousand|million)(?![a-z]))?"
    rf"(?: ?[(\[]?(?=[a-z])(?P<unit>{_UNIT}))?",
    re.IGNORECASE,
)
_UNIT_BEFORE: Final = re.compile(
    rf"(?<!\w)(?P<unit>{_UNIT})[)\]]?(?: ?[:=] ?| (?:is|are|was|of|up to|about) )\Z", re.IGNORECASE
)
_LONGEST_UNIT: Final = 60
A_UNIT: Final = re.compile(rf"(?<!\w)(?:{_UNIT})", re.IGNORECASE)
_HTML_TABLE: Final = re.compile(r"<table\b.*?(?:</table>|\Z)", re.IGNORECASE | re.DOTALL)
_HTML_ROW: Final = re.compile(r"<tr\b[^<>]{0,200}>", re.IGNORECASE)
_HTML_CELL: Final = re.compile(r"<t[dh]\b[^<>]{0,200}>", re.IGNORECASE)
_HTML_TITLE: Final = re.compile(r"<h1\b[^<>]{0,200}>(.*?)(?:</h1>|$)", re.IGNORECASE)
_UNDERLINE: Final = re.compile(r" {0,3}=+[ \t]*")
_ONE_PARAGRAPH: Final = re.compile(r"\n(?<=[\w,)]\n)(?=[(\w])")
_DECORATION: Final = "*_`~\\"
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")
_ESCAPED: Final = re.compile(r"\\([^\w\s])")
_SPACES: Final = re.compile("  +")
_TAG: Final = re.compile(r"<[^<>]{0,200}>")


def numbers_with_units(text: str) -> Iterator[tuple[str, str, re.Match[str]]]:
    """Yield what is said, the unit and the number, of each number before or behind a unit."""
    for claim in _CLAIM.finditer(text):
        start = claim.start()
        if claim["unit"]:
            yield claim[0], claim["unit"], claim
        elif text[start - 1 : start] in {" ", ":", "="} and text[start - 2 : start] != "| ":
            before = _UNIT_BEFORE.search(text, max(start - _LONGEST_UNIT, 0), start)
            if before is not None:
                yield before[0] + claim[0], before["unit"], claim


def titles(body: str) -> Iterator[str]:
    """Yield the headings of the first level; a comment in a block of code is none."""
    fence, before = "", ""
    for line in body.splitlines():
        found = _CODE.match(line)
        if found is not None and (not fence or found[1].startswith(fence)):
            fence = "" if fence else found[1]
        elif not fence:
            if _HEADING.match(line):
                yield plain_text(line.strip().strip("#"))
            elif before and _UNDERLINE.fullmatch(line):
                yield plain_text(before)
            yield from map(plain_text, _HTML_TITLE.findall(line))
        before = line.strip()


def table_rows(body: str) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the names of the columns and the cells of each row; the first row has no names yet."""
    columns: list[str] = []
    for line in _HTML_TABLE.sub(_with_bars, body).splitlines():
        stripped = line.strip()
        if "|" not in stripped:
            columns = []
        elif stripped.strip("|-: "):
            cells = [
                *map(plain_text, _cells(_TAG.sub("", stripped) if "<" in stripped else stripped))
            ]
            yield columns, cells
            columns = columns or [*map(str.lower, cells)]


def _with_bars(table: re.Match[str]) -> str:
    """Return a table in HTML in the form that Markdown has."""
    lines = _HTML_ROW.sub("\n", table[0].replace("\n", " "))
    return f"\n{_HTML_CELL.sub('|', lines)}\n"


def _cells(line: str) -> list[str]:
    inner = line.removeprefix("|").removesuffix("|")
    # Ours escape every bar that is inside of a cell.
    return inner.split("|") if "\\" not in inner else _BAR.split(inner)


def numbers_of(text: str) -> list[tuple[float, float]]:
    """Return the numbers in a text, each with the worth of one in its last place."""
    found = (read_number(item[0]) for item in _A_NUMBER.finditer(text))
    return [number for number in found if number is not None]


@lru_cache(maxsize=4096)
def plain_text(text: str) -> str:
    """Return a cell or a heading as it is read: without entities and escapes."""
    if "\\" in text:
        text = _ESCAPED.sub(r"\1", text)
    return " ".join(html.unescape(text).split())


def page_text(body: str) -> str:
    """Return the page as it is read: without tags, emphasis and characters that draw nothing."""
    shown = html.unescape(_TAG.sub("", body))
    if not shown.isascii():
        shown = _NOT_ASCII.sub(_drawn, unicodedata.normalize("NFKC", shown))
    for mark in _DECORATION:
        shown = shown.replace(mark, "")
    return _SPACES.sub(" ", _ONE_PARAGRAPH.sub(" ", shown).replace("\t", " "))


def _drawn(found: re.Match[str]) -> str:
    return "" if unicodedata.category(found[0]) in {"Cf", "Mn"} else found[0]


def read_number(text: str) -> tuple[float, float] | None:
    """Return the number that a text begins with, and the worth of one in its last place."""
    found = _A_NUMBER.match(text)
    if found is None:
        return None
    digits, _, exponent = found[0].lower().partition("e")
    digits = re.sub(r"[,_' ]", "", digits)
    decimals = len(digits.partition(".")[2])
    power = int(exponent or 0)
    try:
        return float(digits) * 10.0**power, 10.0 ** (power - decimals)
    except OverflowError:
        return None
