"""Replaying an envelope: the same load from what it states, and a refusal where it would differ."""

from __future__ import annotations

import json

import pytest

from inferencebench_pipeline.measure.arrivals import schedule_sha256
from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.replay import (
    published_spec,
    replayed_spec,
    require_same_load,
)
from inferencebench_pipeline.measure.spec import resolve
from inferencebench_pipeline.measure.workloads.recipe import recipe_of
from tests.measure.support import spec_for

ELSEWHERE = {"kind": "openai", "base_url": "http://127.0.0.1:9/v1"}


def stated(spec):
    return {"spec": json.loads(json.dumps(published_spec(resolve(spec))))}


def hashes(spec) -> dict[str, str]:
    return {
        "workload_hash": recipe_of(spec.workload, spec.seed).identity_sha256,
        "schedule_hash": schedule_sha256(spec.load, spec.seed),
    }


def test_an_envelope_states_no_address_and_no_folder(tmp_path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "x"}\n')
    workload = {"dataset": {"kind": "jsonl", "path": str(path)}, "prompts": 1}
    engine = {"kind": "openai", "base_url": "http://private.test/v1", "api_key_env": "MY_KEY"}
    text = json.dumps(stated(spec_for("", engine=engine, workload=workload)))
    assert "private.test" not in text
    assert "MY_KEY" not in text
    assert str(tmp_path) not in text
    assert '"path": "prompts.jsonl"' in text


@pytest.mark.parametrize(
    "load",
    [
        {"kind": "closed", "concurrency": 3, "requests": 9},
        {"kind": "open", "rate_per_s": 5, "requests": 9, "process": "gamma", "burstiness": 0.5},
    ],
)
def test_a_replay_asks_the_same_at_the_same_times_of_another_engine(load, tmp_path) -> None:
    spec = resolve(spec_for("http://127.0.0.1:1/v1", load=load))
    again = replayed_spec(stated(spec), engine=ELSEWHERE, model="other/model", folder=tmp_path)
    require_same_load(again, **hashes(spec))
    assert hashes(again) == hashes(spec)
    assert (again.model.id, again.engine.base_url) == ("other/model", "http://127.0.0.1:9/v1")
    assert (again.load, again.slo, again.repeats) == (spec.load, spec.slo, spec.repeats)


def test_a_replay_needs_the_data_it_was_measured_with(tmp_path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "x"}\n')
    workload = {"dataset": {"kind": "jsonl", "path": str(path)}, "prompts": 1}
    spec = resolve(spec_for("http://127.0.0.1:1/v1", workload=workload))
    again = replayed_spec(stated(spec), engine=ELSEWHERE, model=None, folder=tmp_path)
    require_same_load(again, **hashes(spec))
    path.write_text('{"prompt": "y"}\n')
    with pytest.raises(SpecError, match="SHA-256"):
        require_same_load(again, **hashes(spec))
    path.unlink()
    with pytest.raises(SpecError, match="No such file"):
        require_same_load(again, **hashes(spec))


def test_what_would_be_another_load_is_refused(tmp_path) -> None:
    spec = resolve(spec_for("http://127.0.0.1:1/v1"))
    other = hashes(spec) | {"workload_hash": "ab" * 32}
    with pytest.raises(SpecError, match="version that measured it"):
        require_same_load(spec, **other)
    with pytest.raises(SpecError, match="version that measured it"):
        require_same_load(spec, **(hashes(spec) | {"schedule_hash": "ab" * 32}))


def test_an_envelope_that_says_too_little_is_refused(tmp_path) -> None:
    with pytest.raises(SpecError, match="does not state the spec"):
        replayed_spec({"load": {}}, engine=None, model=None, folder=tmp_path)
    spec = spec_for("http://127.0.0.1:1/v1")
    with pytest.raises(SpecError, match="--engine"):
        replayed_spec(stated(spec), engine=None, model=None, folder=tmp_path)
    hostile = {"spec": {"workload": 3, "load": [], "engine": "x"}}
    with pytest.raises(SpecError, match="of the envelope"):
        replayed_spec(hostile, engine=ELSEWHERE, model=None, folder=tmp_path)
