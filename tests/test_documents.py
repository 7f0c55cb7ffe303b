"""The base model of documents: what it refuses, and that every field of a part is described."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from pydantic import ValidationError

import inferencebench_pipeline
from inferencebench_pipeline.documents import DocumentPart


class Example(DocumentPart):
    """A part with one field."""

    seconds: float
    """The length of something, in seconds."""


def test_the_docstring_of_a_field_is_its_description() -> None:
    field = Example.model_json_schema()["properties"]["seconds"]
    assert field["description"] == "The length of something, in seconds."


@pytest.mark.parametrize("content", [{"seconds": 1, "minutes": 2}, {"seconds": float("nan")}])
def test_an_unknown_field_and_a_number_that_is_not_finite_are_refused(content) -> None:
    with pytest.raises(ValidationError):
        Example.model_validate(content)


def test_a_part_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Example(seconds=1).seconds = 2


def parts(base: type[DocumentPart]) -> set[type[DocumentPart]]:
    found = set(base.__subclasses__())
    return found.union(*(parts(part) for part in found))


UNDESCRIBED = {"leaderboard": 215}
"""The most fields without a docstring in a room that does not describe all of its own yet. A number
may fall and never rise."""


def test_every_field_has_a_docstring_but_those_that_are_counted() -> None:
    """New models are found by themselves: every module of the package is imported."""
    package = inferencebench_pipeline
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    silent: dict[str, list[str]] = {}
    for part in parts(DocumentPart):
        where, _, inside = part.__module__.partition(".")
        for name, field in part.model_fields.items() if where == package.__name__ else ():
            if not (field.description or "").strip().endswith("."):
                room = inside.partition(".")[0]
                silent.setdefault(room, []).append(f"{inside}.{part.__qualname__}.{name}")
    too_many = {
        room: fields for room, fields in silent.items() if len(fields) > UNDESCRIBED.get(room, 0)
    }
    assert too_many == {}
