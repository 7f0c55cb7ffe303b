"""Replaying an envelope: the same load from what it states, and nothing but the load."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from inferencebench_pipeline.measure.client.arrivals import schedule_sha256
from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.run.replay import (
    published_spec,
    replayed_spec,
    require_same_load,
)
from inferencebench_pipeline.measure.spec.engine import EmbeddedEngine, OpenAIEngine, VllmEngine
from inferencebench_pipeline.measure.spec.part import Part, Role, parts_below, role_of
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec, ModelSpec
from inferencebench_pipeline.measure.workloads.recipe import recipe_of
from inferencebench_pipeline.measure.workloads.resolution import resolve
from tests.measure.support import spec_for

ELSEWHERE = OpenAIEngine(kind="openai", base_url="http://127.0.0.1:9/v1")
OTHER = ModelSpec(id="other/model")


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
    again = replayed_spec(stated(spec), engine=ELSEWHERE, model=OTHER, folder=tmp_path)
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
        replayed_spec({"load": {}}, engine=ELSEWHERE, model=None, folder=tmp_path)
    hostile = {"spec": {"workload": 3, "load": [], "engine": "x"}}
    with pytest.raises(SpecError, match="of the envelope"):
        replayed_spec(hostile, engine=ELSEWHERE, model=None, folder=tmp_path)


HOSTILE: dict[str, dict[str, Any]] = {
    "vllm": {
        "kind": "vllm",
        "args": ["--trust-remote-code", "--canary"],
        "env": {"HF_ENDPOINT": "http://canary.test", "LD_PRELOAD": "/tmp/canary.so"},
        "model_path": "/canary",
    },
    "openai": {
        "kind": "openai",
        "base_url": "http://canary.test/v1",
        "api_key_env": "HF_TOKEN",
        "proxy": "http://canary.test:3128",
        "name": "canary",
    },
    "embedded": {"kind": "embedded", "threads": 1024, "context_tokens": 999_999_999},
    "unknown": {"kind": "command", "argv": ["sh", "-c", "touch /tmp/canary"]},
}


@pytest.mark.parametrize("engine", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize(
    "own", [ELSEWHERE, EmbeddedEngine(kind="embedded"), VllmEngine(kind="vllm")]
)
def test_no_engine_of_a_stranger_is_even_looked_at(engine, own, tmp_path) -> None:
    content = stated(spec_for("http://127.0.0.1:1/v1"))
    content["spec"]["engine"] = engine
    again = replayed_spec(content, engine=own, model=OTHER, folder=tmp_path)
    assert again.engine == own
    assert "canary" not in again.model_dump_json()


def _values_of(part: type[Part], role: Role) -> list[str]:
    return [name for name, field in part.model_fields.items() if role_of(field) is role]


def test_of_a_strangers_spec_only_fields_of_the_load_are_taken(tmp_path) -> None:
    """Every field that a spec can have is filled in, and what is taken is named by its role."""
    content = stated(
        spec_for(
            "http://127.0.0.1:1/v1",
            model={
                "id": "stranger/model",
                "revision": "0123456789abcdef",
                "served_name": "asked-for",
                "quantization": {"format": "q4", "method": "gguf"},
            },
            load={"kind": "closed", "concurrency": 4, "requests": 9},
            client={"processes": 4},
            place={"sweep": "stranger", "point": 3, "points": 7},
            repeats={"least": 3, "most": 5},
        )
    )
    again = replayed_spec(content, engine=ELSEWHERE, model=None, folder=tmp_path)
    assert again.model == ModelSpec(id="stranger/model", served_name="asked-for")
    assert (again.client.processes, again.place) == (1, None)
    assert again.repeats.most == 5
    for part in parts_below(BenchmarkSpec):
        for name in _values_of(part, Role.SETTING) + _values_of(part, Role.PRIVATE):
            for held in _held(again, part):
                default = part.model_fields[name].get_default(call_default_factory=True)
                assert held is again.engine or getattr(held, name) == default, (part, name)


def _held(root: Part, kind: type[Part]) -> list[Part]:
    found = [root] if isinstance(root, kind) else []
    for name in type(root).model_fields:
        value = getattr(root, name)
        if isinstance(value, Part):
            found += _held(value, kind)
    return found


def test_processes_of_the_client_are_the_readers_to_say(tmp_path) -> None:
    load = {"kind": "closed", "concurrency": 4, "requests": 9}
    content = stated(spec_for("http://127.0.0.1:1/v1", load=load, client={"processes": 4}))
    again = replayed_spec(content, engine=ELSEWHERE, model=None, folder=tmp_path, processes=2)
    assert again.client.processes == 2


def test_an_engine_that_loads_what_it_is_named_needs_the_readers_word(tmp_path) -> None:
    content = stated(spec_for("http://127.0.0.1:1/v1", model={"id": "stranger/model"}))
    vllm = VllmEngine(kind="vllm")
    with pytest.raises(SpecError, match="--model stranger/model"):
        replayed_spec(content, engine=vllm, model=None, folder=tmp_path)
    assert replayed_spec(content, engine=vllm, model=OTHER, folder=tmp_path).model == OTHER


def _with_file(spec_of_file: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    content = stated(spec_for("http://127.0.0.1:1/v1"))
    content["spec"]["workload"]["dataset"] = spec_of_file
    return content


@pytest.mark.parametrize("kind", ["jsonl", "sharegpt"])
@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "../../etc/passwd", "..", ".", "/", "fifo", "missing.jsonl", "folder"),
        *("a\x00b", "a\x1b[2Jb", "a\u202eb", "\ud800", "x" * 4000),
    ],
)
def test_a_stranger_names_no_file_of_this_machine(kind, path, tmp_path) -> None:
    """Only a plain file in the folder that the reader gave can be meant, by its last name."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    dataset = {"kind": kind, "path": path, "sha256": "ab" * 32}
    with pytest.raises(SpecError) as caught:
        replayed_spec(_with_file(dataset, tmp_path), engine=ELSEWHERE, model=None, folder=tmp_path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 3000


def test_a_file_that_is_not_pinned_is_not_read(tmp_path) -> None:
    """A name alone could mean any file of that name, and its lines would go to the engine."""
    (tmp_path / "mine.jsonl").write_text('{"prompt": "my secret"}\n')
    dataset = {"kind": "jsonl", "path": "mine.jsonl", "sha256": None}
    with pytest.raises(SpecError, match="states no SHA-256"):
        replayed_spec(_with_file(dataset, tmp_path), engine=ELSEWHERE, model=None, folder=tmp_path)
    content = stated(spec_for("http://127.0.0.1:1/v1"))
    content["spec"]["load"] = {"kind": "replay", "schedule": "mine.jsonl", "requests": 1}
    with pytest.raises(SpecError, match="states no SHA-256"):
        replayed_spec(content, engine=ELSEWHERE, model=None, folder=tmp_path)


def test_a_file_of_the_readers_with_the_strangers_name_is_not_sent(tmp_path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"prompt": "my secret"}\n')
    dataset = {"kind": "jsonl", "path": "mine.jsonl", "sha256": "ab" * 32}
    content = _with_file(dataset, tmp_path)
    again = replayed_spec(content, engine=ELSEWHERE, model=None, folder=tmp_path)
    with pytest.raises(SpecError, match="SHA-256") as caught:
        require_same_load(again, workload_hash="ab" * 32, schedule_hash="ab" * 32)
    assert "my secret" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"\x1b]0;owned\x07field": 1},
        {"name": "\x1b[2J" + "x" * 100_000},
        {"model": {"id": "a\x1b[2Jb"}},
        {"model": {"id": "a\u202eb"}},
        {"model": {"id": "--trust-remote-code"}},
        {"model": {"id": "a", "served_name": "--trust-remote-code"}},
        {"load": {"kind": "\x1b[2J"}},
        {"seed": 10**400},
        {"workload": {"dataset": {"kind": "hub", "repo": "x", "revision": "y"}}},
        {"workload": {"dataset": {"kind": "jsonl", "path": "http://canary.test/x"}}},
    ],
    ids=range(10),
)
def test_a_strangers_mistakes_are_one_short_printable_sentence(change, tmp_path) -> None:
    content = stated(spec_for("http://127.0.0.1:1/v1"))
    content["spec"] |= change
    with pytest.raises(SpecError) as caught:
        replayed_spec(content, engine=ELSEWHERE, model=None, folder=tmp_path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 3000
