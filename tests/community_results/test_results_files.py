"""``.eval_results/*.yaml``, ``eval.yaml`` and the notes: read strictly, written safely."""

from __future__ import annotations

import math

import pytest
import yaml
from huggingface_hub import parse_eval_result_entries
from hypothesis import given
from hypothesis import strategies as st

from inferencebench_pipeline.community_results.eval_yaml import parse_spec, render_spec
from inferencebench_pipeline.community_results.notes import (
    NotesError,
    RunConfiguration,
    parse_notes,
    render_notes,
)
from inferencebench_pipeline.community_results.results_file import (
    BenchmarkTask,
    EvaluationEntry,
    Source,
    entry_path,
    is_result_file,
    parse_entries,
    render_entries,
)
from inferencebench_pipeline.community_results.yaml import EvaluationFileError
from inferencebench_pipeline.sandbox.hub.evaluations import spec_errors

FILE = ".eval_results/x.yaml"
MINIMAL = b"- dataset:\n    id: Idavidrein/gpqa\n    task_id: gpqa_diamond\n  value: 0.412\n"
COMPLETE = b"""\
- dataset:
    id: cais/hle
    task_id: default
    revision: a3c98f7
  value: 20.90
  verifyToken: "eyJ..."
  date: "2026-01-15T10:30:00Z"
  source:
    url: https://example.org/logs/1
    name: HLE log
    user: someone
  notes: "no-tools"
"""
SPEC = b"""\
name: Arithmetic
description: Small sums.
evaluation_framework: inspect-ai
tasks:
  - id: sums
    split: test
    field_spec: {input: question, target: answer, choices: [a, b]}
    solvers: [{name: generate}]
    scorers: [{name: model_graded_fact, args: {model: openai/o3-mini}}]
"""

text = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=60)
facet = text.map(str.strip).filter(bool)
tools = st.sets(facet, max_size=4).map(sorted).map(tuple).filter(lambda found: found != ("none",))


def problems(data: bytes) -> str:
    with pytest.raises(EvaluationFileError) as caught:
        parse_entries(data, filename=FILE)
    return str(caught.value)


def test_the_specification_s_own_examples_are_read() -> None:
    (entry,) = parse_entries(COMPLETE, filename=FILE)
    assert entry.key == ("cais/hle", "default")
    assert (entry.value, entry.notes, entry.verify_token) == (20.90, "no-tools", "eyJ...")
    assert entry.source == Source(url="https://example.org/logs/1", name="HLE log", user="someone")
    (minimal,) = parse_entries(MINIMAL, filename=FILE)
    assert (minimal.value, minimal.date, minimal.source) == (0.412, None, None)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"- dataset:\n    id: a/b\n  value: 1\n", "line 1: [0].dataset.task_id is missing"),
        (
            MINIMAL + b"  date: 2026-01-02\n",
            'line 5: [0].date is a date without quotes; write "2026-',
        ),
        (MINIMAL + b"  date: '2026-13-02'\n", "line 5: [0].date: not an ISO 8601 date"),
        (MINIMAL + b"  date: '20260102'\n", "line 5: [0].date: not an ISO 8601 date"),
        (MINIMAL + b"  source:\n    name: x\n", "line 5: [0].source.url is missing"),
        (MINIMAL + b"  source:\n    url: ftp://x\n", "line 6: [0].source.url"),
        (MINIMAL + b"  verify_token: x\n", "line 5: [0].verify_token is not a key"),
        (
            MINIMAL + MINIMAL.replace(b"0.412", b"'1'"),
            "line 8: [1].value: not a number (value '1')",
        ),
        (MINIMAL.replace(b"0.412", b"yes"), "line 4: [0].value: not a number (value 'yes')"),
        (MINIMAL.replace(b"0.412", b"true"), "line 4: [0].value: not a number"),
        (MINIMAL.replace(b"0.412", b".nan"), "line 4: [0].value: not a finite number"),
        (
            MINIMAL.replace(b"0.412", b"1\n  value: 2"),
            "line 5: is not YAML we can read: key 'value'",
        ),
        (MINIMAL.replace(b"Idavidrein/gpqa", b"gpqa"), "line 2: [0].dataset.id"),
        (
            MINIMAL.replace(b"    task_id", b"    revision: 1234567\n    task_id"),
            "line 3: [0].dataset.revision",
        ),
        (b"[", "line 1: is not YAML"),
        (b"dataset: {}\n", "line 1: must be a list"),
        (b"", "line 1: must be a list"),
        (b"\xff", "is not UTF-8"),
    ],
)
def test_what_breaks_the_specification_is_named_with_file_line_and_key(
    data: bytes, said: str
) -> None:
    assert f"{FILE}: {said}" in problems(data)


def test_every_problem_of_a_file_is_reported_on_its_own_line() -> None:
    said = problems(b"- value: x\n- dataset: {id: a/b, task_id: t}\n  value: 1\n  surprise: 2\n")
    assert [line.split(": ", 2)[1] for line in said.splitlines()] == ["line 1", "line 1", "line 4"]


@pytest.mark.parametrize(
    ("scalar", "value"), [("010", 10), ("1e3", 1000.0), ("-.5", -0.5), ("1_000", None)]
)
def test_numbers_are_read_as_yaml_1_2_reads_them(scalar: str, value: float | None) -> None:
    data = MINIMAL.replace(b"0.412", scalar.encode())
    if value is None:
        assert "not a number" in problems(data)
    else:
        assert parse_entries(data, filename=FILE)[0].value == value


@given(
    notes=text,
    source=text,
    revision=text,
    date=st.dates().map(lambda day: f"{day.year:04}-{day.month:02}-{day.day:02}"),
    value=st.floats(allow_nan=False, allow_infinity=False),
)
def test_what_is_written_is_read_back_by_us_and_by_other_parsers(
    notes: str, source: str, revision: str, date: str, value: float
) -> None:
    entry = EvaluationEntry(
        dataset=BenchmarkTask(id="a/b", task_id="no", revision=revision),
        value=value,
        date=date,
        source=Source(url="https://example.org/x", name=source),
        notes=notes,
    )
    data = render_entries([entry])
    assert parse_entries(data, filename=FILE) == (entry,)
    (theirs,) = parse_eval_result_entries(yaml.safe_load(data))
    assert (theirs.task_id, theirs.date, theirs.notes) == ("no", date, notes)
    assert (theirs.source_name, theirs.dataset_revision) == (source, revision)
    assert math.isclose(theirs.value, value)


def test_a_file_s_name_tells_configurations_of_one_task_apart() -> None:
    (entry,) = parse_entries(MINIMAL, filename=FILE)
    other = entry.model_copy(update={"notes": "tools=search"})
    again = entry.model_copy(update={"value": 0.9})
    assert entry_path(entry) == entry_path(again)
    assert len({entry_path(entry), entry_path(other)}) == 2
    assert is_result_file(entry_path(entry))
    assert entry_path(entry).startswith(".eval_results/idavidrein__gpqa__gpqa-diamond__")
    assert not is_result_file(".eval_results/deeper/x.yaml")


def test_a_benchmark_s_specification_survives_a_round_trip_that_the_hub_accepts() -> None:
    spec = parse_spec(SPEC)
    task = spec.task("sums")
    assert task is not None
    assert task.scorers is not None
    assert task.scorers[0].judge_model == "openai/o3-mini"
    written = render_spec(spec)
    assert parse_spec(written) == spec
    assert spec_errors(written) == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"tasks: [{id: a}]\n", "eval.yaml: line 1: name is missing"),
        (b"name: x\ntasks: []\n", "eval.yaml: line 2: tasks"),
        (b"name: x\ntasks:\n- id: a\n- id: a\n", "tasks have the same id: a"),
        (b"name: x\ntasks:\n- id: a\n- config: b\n", "line 4: tasks[1].id is missing"),
        (SPEC.replace(b"scorers", b"scores"), "line 9: tasks[0].scores is not a key"),
        (SPEC.replace(b"generate", b"guess"), "line 8: tasks[0].solvers[0].name"),
        (SPEC.replace(b"    solvers: [{name: generate}]\n", b""), "task 'sums' has no solvers"),
        (b"- name: x\n", "line 1: must be a mapping"),
    ],
)
def test_a_specification_that_the_hub_would_refuse_is_refused_before_it(
    data: bytes, said: str
) -> None:
    with pytest.raises(EvaluationFileError) as caught:
        parse_spec(data)
    assert said in str(caught.value)
    assert spec_errors(data) != []


def test_notes_say_the_configuration_in_a_fixed_order() -> None:
    configuration = RunConfiguration(
        tools=("python", "search; web"),
        provider="together",
        engine="vllm/0.12.0",
        quantization="fp8/compressed-tensors",
        template="model",
        judge="none",
    )
    assert render_notes(configuration) == (
        "provider=together; engine=vllm/0.12.0; quantization=fp8/compressed-tensors; "
        "template=model; tools=python,search%3B%20web; judge=none"
    )


@given(
    st.builds(
        RunConfiguration,
        provider=st.none() | facet.filter(lambda text: text.lower() not in {"auto"}),
        engine=st.none() | facet,
        quantization=st.none() | facet,
        template=st.none() | facet,
        tools=st.none() | tools,
        judge=st.none() | facet,
        fingerprint=st.none() | st.just("ab" * 32),
    )
)
def test_notes_are_read_back_exactly(configuration: RunConfiguration) -> None:
    line = render_notes(configuration)
    assert line.isascii()
    assert line.isprintable()
    if line:
        assert parse_notes(line).configuration == configuration


@pytest.mark.parametrize(
    "said",
    [
        "no-tools",
        "provider=together; mood=good",
        "engine=vllm; provider=together",
        "provider=together;engine=vllm",
        "provider=fastest",
        "provider=a; provider=a",
        "tools=b,a",
        "fingerprint=xyz",
    ],
)
def test_somebody_else_s_notes_are_kept_as_text_and_never_half_understood(said: str) -> None:
    assert parse_notes(said).configuration is None
    assert parse_notes(said).text == said


@pytest.mark.parametrize("policy", ["fastest", ":cheapest", "Preferred", "auto"])
def test_a_provider_that_was_not_resolved_is_refused(policy: str) -> None:
    with pytest.raises(NotesError, match="resolved"):
        RunConfiguration(provider=policy)
