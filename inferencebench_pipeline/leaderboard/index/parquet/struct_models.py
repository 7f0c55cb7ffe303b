"""Structures that ``msgspec`` decodes strictly, generated from the models of lax parsers.

A document in the form that writers give it, with every value of the type it is stored as, reads the
same whether or not lax rules are applied. A generated structure takes such a document and refuses
every other, which the model then has to parse. It has the attributes of the model and none of its
methods.
"""

from __future__ import annotations

import sys
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from msgspec import Meta
from pydantic import BaseModel
from pydantic.fields import FieldInfo

_LARGEST: Final = sys.float_info.max
_INTEGER: Final = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_NUMBER: Final = Annotated[float, Meta(ge=-_LARGEST, le=_LARGEST)]
# A model that trims its texts takes " x " for "x"; the structure refuses it. An end of ``\s`` is
# whatever Python takes for a space, which is more than the models trim.
_TRIMMED: Final = Annotated[str, Meta(pattern=r"\A(?:\S(?:[\s\S]*\S)?)?\Z")]
_INSTANT: Final = Annotated[str, Meta(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?Z\Z")]
"""An instant in UTC as writers put it down; it stays a text."""
_BOUNDS: Final = {
    Ge: "ge",
    Gt: "gt",
    Le: "le",
    Lt: "lt",
    MinLen: "min_length",
    MaxLen: "max_length",
}


@cache
def struct_of(
    model: type[BaseModel],
    *,
    known_to_hold: bool = False,
    without: frozenset[str] = frozenset(),
    beside: tuple[tuple[str, str, type[BaseModel]], ...] = (),
) -> type[msgspec.Struct]:
    """Return the structure that decodes what ``model`` parses.

    Args:
        model: the model; the models of its fields are generated with it.
        known_to_hold: True when every document was parsed by the model before: its constraints and
            validators then need no second look.
        without: fields that nobody reads.
        beside: further optional fields, each as attribute, name in the document, and model.

    Raises:
        TypeError: a field or a validator has no counterpart, so the structure would accept what
            the model refuses.
    """
    trims = bool(model.model_config.get("str_strip_whitespace"))
    if not known_to_hold:
        _require_no_validators(model)
    fields: list[Any] = [
        (name, _type_of(field, trims=trims, known_to_hold=known_to_hold), *_default_of(field))
        for name, field in model.model_fields.items()
        if name not in without
    ]
    fields.extend((name, struct_of(part) | None, None) for name, _, part in beside)
    return msgspec.defstruct(
        f"{model.__name__}Struct",
        fields,
        # Documents hold no cycles, so the garbage collector need not follow every metric of each.
        gc=False,
        # A model may have a required field after an optional one,
        # which a structure takes by name only.
        kw_only=True,
        rename={name: spelt for name, spelt, _ in beside},
        forbid_unknown_fields=model.model_config.get("extra") == "forbid",
    )


def _require_no_validators(model: type[BaseModel]) -> None:
    found = model.__pydantic_decorators__
    if found.model_validators or found.field_validators or found.root_validators:
        raise TypeError(f"{model.__name__} has validators, which a structure does not run")


def _default_of(field: FieldInfo) -> tuple[Any, ...]:
    if field.is_required():
        return ()
    if field.default_factory is not None:
        return (msgspec.field(default_factory=field.default_factory),)  # type: ignore[arg-type]
    return (field.default,)


def _type_of(field: FieldInfo, *, trims: bool, known_to_hold: bool) -> Any:  # noqa: ANN401 - a type
    found = _translated(field.annotation, trims=trims, known_to_hold=known_to_hold)
    bounds = {} if known_to_hold else _bounds(field.metadata)
    return _bounded(found, bounds)


def _bounded(kind: Any, bounds: dict[str, Any]) -> Any:  # noqa: ANN401 - a type
    """Return a type with further bounds; a closer one takes the place of one that it has."""
    if not bounds:
        return kind
    if get_origin(kind) is Annotated:
        kind, meta = get_args(kind)
        has = {name: getattr(meta, name) for name in ("ge", "le", "pattern")}
        if "gt" in bounds:
            del has["ge"]
        if "lt" in bounds:
            del has["le"]
        bounds = {name: value for name, value in has.items() if value is not None} | bounds
    return Annotated[kind, Meta(**bounds)]


def _bounds(metadata: list[Any]) -> dict[str, Any]:
    """Return constraints as msgspec spells them.

    Raises:
        TypeError: one has no counterpart.
    """
    bounds = {}
    for item in metadata:
        if type(item) not in _BOUNDS:
            raise TypeError(f"the constraint {item!r} has no counterpart")
        name = _BOUNDS[type(item)]
        bounds[name] = getattr(item, name)
    return bounds


def _translated(kind: Any, *, trims: bool, known_to_hold: bool) -> Any:  # noqa: ANN401 - a type
    """Return the strict type for the type of a model's field.

    Raises:
        TypeError: there is none.
    """

    def of(part: Any) -> Any:  # noqa: ANN401 - a type
        return _translated(part, trims=trims, known_to_hold=known_to_hold)

    simple = {
        str: _TRIMMED if trims else str,
        int: _INTEGER,
        float: _NUMBER,
        bool: bool,
        datetime: _INSTANT,
        NoneType: None,
        Any: Any,
    }
    if kind in simple:
        return simple[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        bounds = {} if known_to_hold else _bounds(list(arguments[1:]))
        return _bounded(of(arguments[0]), bounds)
    if origin is Literal:
        return kind
    if origin in (Union, UnionType):
        # A union of numbers is lax about which of them a value is: as a float it is the same.
        members = set(arguments) - ({int} if {int, float} <= set(arguments) else set())
        return Union[tuple(of(part) for part in members)]  # noqa: UP007 - of a tuple
    if origin in (list, tuple, dict):
        return origin[tuple(part if part is ... else of(part) for part in arguments)]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return struct_of(kind, known_to_hold=known_to_hold)
    raise TypeError(f"the type {kind!r} has no counterpart")
