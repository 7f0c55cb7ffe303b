"""YAML that a stranger or a colleague wrote, read within bounds; every failure says its place.

Every document goes through one pass over the parser's events first: it counts what stands there,
what the aliases would make of it, and how deep it is, and stops at the first that is too much. Only
then are values made of it. What the documents mean is said elsewhere, and so is writing YAML.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, TypeAlias, TypeVar

import yaml

from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.untrusted.text import printable

MAX_DEPTH: Final = 64
"""Levels of lists and mappings; no document that this project reads comes near it."""
MAX_NODES: Final = 500_000
"""Keys, values, lists and mappings, an alias counting as all that it stands for.

Model cards with the results of a large benchmark suite hold some tens of thousands.
"""
MAX_NUMBER_CHARACTERS: Final = 400
"""Bound on the characters of one number. The largest float has 309 digits; long ones take quadratic
time."""
MAX_CPU_S: Final = 30.0
"""CPU time of the thread that reads; a document within the bounds above takes two with libyaml."""

_BOM: Final = "\ufeff"
_MOST_DIRECTIVES: Final = 16
_CLOCK_EVERY: Final = 512
_DIRECTIVE: Final = re.compile(r"^%", re.MULTILINE)
_LIBYAML: Final = bool(getattr(yaml, "__with_libyaml__", False))
_TAG: Final = "tag:yaml.org,2002:"
_NUMBERS: Final = frozenset({f"{_TAG}int", f"{_TAG}float"})
_PLAIN_TAGS: Final = (
    "str", "int", "float", "bool", "null", "timestamp", "seq", "map",
)  # fmt: skip
_Step = TypeVar("_Step")

YamlNode: TypeAlias = yaml.Node
Mark: TypeAlias = yaml.Mark
MappingNode: TypeAlias = yaml.MappingNode
SequenceNode: TypeAlias = yaml.SequenceNode
ScalarNode: TypeAlias = yaml.ScalarNode


class YamlDocumentError(PermanentError, ValueError):
    """A document is not YAML, or is larger or deeper than a reader may be asked to follow."""

    def __init__(self, what: str, problem: str, at: tuple[int, int] | None = None) -> None:
        self.problem = printable(problem)
        """The problem, without its place."""
        self.line: int | None = at[0] if at else None
        """Line and column from 1; None when the document as a whole is wrong."""
        self.column: int | None = at[1] if at else None
        self.repeated: str | None = None
        """The key that a mapping has twice, when that is what is wrong."""
        place = "" if at is None else f":{self.line}:{self.column}"
        super().__init__(f"{printable(what)}{place}: {self.problem}")


@dataclass(frozen=True)
class YamlDocument:
    """A document that was read: its value, and the nodes that know where each part stands."""

    value: Any
    """Plain data: mappings, lists, text, numbers, booleans, None, and dates where the schema has
    them."""
    root: yaml.Node | None = field(repr=False)


class _RepeatedKeyError(yaml.constructor.ConstructorError):
    def __init__(self, key: str, node: yaml.Node) -> None:
        super().__init__(None, None, f"key {key!r} is there twice; remove one", node.start_mark)
        self.key = key


class PlainConstructor(yaml.constructor.SafeConstructor, yaml.resolver.Resolver):
    """Makes plain values under YAML 1.1, as PyYAML reads it; what else a tag may name is refused.

    A schema of its own is a subclass with other resolvers and constructors.
    """

    yaml_constructors: ClassVar[dict[Any, Any]] = {}

    def __init__(self) -> None:
        yaml.constructor.SafeConstructor.__init__(self)
        yaml.resolver.Resolver.__init__(self)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401
        """Return the value of a node; whatever is wrong with it is said with its place."""
        if node.tag in _NUMBERS and len(node.value) > MAX_NUMBER_CHARACTERS:
            raise _refused(node, f"a number of more than {MAX_NUMBER_CHARACTERS} characters")
        try:
            return super().construct_object(node, deep=deep)
        except yaml.YAMLError:
            raise
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            kind = str(node.tag).removeprefix(_TAG)
            shown = node.value if isinstance(node, yaml.ScalarNode) else "this"
            raise _refused(node, f"{printable(shown, 40)!r} is no {printable(kind, 40)}") from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping, refusing one that says something twice."""
        seen: set[Any] = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            merges = key_node.tag == f"{_TAG}merge"
            key = "<<" if merges else self.construct_object(key_node, deep=True)
            if isinstance(key, list | dict | set):
                raise _refused(key_node, "a key must be one text or number, not a collection")
            # PyYAML by itself lets the last of two equal keys win.
            if key in seen:
                raise _RepeatedKeyError(printable(key, 80), key_node)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)

    def _of_no_plain_kind(self, node: yaml.Node) -> Any:  # noqa: ANN401 - it never returns
        raise _refused(node, f"the tag {printable(node.tag, 80)} is not read here")


for _name in _PLAIN_TAGS:
    _constructor = yaml.constructor.SafeConstructor.yaml_constructors[_TAG + _name]
    PlainConstructor.add_constructor(_TAG + _name, _constructor)
PlainConstructor.add_constructor(None, PlainConstructor._of_no_plain_kind)  # type: ignore[type-var]


def parse_yaml(
    data: bytes | str,
    *,
    what: str,
    max_bytes: int,
    max_nodes: int = MAX_NODES,
    schema: type[PlainConstructor] = PlainConstructor,
) -> YamlDocument:
    """Return the one document in ``data``, with None as its value when there is nothing in it.

    Args:
        data: UTF-8 bytes, or text.
        what: names the document in the error, such as the path of a file.
        max_bytes: the largest document that is parsed.
        max_nodes: the most nodes it may have once its aliases are followed.
        schema: what its scalars mean.

    Raises:
        YamlDocumentError: it is larger, deeper or longer, no YAML, several documents, a key stands
            there twice, or a value is none of its kind.
    """
    text = yaml_text(data, what=what, max_bytes=max_bytes).removeprefix(_BOM)
    try:
        constructor = schema()
        composer = _Composer(constructor.resolve)
        for event in yaml_events(text, what=what, max_nodes=max_nodes):
            composer.take(event)
        root = composer.root
        return YamlDocument(None if root is None else constructor.construct_document(root), root)
    except yaml.MarkedYAMLError as error:
        raise _marked(what, error, text) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise YamlDocumentError(what, f"is not YAML: {error}") from error


def yaml_text(data: bytes | str, *, what: str, max_bytes: int) -> str:
    """Return the text of a document that is not too large.

    Raises:
        YamlDocumentError: it is larger, or is not UTF-8.
    """
    if len(data) > max_bytes:
        raise YamlDocumentError(what, f"is larger than {max_bytes} bytes; it was not read")
    try:
        if isinstance(data, bytes):
            return data.decode("utf-8")
        data.encode()
    except UnicodeError as error:
        where = getattr(error, "start", "?")
        raise YamlDocumentError(what, f"is not UTF-8 text (at {where})") from error
    return data


def yaml_events(text: str, *, what: str, max_nodes: int = MAX_NODES) -> list[yaml.Event]:
    """Return the parser's events, which know where everything stands, in order.

    Raises:
        YamlDocumentError: it is no YAML, or larger or deeper than the bounds, also once its aliases
            are followed.
    """
    if text.startswith(_BOM):
        raise YamlDocumentError(what, "begins with a byte order mark; remove it", (1, 1))
    _require_few_directives(text, what)
    count = _Count(what, max_nodes)
    events: list[yaml.Event] = []
    for event in _steps(text, what, "check_event", "get_event"):
        count.take(event)
        events.append(event)
    return events


def yaml_tokens(text: str, *, what: str, max_nodes: int = MAX_NODES) -> Iterator[yaml.Token]:
    """Yield the scanner's tokens; only for text that :func:`yaml_events` has accepted.

    Raises:
        YamlDocumentError: it is no YAML, or has more tokens than so many nodes may have.
    """
    _require_few_directives(text, what)
    for number, token in enumerate(_steps(text, what, "check_token", "get_token")):
        if number > 4 * max_nodes:
            raise YamlDocumentError(what, f"has more than {max_nodes} parts", _at(token))
        yield token


def _steps(text: str, what: str, check: str, get: str) -> Iterator[Any]:
    """Yield what a parser gives, stopping it when it has taken too long."""
    # The time of this thread alone: a busy machine is not the document's fault.
    started = time.thread_time()
    loader: Any = yaml.CSafeLoader(text) if _LIBYAML else None
    try:
        loader = yaml.SafeLoader(text) if loader is None else loader
        more: Callable[[], bool] = getattr(loader, check)
        step: Callable[[], Any] = getattr(loader, get)
        number = 0
        while more():
            number += 1
            if number % _CLOCK_EVERY == 0 and time.thread_time() - started > MAX_CPU_S:
                raise YamlDocumentError(what, f"takes more than {MAX_CPU_S:g} s to read")
            yield step()
    except yaml.MarkedYAMLError as error:
        raise _marked(what, error, text) from error
    except yaml.reader.ReaderError as error:
        raise YamlDocumentError(
            what, f"is not YAML: the character {error.character!r} may not stand in it"
        ) from error
    except (yaml.YAMLError, ValueError, LookupError, RecursionError) as error:
        if isinstance(error, YamlDocumentError):
            raise
        raise YamlDocumentError(what, f"is not YAML: {error}") from error
    finally:
        if loader is not None:
            loader.dispose()


class _Count:
    """Counts nodes and levels as the events come, with and without what aliases stand for."""

    def __init__(self, what: str, max_nodes: int) -> None:
        self._what = what
        self._max_nodes = max_nodes
        self._total = 0
        self._open: list[tuple[str | None, int, int]] = []
        """Open collections, each with its anchor, the total before it, and its height so far."""
        self._known: dict[str, tuple[int, int]] = {}
        """Mapping from each anchor to the nodes and levels that an alias of it stands for."""

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.ScalarEvent):
            self._add(event, 1, 0)
            _require_text(self._what, event)
            if event.anchor is not None:
                self._known[event.anchor] = (1, 0)
        elif isinstance(event, yaml.CollectionStartEvent):
            # Inside of its own collection an anchor is not known: an alias of it would not end.
            if event.anchor is not None:
                self._known.pop(event.anchor, None)
            self._open.append((event.anchor, self._total, 0))
            self._add(event, 1, 0)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before, height = self._open.pop()
            if anchor is not None:
                self._known[anchor] = (self._total - before, height + 1)
            self._raise_to(height + 1)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._known.clear()

    def _alias(self, event: yaml.AliasEvent) -> None:
        if event.anchor not in self._known:
            inside = any(anchor == event.anchor for anchor, *_ in self._open)
            problem = "refers to itself" if inside else "has no anchor before it"
            raise YamlDocumentError(
                self._what, f"the alias {printable(event.anchor, 40)} {problem}", _at(event)
            )
        self._add(event, *self._known[event.anchor])

    def _add(self, event: yaml.Event, nodes: int, levels: int) -> None:
        self._total += nodes
        if self._total > self._max_nodes:
            raise YamlDocumentError(
                self._what,
                f"has more than {self._max_nodes} nodes, counting what its aliases stand for",
                _at(event),
            )
        if len(self._open) + levels > MAX_DEPTH:
            raise YamlDocumentError(
                self._what, f"is nested more than {MAX_DEPTH} levels deep", _at(event)
            )
        self._raise_to(levels)

    def _raise_to(self, levels: int) -> None:
        if self._open and self._open[-1][2] < levels:
            anchor, before, _ = self._open[-1]
            self._open[-1] = (anchor, before, levels)


class _Composer:
    """Makes one tree of nodes from events that were counted."""

    def __init__(self, resolve: Callable[..., str]) -> None:
        self.root: yaml.Node | None = None
        self._resolve = resolve
        self._anchors: dict[str, yaml.Node] = {}
        self._open: list[list[yaml.Node]] = []
        self._nodes: list[yaml.CollectionNode] = []

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._put(self._anchors[str(event.anchor)])
        elif isinstance(event, yaml.ScalarEvent):
            tag = self._tag(yaml.ScalarNode, event, event.value)
            start: Any = event.start_mark
            node = yaml.ScalarNode(tag, event.value, start, None, style=event.style)
            self._put(node, event.anchor)
        elif isinstance(event, yaml.CollectionStartEvent):
            kind = yaml.SequenceNode if isinstance(event, yaml.SequenceStartEvent) else (
                yaml.MappingNode
            )  # fmt: skip
            begin: Any = event.start_mark
            collection = kind(self._tag(kind, event, None), [], begin, None)
            self._put(collection, event.anchor)
            self._nodes.append(collection)
            self._open.append([])
        elif isinstance(event, yaml.CollectionEndEvent):
            closed, children = self._nodes.pop(), self._open.pop()
            pairs = zip(children[::2], children[1::2], strict=True)
            closed.value = list(pairs) if isinstance(closed, yaml.MappingNode) else children

    def _tag(self, kind: type[yaml.Node], event: yaml.NodeEvent, value: str | None) -> str:
        tag: str | None = getattr(event, "tag", None)
        if tag is None or tag == "!":
            return self._resolve(kind, value, getattr(event, "implicit", True))
        return tag

    def _put(self, node: yaml.Node, anchor: str | None = None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if self._open:
            self._open[-1].append(node)
        elif self.root is None:
            self.root = node
        else:
            raise yaml.composer.ComposerError(
                None, None, "there is a second document; keep one", node.start_mark
            )


def _require_few_directives(text: str, what: str) -> None:
    """Refuse a document of directives: a parser compares each of them with all before it."""
    for number, found in enumerate(_DIRECTIVE.finditer(text)):
        if number >= _MOST_DIRECTIVES:
            line = text.count("\n", 0, found.start())
            raise YamlDocumentError(
                what, f"has more than {_MOST_DIRECTIVES} lines that begin with %", (line + 1, 1)
            )


def _require_text(what: str, event: yaml.ScalarEvent) -> None:
    """Refuse half of a surrogate pair, which no UTF-8 holds; only escapes can name one."""
    if not event.value.isascii():
        try:
            event.value.encode()
        except UnicodeEncodeError as error:
            raise YamlDocumentError(
                what, "half of a surrogate pair is no character", _at(event)
            ) from error


def _refused(node: yaml.Node, problem: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _at(part: Any) -> tuple[int, int]:  # noqa: ANN401 - an event, a token: what has a mark
    return int(part.start_mark.line) + 1, int(part.start_mark.column) + 1


def _marked(what: str, error: yaml.MarkedYAMLError, text: str) -> YamlDocumentError:
    """Return the error with its place; one at the end of the document is on its last line."""
    said = str(error.problem or error.context or "cannot be parsed")
    mark: Any = error.problem_mark or error.context_mark
    at = None if mark is None else (int(mark.line) + 1, int(mark.column) + 1)
    if at is not None and at[0] > 1:
        lines = text.splitlines() or [""]
        at = at if at[0] <= len(lines) else (len(lines), len(lines[-1]) + 1)
    refusal = YamlDocumentError(what, said, at)
    if isinstance(error, _RepeatedKeyError):
        refusal.repeated = error.key
    return refusal
