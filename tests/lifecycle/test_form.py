"""Forms hold plain values; a kind that could be read as something else is refused at once."""

from pathlib import Path
from typing import Any, Literal

import dagster as dg
import pytest
from pydantic import AwareDatetime, Field, create_model

from definitions import build_definitions
from inferencebench_pipeline.lifecycle.form import Form, FormError
from inferencebench_pipeline.settings import Settings


class Asked(Form):
    """One field of each kind."""

    text: str = Field(max_length=5)
    """The text that is asked for."""
    maybe: str | None = None
    several: list[str] = Field(default=[])
    sure: bool = False
    which: Literal["one", "two"] = "one"
    when: AwareDatetime | None = None


def filled_in(config: dict[str, object]) -> Asked:
    found: list[Asked] = []

    @dg.op(config_schema=Asked.run_config())
    def step(context: dg.OpExecutionContext) -> None:
        found.append(Asked.of(context))

    @dg.job
    def asking() -> None:
        step()

    asking.execute_in_process(run_config={"ops": {"step": {"config": config}}})
    return found[0]


def test_the_docstring_of_a_field_is_shown_in_the_launchpad():
    assert Asked.run_config()["text"].description == "The text that is asked for."


def test_each_field_of_each_form_is_described_in_the_launchpad(tmp_path):
    build_definitions(Settings.from_environment({"INFERENCEBENCH_HOME": str(tmp_path)}))
    forms = [form for form in Form.__subclasses__() if form.__module__ != __name__]
    shown = {
        f"{form.__name__}.{name}": field.description
        for form in forms
        for name, field in form.run_config().items()
    }
    assert len(shown) > 10
    assert [name for name, said in shown.items() if not (said or "").endswith(".")] == []


def test_what_is_filled_in_arrives_and_the_rest_has_its_default():
    assert filled_in({"text": "x"}) == Asked(text="x")
    everything = {"text": "y", "maybe": "z", "several": ["a"], "sure": True, "which": "two"}
    when = "2026-11-30T10:00:00+00:00"
    assert filled_in({**everything, "when": when}) == Asked(**everything, when=when)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"text": 1},
        {"text": {"env": "HOME"}},
        {"text": "x", "maybe": {"env": "HOME"}},
        {"text": "x", "several": [{"env": "HOME"}]},
        {"text": "x", "several": "a"},
        {"text": "x", "sure": {"env": "HOME"}},
        {"text": "x", "which": "three"},
        {"text": "x", "which": {"env": "HOME"}},
        {"text": "x", "another": "y"},
    ],
)
def test_dagster_refuses_what_has_another_form(config):
    with pytest.raises(dg.DagsterInvalidConfigError):
        filled_in(config)


@pytest.mark.parametrize(
    ("config", "field"),
    [({"text": "too long"}, "text"), ({"text": "x", "when": "yesterday"}, "when")],
)
def test_a_value_out_of_its_bounds_is_refused_by_the_field_and_not_repeated(config, field):
    with pytest.raises(FormError, match=field) as refused:
        filled_in(config)
    assert "too long" not in str(refused.value)
    assert "yesterday" not in str(refused.value)


@pytest.mark.parametrize(
    "kind", [int, float, Any, object, bytes, Path, dict[str, str], list[Path], str | int]
)
def test_a_form_of_anything_else_cannot_be_written(kind):
    form = create_model("Other", __base__=Form, field=(kind, ...))
    with pytest.raises(TypeError, match=r"Other\.field: a form cannot hold"):
        form.run_config()
