"""``inferencebench evals`` from the log of an evaluation to the list of what was withheld."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inferencebench_pipeline.cli.app import app
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.hub.client.repo import Repo
from tests.community_results.test_logs import INSPECT, changed
from tests.hub.conftest import World
from tests.hub.evaluations import SPEC, Place, a_place


@pytest.fixture
def place(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = a_place(world, tmp_path / "home" / "store")
    us = place.us.account().name
    token = str(world.ask("/_sandbox/tokens", {"user": us, "role": "write"})["token"])
    monkeypatch.setenv("INFERENCEBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_ENDPOINT", world.url)
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setenv("COLUMNS", "300")
    return place


def evals(*arguments: str) -> str:
    """Run a command; return its output, or raise what it raised."""
    result = CliRunner().invoke(app, ["evals", *arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


def quality_result(place: Place, tmp_path: Path) -> str:
    log = tmp_path / "log.json"
    name = f"hf-inference-providers/{place.model_id}:together"
    log.write_text(json.dumps(changed(INSPECT, "eval.model", name)))
    options = ["--benchmark", place.benchmark, "--task", "sums"]
    options += ["--metric", "model_graded_fact/accuracy", "--engine", "vllm/0.12.0"]
    result = tmp_path / "result.json"
    result.write_text(evals("from-log", str(log), *options))
    return str(result)


def test_from_a_log_to_a_pull_request_to_its_withholding(place: Place, tmp_path: Path) -> None:
    result = quality_result(place, tmp_path)
    record = f"{place.us.account().name}/run"
    propose = ["propose", result, "--record", record]
    with pytest.raises(PermanentError, match="publish the record first"):
        evals(*propose)
    place.us.create(Repo("dataset", record))

    said = evals(*propose, "--dry-run")
    assert f"{place.model_id}: ready (by pull request)" in said
    assert f'url: "{place.world.url}/datasets/{record}"' in said
    assert "provider=together; engine=vllm/0.12.0; tools=python; judge=openai/o3-mini" in said
    assert "Nothing was sent." in said
    with pytest.raises(PermanentError, match="confirmation"):
        evals(*propose)
    assert place.numbers() == []

    address = f"{place.world.url}/{place.model_id}/discussions/1"
    assert address in evals(*propose, "--confirm", place.model_id)
    assert "already_present" in evals(*propose, "--confirm", place.model_id)
    assert "community" in evals("status", place.model_id)
    assert "community" in evals("leaderboard", place.benchmark)

    place.model_owner.close_pull_request(place.model, 1, comment="no")
    owner = place.model_id.partition("/")[0]
    said = evals("watch", "--benchmark", place.benchmark)
    assert f"withheld: {place.model_id}" in said
    assert f"by the model's author ({owner})" in said
    assert address in evals("withheld")
    assert "withheld" in evals("status", place.model_id)
    assert "withheld" in evals(*propose, "--confirm", place.model_id)
    assert "community-results is at commit" in evals("publish", "--org", record.partition("/")[0])


def test_files_are_checked_without_any_hub(tmp_path: Path) -> None:
    spec = tmp_path / "eval.yaml"
    spec.write_bytes(SPEC)
    assert "Arithmetic: 2 tasks, valid" in evals("check", str(spec))
    results = tmp_path / "x.yaml"
    results.write_text("- dataset: {id: a/b, task_id: t}\n  value: 1\n")
    assert "1 results, valid" in evals("check", str(results))
    results.write_text("- dataset: {id: a/b}\n  value: 1\n")
    with pytest.raises(PermanentError, match=r"x\.yaml: line 1: \[0\]\.dataset\.task_id"):
        evals("check", str(results))
    with pytest.raises(PermanentError, match="cannot be read"):
        evals("check", str(tmp_path / "absent.yaml"))


def test_a_benchmark_is_registered_from_the_command_line(place: Place, tmp_path: Path) -> None:
    repo = Repo("dataset", f"{place.us.account().name}/benchmark")
    place.us.create(repo)
    spec = tmp_path / "eval.yaml"
    spec.write_bytes(SPEC)
    said = evals("register", repo.id, str(spec))
    assert "2 tasks registered" in said
    assert "allow-list" in said
