"""Specs: what is read, what is refused, and what the refusal says."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.spec import (
    ClosedLoad,
    OpenLoad,
    load_spec,
    parse_spec,
    resolve,
    spec_json,
)
from tests.measure.support import content_of_spec, spec_for

SHIPPED = sorted((Path(__file__).parents[2] / "specs").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_spec_loads_under_its_own_name_and_sets_its_slo(path) -> None:
    spec = load_spec(path)
    assert spec.name == path.stem
    assert spec.slo.ttft_ms is not None
    assert spec.slo.tpot_ms is not None


def test_both_kinds_of_load_are_shipped() -> None:
    assert {type(load_spec(path).load) for path in SHIPPED} == {ClosedLoad, OpenLoad}


def test_a_resolved_spec_reads_back_the_same() -> None:
    spec = resolve(spec_for("http://127.0.0.1:1/v1"))
    assert parse_spec(spec.model_validate_json(spec_json(spec)).model_dump(), where="x") == spec
    assert resolve(spec) == spec


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"concurency": 3}, "concurency is not a known field"),
        ({"workload": {"max_token": 3}}, "workload.max_token is not a known field"),
        ({"load": {"kind": "closed", "concurrency": 0, "requests": 1}}, "load.concurrency = 0"),
        ({"load": {"kind": "open", "rate_per_s": -4, "requests": 1}}, "load.rate_per_s = -4"),
        (
            {"load": {"kind": "open", "rate_per_s": float("nan"), "requests": 1}},
            "load.rate_per_s = nan",
        ),
        ({"load": {"kind": "open", "rate_per_s": 4}}, "load.requests is missing"),
        ({"load": {"kind": "burst"}}, "closed"),
        ({"slo": {"ttft_ms": -1}}, "slo.ttft_ms = -1"),
        ({"seed": -1}, "seed = -1"),
        ({"deadlines": {"request_s": 0}}, "deadlines.request_s = 0"),
        ({"engine": {"kind": "openai", "base_url": "ftp://x"}}, "engine.base_url"),
        ({"model": {"id": "has space"}}, "model.id"),
        ({"suite": {"id": "llm.inference.chat", "version": 1.0}}, "suite.version = 1.0"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(change, said) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(content_of_spec("http://127.0.0.1:1/v1", **change), where="my.yaml")
    assert said in str(caught.value)
    assert "my.yaml" in str(caught.value)


def test_credentials_in_the_url_are_refused_and_not_repeated() -> None:
    engine = {"kind": "openai", "base_url": "http://me:hunter2@example.test/v1"}
    with pytest.raises(SpecError, match=r"engine\.api_key_env") as caught:
        parse_spec(content_of_spec("", engine=engine), where="x")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a list", "name: [unclosed", "\x00", "a: " + "[" * 5000])
def test_a_file_that_is_no_spec_is_a_spec_error(tmp_path, text) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"spec\.yaml"):
        load_spec(path)


def test_a_missing_file_is_a_spec_error(tmp_path) -> None:
    with pytest.raises(SpecError, match="No such file"):
        load_spec(tmp_path / "none.yaml")
