"""Reading YAML as evaluation files need it: with the meaning that every parser gives it.

YAML 1.1 and 1.2 disagree about ``no``, ``1e3``, ``010`` and dates, and the Hub's parser is not
ours. So scalars are read by the YAML 1.2 core schema (section 10.3), and text that others would
take for a date is refused by name. Every problem is reported with the line it stands on.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from pydantic import ValidationError

from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.untrusted import (
    PlainConstructor,
    YamlDocumentError,
    YamlNode,
    parse_yaml,
    printable,
)

MAX_FILE_BYTES = 1024 * 1024
"""Evaluation files are a few hundred bytes; a larger one is something else."""
MAX_FILE_NODES = 50_000
"""Keys, values, lists and mappings of one, its aliases followed."""

_DATE = re.compile(r"\d{4}-\d\d?-\d\d?(?:(?:[Tt]|[ \t]+)\d\d?:\d\d(?::\d\d(?:\.\d*)?)?\S*)?")
_TAG = "tag:yaml.org,2002:"
_CORE_SCHEMA = (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+.0123456789",
    ),
    # Not part of the core schema: it marks what other readers would turn into a date.
    ("timestamp", f"^(?:{_DATE.pattern})$", "0123456789"),
)


class EvaluationFileError(PermanentError):
    """An evaluation file breaks its specification; ``problems`` says where and how."""

    def __init__(self, filename: str, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(f"{filename}: {problem}" for problem in problems))
        self.filename = filename
        self.problems = problems


@dataclass(frozen=True)
class UnquotedDate:
    """A scalar without quotes that other YAML parsers turn into a date."""

    text: str


@dataclass(frozen=True)
class Document:
    """A parsed file that still knows where everything stood."""

    filename: str
    value: object
    _root: YamlNode | None = field(repr=False)

    def line_of(self, location: Sequence[int | str]) -> int:
        """Return the line, from 1, of a key or item; that of its nearest parent when absent."""
        node, line = self._root, 1
        for part in location:
            found = _child(node, part)
            if found is None:
                break
            mark, node = found
            line = mark.line + 1
        return line

    def refuse(self, error: ValidationError, remedies: Mapping[str, str]) -> EvaluationFileError:
        """Return the error to raise for what a model says about this document.

        Args:
            error: what the model said; its locations are paths into this document.
            remedies: what to do, by key in dotted form without indices.
        """
        return EvaluationFileError(self.filename, tuple(self._problems(error, remedies)))

    def _problems(self, error: ValidationError, remedies: Mapping[str, str]) -> Iterator[str]:
        problems = error.errors(include_url=False)
        # A list that lost its broken items is then too short; only the items are worth a line.
        inner = {item["loc"][:depth] for item in problems for depth in range(len(item["loc"]))}
        for problem in problems:
            location = problem["loc"]
            if problem["type"] == "too_short" and location in inner:
                continue
            keys = ".".join(part for part in location if isinstance(part, str))
            said = _said(problem["type"], location, problem["msg"], problem.get("input"))
            remedy = f"; {remedies[keys]}" if keys in remedies else ""
            yield f"line {self.line_of(location)}: {said}{remedy}"


class _CoreConstructor(PlainConstructor):
    """Makes values under the core schema of YAML 1.2."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute


for _name, _pattern, _first in _CORE_SCHEMA:
    _CoreConstructor.add_implicit_resolver(_TAG + _name, re.compile(_pattern), list(_first))
_CoreConstructor.add_constructor(f"{_TAG}int", lambda _, node: int(_text(node), 10))
_CoreConstructor.add_constructor(f"{_TAG}float", lambda _, node: _float(_text(node)))
_CoreConstructor.add_constructor(f"{_TAG}timestamp", lambda _, node: UnquotedDate(_text(node)))


def read_yaml(data: bytes, *, filename: str) -> Document:
    """Return the document in ``data``; what looks like a date without quotes is marked so.

    Raises:
        EvaluationFileError: too large or deep, not UTF-8, not YAML, a key is there twice, or a
            value is none of its kind.
    """
    filename = printable(filename)
    if len(data) > MAX_FILE_BYTES:
        raise EvaluationFileError(
            filename, (f"is {len(data)} bytes; an evaluation file has at most {MAX_FILE_BYTES}",)
        )
    try:
        document = parse_yaml(
            data.decode("utf-8"),
            what=filename,
            max_bytes=MAX_FILE_BYTES,
            max_nodes=MAX_FILE_NODES,
            schema=_CoreConstructor,
        )
    except UnicodeDecodeError as error:
        raise EvaluationFileError(filename, (f"is not UTF-8 (byte {error.start})",)) from error
    except YamlDocumentError as error:
        line, column = ("", "") if error.line is None else (
            f"line {error.line}: ", f" (column {error.column})"
        )  # fmt: skip
        problem = f"{line}is not YAML we can read: {error.problem}{column}"
        raise EvaluationFileError(filename, (problem,)) from error
    return Document(filename, document.value, document.root)


def _text(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise yaml.constructor.ConstructorError(None, None, "not a scalar", node.start_mark)
    return str(node.value)


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _child(node: yaml.Node | None, part: int | str) -> tuple[yaml.Mark, yaml.Node] | None:
    """Return where a child stands, by key or index, and the child."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == part:
                return key.start_mark, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark, node.value[part]
    return None


def _said(kind: str, location: Sequence[int | str], message: str, value: object) -> str:
    key = _dotted(location)
    if kind == "missing":
        return f"{key} is missing"
    if kind == "extra_forbidden":
        return f"{key} is not a key of the specification (value {reprlib.repr(value)})"
    if isinstance(value, UnquotedDate):
        return f'{key} is a date without quotes; write "{value.text}"'
    problem = message.removeprefix("Value error, ")
    if kind == "value_error" and not location:
        return problem
    return f"{key}: {problem}{_shown(value)}"


def _shown(value: object) -> str:
    return "" if isinstance(value, dict | list) else f" (value {reprlib.repr(value)})"


def _dotted(location: Sequence[int | str]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "the document"
