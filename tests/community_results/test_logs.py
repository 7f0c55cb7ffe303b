"""Quality results: typed documents, and what the frameworks' logs say of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inferencebench_pipeline.community_results.logs import Reading, read_log
from inferencebench_pipeline.community_results.notes import RunConfiguration, parse_notes
from inferencebench_pipeline.community_results.quality_result import (
    QualityResult,
    QualityResultError,
    entry_of,
    parse_quality_result,
)
from inferencebench_pipeline.community_results.results_file import BenchmarkTask

TASK = BenchmarkTask(id="cais/hle", task_id="hle", revision="a3c98f7")
RESULT: dict[str, Any] = {
    "schema_version": "1",
    "model_id": "example/model",
    "benchmark": {"id": "cais/hle", "task_id": "hle"},
    "metric": "accuracy",
    "value": 0.25,
    "samples": 100,
    "evaluated_at": "2026-11-02T12:00:00+02:00",
    "configuration": {"provider": "self-hosted", "engine": "vllm/0.12.0", "tools": "none"},
}
INSPECT: dict[str, Any] = {
    "version": 2,
    "status": "success",
    "eval": {
        "created": "2026-11-02T10:00:00+00:00",
        "task": "hle",
        "model": "hf-inference-providers/example/model:together",
    },
    "plan": {
        "steps": [
            {"solver": "inspect_ai/use_tools", "params": {"tools": [{"name": "python"}]}},
            {"solver": "generate", "params": {}},
        ]
    },
    "results": {
        "completed_samples": 50,
        "scores": [
            {
                "name": "model_graded_fact",
                "scorer": "model_graded_fact",
                "params": {"model": "openai/o3-mini"},
                "metrics": {"accuracy": {"name": "accuracy", "value": 0.2}},
            }
        ],
    },
}
LIGHTEVAL: dict[str, Any] = {
    "config_general": {
        "model_config": {"model_name": "example/model", "provider": "together"},
        "start_time": 1234.5,
    },
    "results": {"gsm8k|0": {"em": 0.5, "em_stderr": 0.01}, "all": {"em": 0.5}},
}
RESULTS_FILE = "results_2026-11-02T10-00-00.123456.json"


def read(log: object, reading: Reading, filename: str = "log.json") -> QualityResult:
    return read_log(json.dumps(log).encode(), reading, filename=filename)


def changed(document: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(document))
    *parents, last = path.split(".")
    place = copy
    for key in parents:
        place = place[key]
    place[last] = value
    return copy


def test_a_result_becomes_an_entry_that_points_to_its_record() -> None:
    result = parse_quality_result(json.dumps(RESULT).encode(), filename="r.json")
    entry = entry_of(result, record_id="org/run", record_url="https://hub/datasets/org/run")
    assert entry.source is not None
    assert (entry.source.url, entry.source.org) == ("https://hub/datasets/org/run", "org")
    assert entry.date == "2026-11-02T10:00:00Z"
    assert entry.notes == "provider=self-hosted; engine=vllm/0.12.0; tools=none"
    assert parse_notes(entry.notes).configuration == result.configuration
    again = parse_quality_result(result.model_dump_json().encode(), filename="r.json")
    assert again == result


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("value", "0.25", "value"),
        ("evaluated_at", "2026-11-02T12:00:00", "evaluated_at"),
        ("benchmark", {"id": "cais/hle"}, "benchmark.task_id"),
        ("configuration", {"provider": "fastest"}, "resolved"),
        ("configuration", {"gpu": "h100"}, "gpu"),
        ("surprise", 1, "surprise"),
    ],
)
def test_a_result_that_is_wrong_is_refused_by_key(path: str, value: object, said: str) -> None:
    with pytest.raises(QualityResultError, match=said):
        parse_quality_result(json.dumps(changed(RESULT, path, value)).encode(), filename="r.json")


def test_a_result_without_provider_or_engine_is_not_entered() -> None:
    bare = changed(RESULT, "configuration", {"tools": "none"})
    result = parse_quality_result(json.dumps(bare).encode(), filename="r.json")
    with pytest.raises(QualityResultError, match="provider and engine"):
        entry_of(result, record_id="org/run", record_url="https://hub/datasets/org/run")


def test_an_inspect_log_gives_provider_tools_and_judge() -> None:
    given = RunConfiguration(engine="unknown", quantization="fp8")
    result = read(INSPECT, Reading(TASK, "model_graded_fact/accuracy", configuration=given))
    assert (result.model_id, result.value, result.samples) == ("example/model", 0.2, 50)
    assert result.configuration == RunConfiguration(
        provider="together",
        engine="unknown",
        quantization="fp8",
        tools=("python",),
        judge="openai/o3-mini",
    )


def test_a_selection_policy_in_a_log_is_not_taken_for_a_provider() -> None:
    log = changed(INSPECT, "eval.model", "hf-inference-providers/example/model:fastest")
    reading = Reading(TASK, "model_graded_fact/accuracy")
    assert read(log, reading).configuration.provider is None


def test_a_lighteval_file_gives_model_provider_and_the_date_of_its_name() -> None:
    given = RunConfiguration(engine="vllm/0.12.0")
    result = read(LIGHTEVAL, Reading(TASK, "gsm8k|0/em", configuration=given), RESULTS_FILE)
    assert (result.model_id, result.value) == ("example/model", 0.5)
    assert result.evaluated_at.isoformat() == "2026-11-02T10:00:00+00:00"
    assert result.configuration == RunConfiguration(provider="together", engine="vllm/0.12.0")


@pytest.mark.parametrize(
    ("log", "reading", "filename", "said"),
    [
        (changed(INSPECT, "status", "error"), Reading(TASK, "x"), "l.json", "status is 'error'"),
        (INSPECT, Reading(TASK, "accuracy"), "l.json", "model_graded_fact/accuracy"),
        (
            INSPECT,
            Reading(TASK, "model_graded_fact/accuracy", model_id="other/model"),
            "l.json",
            "of example/model, not of other/model",
        ),
        (
            INSPECT,
            Reading(
                TASK,
                "model_graded_fact/accuracy",
                configuration=RunConfiguration(provider="fireworks"),
            ),
            "l.json",
            "says provider 'together'",
        ),
        (LIGHTEVAL, Reading(TASK, "gsm8k|0/em"), "l.json", "results_DATE"),
        (LIGHTEVAL, Reading(TASK, "gsm8k|0/em_stderr"), RESULTS_FILE, "holds no metric"),
        ({"eval": {}, "status": "success"}, Reading(TASK, "x"), "l.json", "not a log we can read"),
        ({}, Reading(TASK, "x"), "l.json", "neither"),
        ([], Reading(TASK, "x"), "l.json", "neither"),
    ],
)
def test_a_log_that_does_not_say_it_is_refused_with_the_reason(
    log: object, reading: Reading, filename: str, said: str
) -> None:
    with pytest.raises(QualityResultError, match=said):
        read(log, reading, filename)
