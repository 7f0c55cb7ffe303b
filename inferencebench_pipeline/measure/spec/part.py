"""The base of every part of a benchmark spec, and the roles of its fields.

A spec is written by its reader, by a colleague, or by a stranger whose envelope is replayed. Each
field therefore says by its type what it can do: ``Load[int]`` is a number that decides what is
asked, ``RunsCode[str]`` decides what is started here. A field without such a word is refused when
its class is defined, so no kind of engine or load can forget it.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, Final, TypeVar, get_args

from pydantic import AfterValidator, Field
from pydantic.fields import FieldInfo

from inferencebench_pipeline.documents import DocumentPart

T = TypeVar("T")


class Role(Enum):
    """The effect that a field of a spec can have on the machine that reads it."""

    LOAD = "what is asked, when, how often, and how it is judged"
    """Bounded values. A replay takes them from anybody, a launch form may replace them."""
    SETTING = "a bounded value of the engine or this host, by which nothing foreign runs"
    """A replay does not take it, a launch form may replace it."""
    WEIGHTS = "the model, which an engine that we start fetches and loads"
    """It is a word for other engines, and code for those that load it."""
    DATA_FILE = "a file of this machine that is read and sent to the engine"
    """A replay takes its name, in a folder that the reader names, by its SHA-256."""
    RUNS_CODE = "what is started here, with which arguments and environment"
    """It is never taken from a stranger and never replaced at a launch. An envelope states it."""
    PRIVATE = "where something is, or how to get in"
    """It is treated like ``RUNS_CODE``, and no envelope states it."""


Load = Annotated[T, Role.LOAD]
Setting = Annotated[T, Role.SETTING]
Weights = Annotated[T, Role.WEIGHTS]
DataFile = Annotated[T, Role.DATA_FILE]
RunsCode = Annotated[T, Role.RUNS_CODE]
Private = Annotated[T, Role.PRIVATE]


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("holds characters that cannot be printed; remove them")
    return value


PRINTABLE: Final = AfterValidator(_printable)
"""The check of text that ends on terminals, in logs and on cards: no control, bidi or line
characters."""


Label = Annotated[str, Field(min_length=1), PRINTABLE]
"""A short text that is shown to people."""
FilePath = Annotated[str, Field(min_length=1, max_length=4096), PRINTABLE]
"""The path of a data file."""


class Part(DocumentPart):
    """Base of every part of a spec: immutable, and an unknown field is an error."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401 - pydantic's own
        """Refuse a field that does not say what it can bring about."""
        super().__pydantic_init_subclass__(**kwargs)
        for name, field in cls.model_fields.items():
            if (role_of(field) is None) == (not parts_in(field.annotation)):
                raise TypeError(
                    f"{cls.__name__}.{name} must either hold parts of a spec or say what it can "
                    "bring about, as Load[...], Setting[...], Weights[...], DataFile[...], "
                    "RunsCode[...] or Private[...] (measure/spec/part.py)"
                )


def role_of(field: FieldInfo) -> Role | None:
    """Return the role of a field; None for one that holds parts, which have their own."""
    return next((mark for mark in field.metadata if isinstance(mark, Role)), None)


def parts_in(annotation: object) -> list[type[Part]]:
    """Return the parts that a field of this type may hold, the members of unions included."""
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return [annotation]
    return [part for inner in get_args(annotation) for part in parts_in(inner)]


def parts_below(root: type[Part]) -> set[type[Part]]:
    """Return ``root`` and every part that can stand anywhere below it."""
    found: set[type[Part]] = set()
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if part not in found:
            found.add(part)
            for field in part.model_fields.values():
                waiting += parts_in(field.annotation)
    return found


def parts_held(value: object) -> tuple[Part, ...]:
    """Return the parts that the value of a field without a role holds.

    Raises:
        TypeError: it holds them in a way that nobody has thought of yet; nothing is skipped.
    """
    if value is None:
        return ()
    if isinstance(value, Part):
        return (value,)
    if isinstance(value, tuple) and all(isinstance(item, Part) for item in value):
        return value
    raise TypeError(f"a {type(value).__name__} holds parts of a spec in an unknown way")


def fields_of(part: Part) -> Iterator[tuple[str, Role | None, Any]]:
    """Yield name, role and value of each field of ``part``; parts have no role of their own."""
    for name, field in type(part).model_fields.items():
        yield name, role_of(field), getattr(part, name)
