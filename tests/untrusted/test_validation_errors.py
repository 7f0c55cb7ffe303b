"""The refusals of the documents' models, as sentences."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from inferencebench_pipeline.documents import DocumentPart, LenientPart
from inferencebench_pipeline.untrusted.validation_errors import MOST_NAMED, problems_of, shortened


class Inner(DocumentPart):
    count: int


class Outer(DocumentPart):
    value: float = 0.0
    inner: tuple[Inner, ...] = ()


class Answer(LenientPart):
    name: str


def refused(document: object, model: type[DocumentPart] = Outer) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(document)
    return caught.value


def test_a_document_does_not_change_and_holds_nothing_unknown() -> None:
    with pytest.raises(ValidationError):
        Outer().value = 1.0  # type: ignore[misc]
    assert "unknown" in problems_of(refused({"unknown": 1}))


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_number_that_json_cannot_hold_is_refused(number: str) -> None:
    assert problems_of(refused({"value": float(number)})).startswith("value: ")


def test_an_answer_may_hold_more_than_is_read() -> None:
    assert Answer.model_validate({"name": "a", "new": 1}) == Answer(name="a")


def test_a_problem_is_named_by_its_field_and_the_place_of_the_document() -> None:
    error = refused({"inner": [{"count": 1}, {"count": "many"}]})
    said = problems_of(error, under="notes")
    assert said.startswith("notes.inner.1.count: ")
    assert "many" not in said


def test_a_document_that_is_no_mapping_is_named_as_a_whole() -> None:
    assert problems_of(refused([]), whole="the policy").startswith("the policy: ")


def test_values_are_quoted_on_request_only_and_shortened() -> None:
    error = refused({"value": "x" * 10_000})
    assert "xxx" not in problems_of(error)
    said = problems_of(error, values=True)
    assert "(got 'xxx" in said
    assert len(said) < 300


def test_more_problems_than_a_message_holds_are_counted() -> None:
    error = refused({"inner": [{"count": "no"}] * (MOST_NAMED + 3)})
    said = problems_of(error)
    assert said.count("count: ") == MOST_NAMED
    assert said.endswith("; and 3 more")


def test_nothing_in_a_problem_acts_on_a_terminal() -> None:
    said = problems_of(refused({"\x1b[2J\u202e": 1, "value": "\x1b"}), values=True)
    assert said.isprintable()


def test_a_long_value_is_shown_by_its_beginning_and_an_object_by_its_size() -> None:
    assert shortened({"a": 1, "b": 2}) == "an object with 2 fields"
    assert len(shortened(["x"] * 10_000)) < 120
