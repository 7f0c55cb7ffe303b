"""The strict structures take what the models take as it stands, and refuse the rest."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec
import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from inferencebench_pipeline.leaderboard.index.parquet.struct_models import struct_of

GOOD_PART = {"share": 0.5, "count": 1, "name": "n"}


def refused(model: type[BaseModel], content: dict[str, Any]) -> bool:
    try:
        msgspec.json.decode(msgspec.json.encode(content), type=struct_of(model))
    except msgspec.DecodeError:
        return True
    return False


class Bounded(BaseModel):
    model_config = ConfigDict(extra="forbid")

    share: float = Field(gt=0, lt=1)
    count: int = Field(ge=0)
    name: str = Field(min_length=1)
    kind: Literal["a", "b"] = "a"


class Trimmed(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)

    text: str
    at: datetime
    parts: list[Bounded] = Field(default_factory=list)
    values: dict[str, float | int | str | None] = {}


AT = "2026-05-15T10:30:00Z"


def test_what_a_writer_puts_down_is_taken_as_the_model_takes_it():
    content = {"text": "a b", "at": AT, "parts": [GOOD_PART], "values": {"k": 1, "t": "x"}}
    data = msgspec.json.encode(content | {"unknown": 1})
    found: Any = msgspec.json.decode(data, type=struct_of(Trimmed))
    model = Trimmed.model_validate_json(data)
    assert (found.text, found.values, found.at) == (model.text, model.values, AT)
    assert [vars(part) for part in model.parts] == [msgspec.structs.asdict(found.parts[0])]


@pytest.mark.parametrize(
    "change",
    [
        {"share": 0},
        {"share": 1},
        {"share": "0.5"},
        {"count": -1},
        {"count": "1"},
        {"count": True},
        {"count": 2**63},
        {"name": ""},
        {"kind": "c"},
        {"unknown": 1},
    ],
)
def test_what_breaks_a_constraint_or_needs_a_lax_rule_is_refused(change):
    assert not refused(Bounded, GOOD_PART)
    assert refused(Bounded, GOOD_PART | change)


@pytest.mark.parametrize(
    "change",
    [
        {"text": " padded"},
        {"text": "padded\u00a0"},
        {"text": 1},
        {"at": "2026-05-15T10:30:00+02:00"},
        {"at": 1},
        {"values": {" k": 1}},
        {"values": {"k": " x"}},
        {"values": {"k": True}},
        {"values": {"k": []}},
        {"parts": [GOOD_PART | {"count": -1}]},
        {"parts": {}},
    ],
)
def test_what_the_model_would_change_is_refused(change):
    content = {"text": "a", "at": AT}
    assert not refused(Trimmed, content)
    assert refused(Trimmed, content | change)


class Validated(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("odd")
        return value


class Patterned(BaseModel):
    text: str = Field(pattern="^a$")


class Complex(BaseModel):
    number: complex


@pytest.mark.parametrize("model", [Validated, Patterned, Complex])
def test_a_model_with_a_rule_that_a_structure_cannot_keep_gets_no_structure(model):
    with pytest.raises(TypeError):
        struct_of(model)


def test_rules_that_are_known_to_hold_are_left_out():
    for model, content in ((Validated, b'{"number":2}'), (Patterned, b'{"text":"a"}')):
        assert msgspec.json.decode(content, type=struct_of(model, known_to_hold=True))
