"""Every field of every part of a spec says what it can bring about, and so does the next one."""

from __future__ import annotations

import inspect
import sys
from typing import Literal

import pytest

from inferencebench_pipeline.measure.spec import engine, load, plan, schedule, spec, workload
from inferencebench_pipeline.measure.spec.engine import Engine, OpenAIEngine, VllmEngine
from inferencebench_pipeline.measure.spec.part import (
    Load,
    Part,
    Role,
    parts_below,
    parts_in,
    role_of,
)
from inferencebench_pipeline.measure.spec.plan import BenchmarkFile
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec

PARTS = sorted(parts_below(BenchmarkFile) | parts_below(BenchmarkSpec), key=lambda p: p.__name__)
FIELDS = [(part, name) for part in PARTS for name in part.model_fields]


@pytest.mark.parametrize(("part", "name"), FIELDS, ids=lambda item: getattr(item, "__name__", item))
def test_a_field_holds_parts_or_says_what_it_can_bring_about(part: type[Part], name: str) -> None:
    field = part.model_fields[name]
    roles = [mark for mark in field.metadata if isinstance(mark, Role)]
    assert len(roles) == (0 if parts_in(field.annotation) else 1)


def test_no_part_of_a_spec_escapes_the_walk() -> None:
    """The unions are followed: what is defined as a part is found from the root, or is a base."""
    defined = {
        value
        for module in (engine, load, spec, workload, schedule, plan)
        for _, value in inspect.getmembers(sys.modules[module.__name__], inspect.isclass)
        if issubclass(value, Part) and value.__module__ == module.__name__
    }
    bases = {base for part in PARTS for base in part.__mro__[1:]}
    assert defined <= set(PARTS) | bases
    assert set(Engine.__subclasses__()) <= set(PARTS)
    assert parts_below(BenchmarkSpec) - {BenchmarkSpec} <= set(PARTS)


def test_a_field_without_a_role_cannot_be_defined() -> None:
    with pytest.raises(TypeError, match=r"NextPart\.command must"):

        class NextPart(Part):
            command: tuple[str, ...]

    with pytest.raises(TypeError, match=r"NextHolder\.model must"):

        class NextHolder(Part):
            model: Load[spec.ModelSpec]


def test_a_kind_of_engine_must_say_whether_it_loads_what_it_is_named() -> None:
    with pytest.raises(TypeError, match="loads_weights"):

        class NextEngine(Engine):
            kind: Load[Literal["next"]]


@pytest.mark.parametrize("engine", [p for p in PARTS if issubclass(p, Engine)])
def test_no_field_of_an_engine_is_a_load(engine: type[Part]) -> None:
    """A replay takes loads, and nothing of an engine."""
    roles = {role_of(field) for field in engine.model_fields.values()}
    assert Role.LOAD not in roles
    assert role_of(engine.model_fields["kind"]) is Role.RUNS_CODE


def test_what_starts_or_addresses_something_is_marked_so() -> None:
    marked = {
        (part, name): role_of(part.model_fields[name])
        for part, name in FIELDS
        if role_of(part.model_fields[name]) in (Role.RUNS_CODE, Role.PRIVATE) and name != "kind"
    }
    assert marked == {
        (OpenAIEngine, "base_url"): Role.PRIVATE,
        (OpenAIEngine, "api_key_env"): Role.PRIVATE,
        (OpenAIEngine, "proxy"): Role.PRIVATE,
        (VllmEngine, "args"): Role.RUNS_CODE,
        (VllmEngine, "env"): Role.RUNS_CODE,
        (VllmEngine, "model_path"): Role.PRIVATE,
    }


@pytest.mark.parametrize(("part", "name"), FIELDS, ids=lambda item: getattr(item, "__name__", item))
def test_a_field_that_sounds_like_code_a_place_or_a_file_is_none_of_the_load(
    part: type[Part], name: str
) -> None:
    """A guess by name, against a wrong marker: whoever means it renames the field or this table."""
    sounds = {"path", "file", "url", "uri", "endpoint", "host", "proxy", "env", "args", "command"}
    sounds |= {"cmd", "exec", "script", "folder", "dir", "image", "plugin", "module", "headers"}
    role = role_of(part.model_fields[name])
    if sounds & set(name.split("_")) and not name.endswith("sha256"):
        assert role in (Role.RUNS_CODE, Role.PRIVATE, Role.DATA_FILE)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_a_data_file_is_pinned_by_a_digest_beside_it(part: type[Part]) -> None:
    roles = {role_of(field) for field in part.model_fields.values()}
    if Role.DATA_FILE in roles:
        assert any(name.endswith("sha256") for name in part.model_fields)
