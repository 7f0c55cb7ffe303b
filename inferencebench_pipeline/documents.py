"""The base model of all documents, immutable and closed, whose docstrings describe its fields.

Parsing a document, and telling a person which field of it is wrong, are elsewhere.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class DocumentPart(BaseModel):
    """Base of each part of a document or of a spec.

    A part cannot change, and an unknown field or a number that is not finite is an error. The
    docstring below a field is its description in the JSON Schema, in editors and on the API pages.
    """

    # Not pydantic's use_attribute_docstrings, which reads and parses the source of every part at
    # its import: that was a fifth of the time that a verification takes.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /
    ) -> JsonSchemaValue:
        """Return the JSON Schema of the part, with the descriptions of its fields."""
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in field_descriptions(cls).items():
            field = cls.model_fields[name]
            for key in {name, field.validation_alias, field.serialization_alias}:
                if key in properties:
                    properties[key]["description"] = text
        return schema


class LenientPart(BaseModel):
    """Base of each part of another program's answer.

    A part cannot change. Unknown fields are left out, since the other program may add some.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")


@dataclass(frozen=True)
class DescribedAs:
    """The description of a field of another part, for a field that repeats it.

    It stands in the annotation, ``Annotated[str, DescribedAs(Part, "field")]``.

    Raises:
        KeyError: the other part has no such field.
    """

    part: type[DocumentPart]
    field: str

    def __post_init__(self) -> None:
        """Refuse a field that the other part does not have."""
        _ = self.part.model_fields[self.field]


def field_descriptions(part: type[DocumentPart]) -> dict[str, str]:
    """Return the description of each field of a part that has one, by the field's name.

    It is the field's own, or the docstring below it, or that of the field that it repeats.
    Docstrings stand in the source alone, so there are none where a package came without it.
    """
    docstrings = _docstrings(part)
    found: dict[str, str] = {}
    for name, field in part.model_fields.items():
        repeated = (note for note in field.metadata if isinstance(note, DescribedAs))
        if text := field.description or docstrings.get(name):
            found[name] = text
        elif (other := next(repeated, None)) is not None:
            found[name] = field_descriptions(other.part)[other.field]
    return found


def _docstrings(part: type[DocumentPart]) -> dict[str, str]:
    """Return the docstring below each field, the inherited ones included, by the field's name."""
    found: dict[str, str] = {}
    for base in reversed(part.__mro__):
        if issubclass(base, DocumentPart):
            body = _bodies(base.__module__).get(base.__qualname__, [])
            for statement, after in pairwise(body):
                if isinstance(statement, ast.AnnAssign) and (text := _text(after)) is not None:
                    found[ast.unparse(statement.target)] = text
    return found


def _text(statement: ast.stmt) -> str | None:
    match statement:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return inspect.cleandoc(text)
    return None


@cache
def _bodies(module: str) -> dict[str, list[ast.stmt]]:
    """Return the statements of each class of a module, by the qualified name of the class."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError):
        return {}
    return dict(_classes(tree, ""))


def _classes(node: ast.AST, inside: str) -> Iterator[tuple[str, list[ast.stmt]]]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.ClassDef():
                yield inside + child.name, child.body
                yield from _classes(child, f"{inside}{child.name}.")
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _classes(child, f"{inside}{child.name}.<locals>.")
            case _:
                yield from _classes(child, inside)
