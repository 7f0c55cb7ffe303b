"""Expressions that somebody else wrote: the whole text, linear time, and nothing else accepted."""

from __future__ import annotations

import random
import re
import time

import pytest

from inferencebench_pipeline.untrusted.regular_expressions import (
    MAX_EXPRESSION_CHARACTERS,
    MAX_TEXT_CHARACTERS,
    LinearExpression,
    RegularExpressionError,
)
from tests.chance import dice

WORKFLOW = "https://github.com/acme/bench/.github/workflows/run.yml@refs/heads/main"


@pytest.mark.parametrize(
    ("expression", "text", "matches"),
    [
        (r"https://github\.com/acme/.*", WORKFLOW, True),
        (r"^https://github\.com/acme/.*$", WORKFLOW, True),
        (r"(?i)HTTPS://GITHUB\.COM/acme/.*", WORKFLOW, True),
        (r"(?i)^https://github\.com/ACME/.*$", WORKFLOW, True),
        (r"https://github\.com/acme", WORKFLOW, False),
        (r"acme", WORKFLOW, False),
        (r"github\.com/acme/.*", f"https://evil.example/?{WORKFLOW}", False),
        (r"^https://github\.com/acme/|.*@refs/heads/main$", WORKFLOW, True),
        (r"^a|b$", "ax", False),
        (r"^a|b$", "b", True),
        (r".*", "two\nlines", False),
        (r"a\.b", "axb", False),
        (r"[]a]+", "]a]", True),
        (r"[^]a]+", "bc", True),
        (r"[^]a]+", "b]", False),
        (r"[a\]b]{2}", "]b", True),
        (r"\w+\d{2,}", "abc12", True),
        (r"\S+", "a b", False),
        (r"(ab|c)*?", "abcab", True),
        (r"()*", "", True),
        (r"", "", True),
        (r"", "a", False),
        (r"(a{0,2}){2}", "aaaaa", False),
        (r"a{3}", "aaa", True),
        (r"é+", "éé", True),
    ],
)
def test_an_expression_matches_the_whole_text_or_does_not(
    expression: str, text: str, matches: bool
) -> None:
    assert LinearExpression(expression).matches(text) is matches


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        (r"(a)\1", "an escape that is not known here at character 4"),
        (r"\bword", "an escape"),
        ("a\\", "an escape"),
        (r"(?=a)b", "a group with a special meaning"),
        (r"(?P<name>a)", "a group with a special meaning"),
        (r"a(?i)b", "a group with a special meaning"),
        (r"(a", "without a closing one"),
        (r"a)", "without an opening one"),
        (r"*a", r"a \* that is out of place"),
        (r"a**", r"a \* that is out of place"),
        (r"a*+", r"a \+ that is out of place"),
        (r"a{2", "a { that is out of place"),
        (r"a{3,2}", "ends before it begins"),
        (r"a^b", r"a \^ that is out of place"),
        (r"a$b", r"a \$ that is out of place"),
        (r"(a$)", r"a \$ that is out of place"),
        (r"a]", "a ] that is out of place"),
        (r"[a", "without an end"),
        (r"[z-a]", "cannot be read"),
        (r"[[:alpha:]]", "with one inside it"),
        ("(" * 21 + ")" * 21, "more than 20 groups"),
        ("a" * (MAX_EXPRESSION_CHARACTERS + 1), "has 1001 characters"),
        (r"(a{1000}){1000}", "repeats too much"),
        (r"(a{9999}){2}", "repeats too much"),
    ],
)
def test_what_cannot_be_matched_in_linear_time_is_refused_and_named(
    expression: str, said: str
) -> None:
    with pytest.raises(RegularExpressionError, match=said):
        LinearExpression(expression)


@pytest.mark.parametrize(
    "expression", [r"(a+)+b", r"(a|aa)*b", r"(a*)*b", r"(.*)*b", r"(a?){100}a{100}b"]
)
def test_the_time_does_not_double_with_each_character(expression: str) -> None:
    """Python's own matcher takes longer than the age of the universe for the first of them."""
    began = time.process_time()
    assert not LinearExpression(expression).matches("a" * 1_000)
    assert time.process_time() - began < 5


def test_a_text_beyond_every_name_matches_nothing() -> None:
    expression = LinearExpression("a*")
    assert expression.matches("a" * MAX_TEXT_CHARACTERS)
    assert not expression.matches("a" * (MAX_TEXT_CHARACTERS + 1))


def expression_of(rolled: random.Random, depth: int = 2) -> str:
    """Return a random expression over few characters, so that texts often match."""
    parts = []
    for _ in range(rolled.randint(0, 3)):
        kind = rolled.randint(0, 5 if depth else 2)
        part = (
            rolled.choice(["a", "b", r"\.", r"\w"])
            if kind < 2
            else rolled.choice([".", "[ab]", "[^a]", r"[a\].]"])
            if kind == 2
            else f"({expression_of(rolled, depth - 1)}|{expression_of(rolled, depth - 1)})"
            if kind == 3
            else f"(?:{expression_of(rolled, depth - 1)})"
        )
        parts.append(part + rolled.choice(["", "", "*", "+", "?", "{2}", "{1,2}", "{0,}", "*?"]))
    return "".join(parts)


def test_it_agrees_with_pythons_matcher_on_random_expressions() -> None:
    rolled = dice("regular expressions")
    matched = 0
    for _ in range(1_000):
        expression = expression_of(rolled)
        ours = LinearExpression(expression)
        theirs = re.compile(expression)
        for _ in range(4):
            text = "".join(rolled.choices("ab.]", k=rolled.randint(0, 4)))
            expected = theirs.fullmatch(text) is not None
            assert ours.matches(text) is expected, (expression, text)
            matched += expected
    assert matched > 300
