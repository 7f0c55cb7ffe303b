"""The base model of documents: what it refuses, and that every field of a part is described."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Annotated

import pytest
from pydantic import ValidationError

import inferencebench_pipeline
from inferencebench_pipeline.documents import DocumentPart, described_as


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


class Repeating(DocumentPart):
    """A part that repeats a field of another."""

    lasted: Annotated[float | None, described_as(Example, "seconds")] = None


def test_a_field_that_repeats_another_has_its_description_and_its_own_type() -> None:
    field = Repeating.model_fields["lasted"]
    assert field.description == "The length of something, in seconds."
    assert Repeating().lasted is None
    with pytest.raises(KeyError):
        described_as(Example, "minutes")


def test_every_field_has_a_docstring() -> None:
    """New models are found by themselves: every module of the package is imported."""
    package = inferencebench_pipeline
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    silent = [
        f"{part.__module__}.{part.__qualname__}.{name}"
        for part in parts(DocumentPart)
        if part.__module__.partition(".")[0] == package.__name__
        for name, field in part.model_fields.items()
        if not (field.description or "").strip().endswith(".")
    ]
    assert silent == []
