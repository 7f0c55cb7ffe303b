"""A launch by a form may replace the load of a spec file, and not what runs here."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.spec.spec_file import load_plan

REMOTE = """\
name: remote
suite: {id: llm.inference.chat, version: 1.0.0}
model: {id: org/model}
engine: {kind: openai, base_url: "http://gpu-host:8000/v1", api_key_env: ENGINE_KEY}
workload: {dataset: {kind: jsonl, path: prompts.jsonl}, prompts: 1}
load: {kind: closed, concurrency: [1, 2], requests: 4}
"""
MANAGED = """\
name: managed
suite: {id: llm.inference.chat, version: 1.0.0}
model: [{id: org/model}, {id: org/other}]
engine: {kind: vllm, args: [--dtype, bfloat16], env: {OMP_NUM_THREADS: "4"}}
load: {kind: open, rate_per_s: 4, requests: 4}
"""


def _file(folder: Path, text: str) -> Path:
    path = folder / "spec.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "override"),
    [
        (REMOTE, "load.concurrency=8"),
        (REMOTE, "load={kind: open, rate_per_s: 3, requests: 9}"),
        (REMOTE, "repeats=5"),
        (REMOTE, "model.id=org/another"),
        (REMOTE, "model=[{id: a/b}, {id: c/d}]"),
        (REMOTE, "engine.provider=me"),
        (REMOTE, "workload.dataset=builtin:chat-short"),
        (REMOTE, "workload={dataset: {kind: synthetic, prompt_tokens: 100}}"),
        (REMOTE, "engine.base_url=http://gpu-host:8000/v1"),
        (REMOTE, "engine.base_url=http://gpu-host:8000/v1/"),
        (MANAGED, "load.rate_per_s=[1, 2]"),
        (MANAGED, "model={id: org/other}"),
        (MANAGED, "slo.ttft_ms=100"),
        (REMOTE, "workload.dataset={kind: sharegpt, path: prompts.jsonl}"),
    ],
)
def test_a_launch_may_replace_the_load(tmp_path: Path, text: str, override: str) -> None:
    assert load_plan(_file(tmp_path, text), [override]).runs


@pytest.mark.parametrize(
    ("text", "override", "named"),
    [
        (REMOTE, "engine.base_url=http://169.254.169.254/v1", "engine.base_url"),
        (REMOTE, "engine.base_url=http://gpu-host:8001/v1", "engine.base_url"),
        (REMOTE, "engine.api_key_env=OTHER_KEY", "engine.api_key_env"),
        (REMOTE, "engine.api_key_env=null", "engine.api_key_env"),
        (REMOTE, "engine.proxy=http://evil.test:3128", "engine.proxy"),
        (REMOTE, "engine={kind: embedded}", "engine.kind"),
        (REMOTE, "engine={kind: vllm}", "engine.args"),
        (REMOTE, "engine=[{kind: vllm, args: [--trust-remote-code]}]", "engine.args"),
        (REMOTE, "workload.dataset.path=/etc/passwd", "workload.dataset.path"),
        (REMOTE, "workload.dataset.path=../other.jsonl", "workload.dataset.path"),
        (REMOTE, "workload=[{dataset: {kind: jsonl, path: /etc/shadow}}]", "workload.dataset"),
        (REMOTE, "load={kind: replay, schedule: /etc/passwd, requests: 1}", "load.schedule"),
        (MANAGED, "engine.args=[--trust-remote-code]", "engine.args"),
        (MANAGED, "engine.env={OMP_NUM_THREADS: '8'}", "engine.env"),
        (MANAGED, "engine.env.VLLM_USE_V1=1", "engine.env"),
        (MANAGED, "engine.model_path=/tmp/evil", "engine.model_path"),
        (MANAGED, "model={id: evil/model}", "model.id"),
        (MANAGED, "model={id: org/model, revision: 0123456789}", "model.revision"),
        (MANAGED, "model=[{id: org/model}, {id: /tmp/evil}]", "model.id"),
    ],
)
def test_a_launch_may_not_replace_what_runs_whom_it_asks_or_what_it_reads(
    tmp_path: Path, text: str, override: str, named: str
) -> None:
    path = _file(tmp_path, text)
    override = override.replace("VLLM_USE_V1=1", "VLLM_USE_V1='1'")
    with pytest.raises(SpecError) as caught:
        load_plan(path, [override])
    assert "a launch may not replace" in str(caught.value)
    assert named in str(caught.value)
    assert "evil" not in str(caught.value)


def test_several_overrides_are_judged_by_what_they_come_to(tmp_path: Path) -> None:
    path = _file(tmp_path, MANAGED)
    with pytest.raises(SpecError, match="a launch may not replace"):
        load_plan(path, ["engine=null", "engine={kind: vllm}", "engine.args=['--load-format=pt']"])


def test_whoever_runs_it_on_their_own_machine_may_replace_anything(tmp_path: Path) -> None:
    path = _file(tmp_path, MANAGED)
    (run, _) = load_plan(path, ["engine.args=[--trust-remote-code]"], allow_code=True).runs
    assert run.engine.args == ("--trust-remote-code",)
