"""Regular expressions that somebody else wrote, matched whole and in linear time.

Python's own matcher goes back and tries again, so that an expression such as ``(a+)+b`` takes a
time that doubles with each character. Here all ways to match are followed at once (Thompson, 1968),
as RE2 does, with which cosign and Fulcio match identities. What that cannot do, such as a reference
to a group, is refused. An expression always has to match the whole text: that a match was looked
for anywhere in it has let strangers in before (CVE-2026-22772).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_EXPRESSION_CHARACTERS: Final = 1_000
MAX_STATES: Final = 2_000
"""Each character of a text costs one look at each state, of which a repetition may make many."""
MAX_TEXT_CHARACTERS: Final = 2_048
"""A longer text matches nothing; no name in a certificate comes near it."""
_MAX_DEPTH: Final = 20
_CLASSES: Final = frozenset("dDwWsS")
_REPEATED: Final = re.compile(r"\{([0-9]{1,4})(,([0-9]{1,4})?)?\}")
_SETS_OF_SETS: Final = ("[[", "--", "&&", "||", "~~")


class RegularExpressionError(ValueError):
    """An expression is not one, or is none that can be matched in linear time."""


@dataclass(frozen=True)
class _Character:
    """One character, of those that an expression for a single one matches."""

    pattern: re.Pattern[str]


@dataclass(frozen=True)
class _Sequence:
    parts: tuple[_Node, ...]


@dataclass(frozen=True)
class _Choice:
    branches: tuple[_Node, ...]


@dataclass(frozen=True)
class _Repeat:
    part: _Node
    least: int
    most: int | None


_Node = _Character | _Sequence | _Choice | _Repeat


class LinearExpression:
    """A regular expression that is matched in a time linear in the text."""

    def __init__(self, text: str) -> None:
        r"""Read an expression in the syntax that Python and RE2 share.

        Known are literals, ``.``, classes, ``\d \w \s`` and their opposites, groups, ``|``, the
        repetitions ``* + ? {m,n}``, ``(?i)`` at the beginning, and ``^`` and ``$`` at the two ends,
        where they change nothing.

        Raises:
            RegularExpressionError: it is longer than 1,000 characters, or anything else is in it.
        """
        if len(text) > MAX_EXPRESSION_CHARACTERS:
            raise RegularExpressionError(
                f"the regular expression has {len(text)} characters; at most "
                f"{MAX_EXPRESSION_CHARACTERS} are read"
            )
        self.text = text
        self._patterns: list[re.Pattern[str] | None] = [None]
        self._next: list[tuple[int, ...]] = [()]
        self._start = self._add(_Parser(text).whole(), 0)

    def matches(self, text: str) -> bool:
        """Return whether the expression matches ``text`` from its first to its last character."""
        if len(text) > MAX_TEXT_CHARACTERS:
            return False
        states = self._reached({self._start})
        for character in text:
            states = self._reached(
                {
                    self._next[state][0]
                    for state in states
                    if (pattern := self._patterns[state]) and pattern.fullmatch(character)
                }
            )
            if not states:
                return False
        return 0 in states

    def _reached(self, states: set[int]) -> set[int]:
        """Return the states that are reached without a character, the given ones included."""
        waiting, found = list(states), set(states)
        while waiting:
            state = waiting.pop()
            if self._patterns[state] is None:
                new = set(self._next[state]) - found
                found |= new
                waiting += new
        return found

    def _state(self, pattern: re.Pattern[str] | None, *following: int) -> int:
        if len(self._next) >= MAX_STATES:
            raise RegularExpressionError(
                f"{self.text!r} repeats too much: it would take more than {MAX_STATES} states"
            )
        self._patterns.append(pattern)
        self._next.append(following)
        return len(self._next) - 1

    def _add(self, node: _Node, following: int) -> int:
        """Return the state from which ``node`` is matched, and ``following`` reached after it."""
        match node:
            case _Character(pattern):
                return self._state(pattern, following)
            case _Sequence(parts):
                for part in reversed(parts):
                    following = self._add(part, following)
                return following
            case _Choice(branches):
                return self._state(None, *(self._add(branch, following) for branch in branches))
            case _Repeat(part, least, most):
                if most is None:
                    again = self._state(None)
                    self._next[again] = (self._add(part, again), following)
                    following = again
                else:
                    end = following
                    for _ in range(most - least):
                        following = self._state(None, self._add(part, following), end)
                for _ in range(least):
                    following = self._add(part, following)
                return following


class _Parser:
    """Reads one expression from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._flags = re.NOFLAG
        self._depth = 0

    def whole(self) -> _Node:
        if self._text.startswith("(?i)"):
            self._at, self._flags = 4, re.IGNORECASE
        if self._rest().startswith("^"):
            self._at += 1
        node = self._choice()
        if self._rest():
            raise self._error("a closing parenthesis without an opening one")
        return node

    def _rest(self) -> str:
        return self._text[self._at :]

    def _error(self, problem: str) -> RegularExpressionError:
        return RegularExpressionError(
            f"{self._text!r} cannot be used as a regular expression: {problem} at character "
            f"{self._at + 1}"
        )

    def _choice(self) -> _Node:
        branches = [self._sequence()]
        while self._rest().startswith("|"):
            self._at += 1
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else _Choice(tuple(branches))

    def _sequence(self) -> _Node:
        parts: list[_Node] = []
        while (rest := self._rest()) and rest[0] not in "|)":
            if rest == "$":
                self._at += 1
            else:
                parts.append(self._repeated(self._atom()))
        return _Sequence(tuple(parts))

    def _repeated(self, node: _Node) -> _Node:
        rest = self._rest()
        if rest[:1] in ("*", "+", "?") and rest:
            self._at += 1
            node = _Repeat(node, int(rest[0] == "+"), 1 if rest[0] == "?" else None)
        elif found := _REPEATED.match(rest):
            least = int(found[1])
            most = least if found[2] is None else None if found[3] is None else int(found[3])
            if most is not None and most < least:
                raise self._error("a repetition that ends before it begins")
            self._at += found.end()
            node = _Repeat(node, least, most)
        else:
            return node
        # Which of several ways is tried first makes no difference to whether the whole matches.
        if self._rest().startswith("?"):
            self._at += 1
        return node

    def _atom(self) -> _Node:
        rest = self._rest()
        if rest[0] == "(":
            return self._group()
        if rest[0] == "[":
            return self._character(self._class_end())
        if rest[0] == "\\":
            escaped = rest[1:2]
            if not escaped or (escaped.isalnum() and escaped not in _CLASSES):
                raise self._error("an escape that is not known here")
            return self._character(2)
        if rest[0] in "*+?{}^$]":
            raise self._error(f"a {rest[0]} that is out of place (write \\{rest[0]} for itself)")
        return self._character(1)

    def _group(self) -> _Node:
        self._at += 3 if self._rest().startswith("(?:") else 1
        if self._rest().startswith("?"):
            raise self._error("a group with a special meaning")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error(f"more than {_MAX_DEPTH} groups inside each other")
        node = self._choice()
        if not self._rest():
            raise self._error("an opening parenthesis without a closing one")
        self._at += 1
        self._depth -= 1
        return node

    def _class_end(self) -> int:
        """Return the length of the class of characters that begins here."""
        rest = self._rest()
        # A bracket that comes first stands for itself.
        at = 2 if rest.startswith("[^") else 1
        at += rest.startswith("]", at)
        while at < len(rest) and rest[at] != "]":
            at += 2 if rest[at] == "\\" else 1
        if at >= len(rest):
            raise self._error("a class of characters without an end")
        if any(mark in rest[: at + 1] for mark in _SETS_OF_SETS):
            raise self._error("a class of characters with one inside it")
        return at + 1

    def _character(self, length: int) -> _Node:
        try:
            pattern = re.compile(self._rest()[:length], self._flags)
        except re.error as error:
            raise self._error(f"a class of characters that cannot be read ({error.msg})") from error
        self._at += length
        return _Character(pattern)
