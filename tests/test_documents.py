"""The base model of documents: what it refuses, and that every field of a part is described."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Annotated

import pytest
from pydantic import Field, ValidationError, create_model

import inferencebench_pipeline
from inferencebench_pipeline.documents import DescribedAs, DocumentPart, field_descriptions


class Example(DocumentPart):
    """A part with one field."""

    seconds: float
    """The length of something, in seconds."""


def test_the_docstring_of_a_field_is_its_description() -> None:
    field = Example.model_json_schema()["properties"]["seconds"]
    assert field["description"] == "The length of something, in seconds."


class Longer(Example):
    """A part that inherits a field, has one under another name, and one of a nested part."""

    ended: str = Field(alias="end")
    """The end of it,
    on two lines.
    """
    before: Example | None = None
    """The part before it."""
    silent: int = 0
    described: int = Field(default=0, description="As the field says itself.")
    """A docstring that the field's own description goes before."""


def test_inherited_renamed_and_nested_fields_are_described_alike() -> None:
    schema = Longer.model_json_schema()
    said = {name: field.get("description") for name, field in schema["properties"].items()}
    assert said == {
        "seconds": "The length of something, in seconds.",
        "end": "The end of it,\non two lines.",
        "before": "The part before it.",
        "silent": None,
        "described": "As the field says itself.",
    }
    inner = schema["$defs"]["Example"]["properties"]["seconds"]
    assert inner["description"] == "The length of something, in seconds."


def test_a_part_in_a_function_or_a_class_is_found_by_its_whole_name() -> None:
    class Outer:
        class Example(DocumentPart):
            """A namesake, further in."""

            seconds: float
            """Other seconds."""

    assert field_descriptions(Outer.Example) == {"seconds": "Other seconds."}


def test_a_part_without_source_has_no_docstrings_and_still_a_schema() -> None:
    made = create_model("Made", __base__=DocumentPart, __module__="sys", seconds=(float, ...))
    assert field_descriptions(made) == {}
    assert "description" not in made.model_json_schema()["properties"]["seconds"]


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

    lasted: Annotated[float | None, DescribedAs(Example, "seconds")] = None


def test_a_field_that_repeats_another_has_its_description_and_its_own_type() -> None:
    field = Repeating.model_json_schema()["properties"]["lasted"]
    assert field["description"] == "The length of something, in seconds."
    assert Repeating().lasted is None
    with pytest.raises(KeyError):
        DescribedAs(Example, "minutes")


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
        for name in part.model_fields
        if not field_descriptions(part).get(name, "").strip().endswith(".")
    ]
    assert silent == []
