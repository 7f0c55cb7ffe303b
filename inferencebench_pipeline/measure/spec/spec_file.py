"""Benchmark specs as files that a person writes: reading them, and saying which line is wrong."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.spec.launch import require_same_code
from inferencebench_pipeline.measure.spec.part import Role, parts_below, role_of
from inferencebench_pipeline.measure.spec.plan import BenchmarkFile, Plan, expand
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec
from inferencebench_pipeline.untrusted import (
    MappingNode,
    Mark,
    ScalarNode,
    SequenceNode,
    YamlDocumentError,
    YamlNode,
    parse_yaml,
    printable,
)

_MAX_SPEC_BYTES: Final = 1_000_000
_MAX_SPEC_NODES: Final = 50_000
_MOST_FIELDS_DEEP: Final = 20
_NOT_REPEATED: Final = {
    name
    for part in parts_below(BenchmarkFile)
    for name, field in part.model_fields.items()
    if role_of(field) in (Role.RUNS_CODE, Role.PRIVATE) and name != "kind"
}
"""Fields whose values may hold a secret that a person wrote there by mistake."""
_M = TypeVar("_M", bound=BaseModel)

Steps = tuple[str | int, ...]


def load_plan(path: Path, overrides: Sequence[str] = (), *, allow_code: bool = False) -> Plan:
    """Return the plan in the YAML file at ``path``: one run, or one for each of its points.

    Args:
        path: the file.
        overrides: fields to replace, each as ``load.concurrency=8``; the value is YAML.
        allow_code: whether they may replace what runs on this machine: for those who could run
            anything here anyway, and for nobody who launches by a form.

    Raises:
        SpecError: the file cannot be read, is not YAML, or a field of it is wrong; the message
            names file, line and field, the value and what is allowed. Or an override replaces
            what it may not.
    """
    document = _Document.read(path)
    written = None
    if overrides and not allow_code:
        # Before the overrides, which change the document in place.
        written = document.plan(path.parent)
    for override in overrides:
        document.override(override)
    asked = document.plan(path.parent)
    if written is not None:
        require_same_code(written, asked)
    return asked


def load_spec(path: Path, overrides: Sequence[str] = ()) -> BenchmarkSpec:
    """Return the single run that the file at ``path`` describes.

    Raises:
        SpecError: as in :func:`load_plan`, or it describes several.
    """
    runs = load_plan(path, overrides).runs
    if len(runs) != 1:
        raise SpecError(
            f"the spec {path} describes {len(runs)} runs, and one is wanted here; start them with "
            "`inferencebench run` or the job launch_benchmark"
        )
    return runs[0]


def read_spec(path: Path) -> BenchmarkSpec:
    """Return the spec that a run recorded in its ``spec.json``.

    Raises:
        SpecError: as in :func:`load_plan`.
    """
    return _Document.read(path).validate(BenchmarkSpec)


def named_spec(folder: Path, name: str) -> Path:
    """Return the path of the spec called ``name`` among those in ``folder``.

    Raises:
        SpecError: there is none of that name; the message lists those there are.
    """
    known = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    if name not in known:
        raise SpecError(
            f"there is no spec {name!r} in {folder}; there are: {', '.join(known) or 'none'}"
        )
    return known[name]


def parse_spec(content: object, *, where: str) -> BenchmarkSpec:
    """Return the spec of one run that ``content``, plain data, describes.

    Args:
        content: what a JSON parser returned.
        where: named in the error, so that the reader knows what to edit.

    Raises:
        SpecError: a field is unknown, missing or out of range.
    """
    return _Document(where, content, None).validate(BenchmarkSpec)


class _Document:
    """Plain data with, when it came from YAML, the place of each part of it."""

    def __init__(self, where: str, content: object, root: YamlNode | None) -> None:
        self._where = where
        self._content = content
        self._root = root
        self._overridden: list[Steps] = []

    @classmethod
    def read(cls, path: Path) -> _Document:
        text = _text(path)
        try:
            document = parse_yaml(
                text, what=str(path), max_bytes=_MAX_SPEC_BYTES, max_nodes=_MAX_SPEC_NODES
            )
        except YamlDocumentError as error:
            place = str(path) if error.line is None else f"{path}:{error.line}:{error.column}"
            if error.repeated is not None:
                said = f"{error.repeated} is given twice; remove one"
            else:
                said = f"not valid YAML: {error.problem}"
            raise SpecError(f"{place}: {said}") from error
        return cls(str(path), document.value, document.root)

    def override(self, text: str) -> None:
        """Replace one field, given as ``load.concurrency=8``.

        Raises:
            SpecError: it has another form, or leads through what is no mapping.
        """
        name, equals, written = text.partition("=")
        *parents, last = name.strip().split(".")
        if len(parents) > _MOST_FIELDS_DEEP:
            # This and an unreadable value end in the one refusal below.
            equals = ""
        node = self._content
        for step in parents[:_MOST_FIELDS_DEEP]:
            node = node.setdefault(step, {}) if isinstance(node, dict) else None
        said = ""
        try:
            value = parse_yaml(
                written, what="its value", max_bytes=_MAX_SPEC_BYTES, max_nodes=_MAX_SPEC_NODES
            ).value
        except YamlDocumentError as error:
            equals, said = "", f" ({error})"
        if not (equals and last and isinstance(node, dict)):
            raise SpecError(
                f"the override {printable(repr(text))} cannot be applied to {self._where}{said}; "
                "write it as "
                "load.concurrency=8: fields joined by dots, no lists among them, and a value"
            )
        node[last] = value
        self._overridden.append((*parents, last))

    def plan(self, folder: Path) -> Plan:
        """Return the plan of the file; ``folder`` is what paths in it are relative to.

        Raises:
            SpecError: a field is wrong, or two parts do not fit together.
        """
        file = self.validate(BenchmarkFile)
        try:
            return expand(file, folder=folder)
        except SpecError as error:
            raise SpecError(f"{self._where}: {error}") from error

    def validate(self, model: type[_M]) -> _M:
        if not isinstance(self._content, dict):
            raise SpecError(
                f"{self._where}: a spec must be a mapping of fields, not "
                f"{reprlib.repr(self._content)}"
            )
        try:
            return model.model_validate(self._content)
        except ValidationError as error:
            details = _without_consequences(error.errors(include_url=False))
            problems = [self._problem(detail) for detail in details]
            raise SpecError("\n".join(problems)) from error
        # Not all is a ValidationError: half a surrogate pair in a stranger's JSON, for one.
        except (UnicodeError, OverflowError, RecursionError) as error:
            raise SpecError(
                f"{self._where}: holds a value that cannot be read ({printable(error)})"
            ) from error

    def _problem(self, detail: ErrorDetails) -> str:
        """Return the error and its place; values that may be secrets are not repeated."""
        steps = self._steps(detail)
        location = _dotted(steps)
        if detail["type"] == "extra_forbidden":
            said = f"{location} is not a known field; {self._advice(steps)}"
        else:
            said = _said(detail, location)
        return f"{self._place(steps)}: {said}"

    def _advice(self, steps: Steps) -> str:
        """Return advice about the unknown field at ``steps``."""
        *parents, field = steps
        siblings: Any = self._content
        for step in parents:
            siblings = siblings[step]
        near = difflib.get_close_matches(str(field), _names_beside(set(siblings)), n=1)
        return f"did you mean {near[0]}?" if near else "remove it or correct its spelling"

    def _steps(self, detail: ErrorDetails) -> Steps:
        """Return the place of an error in the content.

        A location of pydantic also names the member of a union that was tried, and numbers what
        a person wrote as the only one of a list; neither is in the content.
        """
        node: Any = self._content
        steps: list[str | int] = []
        for step in detail["loc"]:
            in_list = isinstance(node, list) and isinstance(step, int) and step < len(node)
            if in_list or (isinstance(node, dict) and step in node):
                node = node[step]
            elif not (detail["type"] == "missing" and step == detail["loc"][-1]):
                continue
            steps.append(step)
        # The field that tells the members of a union apart is wrong, and the location omits it.
        if detail["type"].startswith("union_tag"):
            steps.append("kind" if "kind" in str(detail.get("ctx", {})) else "distribution")
        return tuple(steps)

    def _place(self, steps: Steps) -> str:
        """Return file, line and column of what is nearest to ``steps``, or the override there."""
        # An override stands on no line of the file, so it is named itself.
        for overridden in self._overridden:
            if steps[: len(overridden)] == overridden:
                return f"{self._where}, with {_dotted(overridden)} overridden"
        node = self._root
        if node is None:
            return self._where
        mark = node.start_mark
        for step in steps:
            found = _child(node, step)
            if found is None:
                break
            mark, node = found
        return f"{self._where}:{mark.line + 1}:{mark.column + 1}"


def _without_consequences(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out what is only said of a list because none of its members is usable."""
    places = [detail["loc"] for detail in details]

    def follows(detail: ErrorDetails) -> bool:
        place = detail["loc"]
        return detail["type"] == "too_short" and any(
            other[: len(place)] == place and len(other) > len(place) for other in places
        )

    return [detail for detail in details if not follows(detail)]


def _text(path: Path) -> str:
    try:
        with path.open("rb") as handle:
            data = handle.read(_MAX_SPEC_BYTES + 1)
    except OSError as error:
        raise SpecError(
            f"cannot read the spec {path}: {error.strerror or error}; check the path"
        ) from error
    if len(data) > _MAX_SPEC_BYTES:
        raise SpecError(f"the spec {path} is larger than {_MAX_SPEC_BYTES} bytes; is it a spec?")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise SpecError(f"the spec {path} is not UTF-8 text: {error}") from error


def _child(node: YamlNode, step: str | int) -> tuple[Mark, YamlNode] | None:
    """Return the node at ``step`` and where it begins: at its key, when it has one."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value == str(step):
                return key.start_mark, value
    if isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
        item: YamlNode = node.value[step]
        return item.start_mark, item
    return None


def _dotted(steps: Steps) -> str:
    text = ""
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text or "the spec"


def _said(detail: ErrorDetails, location: str) -> str:
    kind, message = detail["type"], detail["msg"].removeprefix("Value error, ")
    if kind in ("missing", "union_tag_not_found"):
        return f"{location} is missing; add it"
    if _NOT_REPEATED & set(re.split(r"[.\[]", location)):
        return f"{location}: {message} (its value is not shown, it may hold a secret)"
    if kind.startswith("union_tag") or isinstance(detail["input"], dict | list | tuple):
        return f"{location}: {message}"
    return f"{location} = {reprlib.repr(detail['input'])}: {message}"


def _names_beside(names: set[str]) -> list[str]:
    """Return the fields of the parts of a spec that know the most of ``names``."""
    schema = BenchmarkFile.model_json_schema()
    parts = [set(part.get("properties", {})) for part in (schema, *schema["$defs"].values())]
    most = max(len(part & names) for part in parts)
    return sorted(set().union(*(part for part in parts if len(part & names) == most)))
