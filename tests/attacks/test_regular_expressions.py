"""No regular expression of the package takes more than linear time, whatever text it is shown.

Every expression is found by itself, in the source, with the methods that it is used by. Each is
shown pumped text made of its own alphabet. Nothing is said about absolute speed: one fails when
the time is both far beyond linear and grows like a power of the length.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import inferencebench_pipeline

PACKAGE = Path(inferencebench_pipeline.__file__).parent
METHODS = {"match", "fullmatch", "search", "findall", "finditer", "sub", "subn", "split"}
LENGTHS = (24, 28, 32, 36, 40, 120, 1_000, 3_000, 6_000, 20_000)
SLOW_S = 0.15
"""Linear ones take a thousandth of it for the longest text, quadratic ones several times it."""
GROWS = 2.6
"""The factor in time for twice the text from which it counts as more than linear."""


class Use(NamedTuple):
    """An expression, and a way in which it is applied."""

    where: str
    pattern: Any
    method: str


def _modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if "sandbox" not in parts and "__main__" not in parts:
            yield ".".join(parts).removesuffix(".__init__"), path


def _uses() -> Iterator[Use]:
    for name, path in _modules():
        source = path.read_text()
        if not re.search(r"^import re$", source, re.MULTILINE):
            continue
        module = importlib.import_module(name)
        for attribute, value in vars(module).items():
            for pattern in _patterns(value):
                called = set(re.findall(rf"\b{attribute}\.(\w+)\(", source)) & METHODS
                for method in called or {"search"}:
                    yield Use(f"{name}.{attribute}", pattern, method)
        for node in ast.walk(ast.parse(source)):
            if (call := _inline(node)) is not None:
                yield Use(f"{name}:{node.lineno}", *call)  # type: ignore[attr-defined]


def _patterns(value: object) -> list[Any]:
    """Return the expressions that a module's attribute is, or holds."""
    held = list(value.values()) if type(value) is dict else value
    if type(held) not in (list, tuple, set, frozenset):
        held = [value]
    return [item for item in held if isinstance(item, re.Pattern)]  # type: ignore[attr-defined]


def _inline(node: ast.AST) -> tuple[Any, str] | None:
    """Return the expression and method of a call such as ``re.sub("a+", …)``."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
        return None
    owner, first = node.func.value, node.args[0]
    if not (isinstance(owner, ast.Name) and owner.id == "re" and node.func.attr in METHODS):
        return None
    flags = re.MULTILINE if "MULTILINE" in ast.dump(node) else 0
    if isinstance(first, ast.IfExp):
        first = first.body
    if isinstance(first, ast.JoinedStr):  # what is filled in is a literal of ours
        text = "".join(
            part.value if isinstance(part, ast.Constant) else "name" for part in first.values
        )
        return re.compile(text, flags), node.func.attr
    if not isinstance(first, ast.Constant):
        return None
    return re.compile(first.value, flags), node.func.attr


USES = sorted({(use.where, use.method): use for use in _uses()}.items())


def _texts(pattern: Any) -> Iterator[tuple[str, str, str]]:
    """Yield beginnings, what is repeated, and endings, of the pattern's own alphabet."""
    source = pattern.pattern
    source = source.decode() if isinstance(source, bytes) else source
    words = sorted(set(re.findall(r"[A-Za-z0-9_]{2,}", source)))[:8]
    letters = [*dict.fromkeys("a0 \n" + "".join(re.findall(r"[^\w\s]", source)))]
    singles = [*dict.fromkeys([*letters, *'_-./"\\{,=:', *words])]
    starts = ["", *words[:3], *(f'"{word}"' for word in words[:1]), '"model":"', 'a{b="']
    for start, unit in itertools.product(starts, singles):
        yield start, unit, "\0"
    for pair in itertools.permutations(letters[:10], 2):
        yield "", "".join(pair), "\0"
    for letter in letters:  # a line that begins like the right one, again and again
        yield "", f"a{letter}\n", "\0"


def _took_s(use: Use, text: str | bytes) -> float:
    arguments = ("", text) if use.method in {"sub", "subn"} else (text,)
    began = time.process_time()
    found = getattr(use.pattern, use.method)(*arguments)
    if use.method == "finditer":
        list(found)
    return time.process_time() - began


def _pumped(use: Use, start: str, unit: str, end: str, length: int) -> str | bytes:
    text = start + unit * (length // len(unit)) + end
    return text.encode() if isinstance(use.pattern.pattern, bytes) else text


def test_every_expression_is_found() -> None:
    """The search itself is tested: it knows the expressions that were slow once."""
    found = {where for (where, _), _ in USES}
    assert "inferencebench_pipeline.measure.audit.prometheus_text._SERIES" in found
    assert "inferencebench_pipeline.measure.audit.audit._SAID" in found
    assert any(where.startswith("inferencebench_pipeline.hub.dataset.naming:") for where in found)
    assert len(found) > 40


@pytest.mark.slow
def test_a_slow_expression_is_told_from_a_fast_one() -> None:
    metrics = r"^(\w+)(?:\{((?:[^\"}]|\"(?:[^\"\\]|\\.)*\")*)\})?\s+(\S+)"  # of /metrics, once
    slow = Use("slow", re.compile(metrics, re.MULTILINE), "findall")
    slow_search = Use("slow", re.compile(r"\d+x"), "search")
    slow_sub = Use("slow", re.compile(r"[.-]*\.[.-]+|[.-]+\.[.-]*"), "sub")
    exponential = Use("exponential", re.compile(r"(?:a|aa)*b"), "match")
    assert _slow_text(Use("fast", re.compile(r"^[a-z]++:"), "match")) is None
    for use in (slow, slow_search, slow_sub, exponential):
        assert _slow_text(use), use.pattern.pattern


@pytest.mark.parametrize("use", [use for _, use in USES], ids=[f"{w}.{m}" for (w, m), _ in USES])
def test_the_time_of_an_expression_is_linear_in_its_text(use: Use) -> None:
    assert _slow_text(use) is None, f"{use.pattern.pattern!r}"


def _slow_text(use: Use) -> str | None:
    """Return the text that takes more than linear time, in words; None when there is none."""
    for start, unit, end in _texts(use.pattern):
        for length in LENGTHS:
            if _took_s(use, _pumped(use, start, unit, end, length)) < SLOW_S:
                continue
            if _grows(use, start, unit, end, length):
                return f"{start!r} + {unit!r} * n + {end!r}"
            break
    return None


def _grows(use: Use, start: str, unit: str, end: str, length: int) -> bool:
    half, whole = (
        min(_took_s(use, _pumped(use, start, unit, end, size)) for _ in range(2))
        for size in (length // 2, length)
    )
    return whole > SLOW_S and whole > GROWS * half
