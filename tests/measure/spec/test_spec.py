"""Specs: what is read, what is refused, and what the refusal says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.spec.engine import EmbeddedEngine
from inferencebench_pipeline.measure.spec.load import ClosedLoad, OpenLoad
from inferencebench_pipeline.measure.spec.plan import BenchmarkFile, json_schema
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec, spec_json
from inferencebench_pipeline.measure.spec.spec_file import load_plan, load_spec, parse_spec
from inferencebench_pipeline.measure.spec.workload import BuiltinDataset, Workload
from inferencebench_pipeline.measure.workloads.recipe import recipe_of
from inferencebench_pipeline.measure.workloads.resolution import resolve
from tests.measure.support import content_of_spec, spec_for
from tests.paths import SPECS

SHIPPED = sorted(SPECS.glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_spec_loads_under_its_own_name_and_sets_its_slo(path) -> None:
    plan = load_plan(path)
    assert plan.name == path.stem
    for spec in plan.runs:
        assert spec.slo.ttft_ms is not None
        assert spec.slo.tpot_ms is not None
        assert recipe_of(spec.workload, spec.seed).items


def test_both_kinds_of_load_are_shipped() -> None:
    loads = {type(spec.load) for path in SHIPPED for spec in load_plan(path).runs}
    assert loads == {ClosedLoad, OpenLoad}


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


def write(folder: Path, text: str) -> Path:
    path = folder / "my.yaml"
    path.write_text(text)
    return path


GOOD = """\
name: mine
suite: {id: llm.inference.chat, version: 1.0.0}
model:
  id: fake
engine:
  kind: embedded
load:
  kind: closed
  concurrency: [1, 2, 4]
  requests: 10
"""


def test_a_list_of_load_points_comes_to_one_run_each_that_says_where_it_stands(tmp_path) -> None:
    plan = load_plan(write(tmp_path, GOOD))
    assert [run.load.concurrency for run in plan.runs] == [1, 2, 4]
    assert [(run.place.sweep, run.place.point, run.place.points) for run in plan.runs] == [
        ("mine", 1, 3),
        ("mine", 2, 3),
        ("mine", 3, 3),
    ]
    (single,) = load_plan(write(tmp_path, GOOD), ["load.concurrency=2"]).runs
    assert single.place is None
    with pytest.raises(SpecError, match="describes 3 runs"):
        load_spec(write(tmp_path, GOOD))


def test_lists_multiply_models_engines_workloads_and_loads(tmp_path) -> None:
    text = GOOD.replace("model:\n  id: fake", "model: [{id: a}, {id: b}]")
    text += "workload: [{max_tokens: 4}, {max_tokens: 8}]\n"
    runs = load_plan(write(tmp_path, text)).runs
    assert len(runs) == 2 * 2 * 3
    found = [(run.model.id, run.workload.max_tokens, run.load.concurrency) for run in runs]
    assert found == sorted(found)
    assert len(set(found)) == 12


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("requests: 10", "reqests: 10", "my.yaml:10:3: load.reqests is not a known field; did you"),
        ("requests: 10", "reqests: 10", "did you mean requests?"),
        ("  kind: embedded", "  kind: embeded", "my.yaml:6:3: engine.kind"),
        ("[1, 2, 4]", "[1, -2]", "my.yaml:9:20: load.concurrency[1] = -2"),
        ("  id: fake", "", "my.yaml:3:1: model"),
        ("  id: fake", "  name: fake", "my.yaml:4:3: model.name is not a known field"),
        ("name: mine", "name: mine\nname: yours", "my.yaml:2:1: name is given twice"),
        ("name: mine", "name: [mine", "my.yaml:"),
        ("id: llm.inference.chat", "id: LLM", "my.yaml:2:9: suite.id = 'LLM'"),
        ("requests: 10", "requests: 10\nrepeats: {least: 2, most: 5}", "my.yaml:11:1: repeats"),
        ("requests: 10", "requests: 10\nsearch: {low: 1, high: 9}", "search needs an SLO"),
        ("requests: 10", "requests: 10\nslo: {ttft_ms: 0}", "my.yaml:11:7: slo.ttft_ms = 0"),
        (
            "  requests: 10",
            "  requests: 1\nworkload: {dataset: {kind: synthetic, prompt_tokens: "
            "{distribution: uniform, mean: 3}}}",
            "my.yaml:11:55: workload.dataset.prompt_tokens.distribution",
        ),
    ],
)
def test_an_error_names_line_field_and_remedy(tmp_path, old, new, said) -> None:
    with pytest.raises(SpecError) as caught:
        load_plan(write(tmp_path, GOOD.replace(old, new)))
    assert said in str(caught.value)


def test_every_error_of_a_file_is_told_at_once(tmp_path) -> None:
    text = GOOD.replace("requests: 10", "requests: 0").replace("fake", "a b")
    with pytest.raises(SpecError) as caught:
        load_plan(write(tmp_path, text))
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("override", ["load", "=4", "load.=4", "name.x=4", "load.requests=[", "="])
def test_an_override_that_is_none_is_refused(tmp_path, override) -> None:
    with pytest.raises(SpecError, match="cannot be applied"):
        load_plan(write(tmp_path, GOOD), [override])


def test_an_override_with_a_wrong_value_is_refused_like_the_files_own(tmp_path) -> None:
    with pytest.raises(SpecError, match=r"load\.requests = -3"):
        load_plan(write(tmp_path, GOOD), ["load.requests=-3"])


def test_a_wrong_override_is_blamed_and_not_a_line_of_the_file(tmp_path) -> None:
    path = write(tmp_path, GOOD)
    with pytest.raises(SpecError) as caught:
        load_plan(path, ["client.processes=0", "load.requests=10"])
    assert str(caught.value).startswith(
        f"{path}, with client.processes overridden: client.processes = 0: "
    )


WRITTEN = {
    "name": "other",
    "suite": {"id": "llm.inference.other", "version": "2.0.0"},
    "model": {"id": "other"},
    "engine": {"kind": "embedded", "threads": 3},
    "workload": {"max_tokens": 7},
    "load": {"kind": "closed", "concurrency": 9, "requests": 11},
    "repeats": {"least": 2},
    "seed": 7,
    "slo": {"ttft_ms": 5},
    "deadlines": {"run_s": 5},
    "limits": {"capture_bytes": 2**21},
    "client": {"processes": 4},
}
"""A value other than the default for each field of a run that a person may write."""


def test_each_field_of_a_run_can_be_written_in_a_file_and_arrives(tmp_path) -> None:
    assert set(WRITTEN) == set(BenchmarkSpec.model_fields) - {"place"}
    assert set(BenchmarkFile.model_fields) - set(WRITTEN) == {"search", "schedule"}
    spec = load_spec(write(tmp_path, json.dumps(WRITTEN)))
    assert spec == parse_spec(WRITTEN, where="here")
    plain = load_spec(write(tmp_path, GOOD.replace("[1, 2, 4]", "1")))
    assert all(getattr(spec, name) != getattr(plain, name) for name in WRITTEN)


CLIENT = GOOD.replace("[1, 2, 4]", "1000") + "client: {processes: %s}\n"


def test_a_spec_file_and_an_override_name_the_processes_of_the_client(tmp_path) -> None:
    path = write(tmp_path, CLIENT % 4)
    assert load_spec(path).client.processes == 4
    assert load_spec(path, ["client.processes=2"]).client.processes == 2


@pytest.mark.parametrize(
    ("processes", "said"),
    [
        ("0", "= 0: Input should be greater than or equal to 1"),
        ("-1", "= -1: Input should be greater than or equal to 1"),
        ("1000", "= 1000: Input should be less than or equal to 256"),
        ("two", "= 'two': Input should be a valid integer"),
    ],
)
def test_a_wrong_number_of_processes_is_told_like_any_wrong_field(tmp_path, processes, said):
    path = write(tmp_path, CLIENT % processes)
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert str(caught.value).startswith(f"{path}:11:10: client.processes {said}")


def test_parts_that_do_not_fit_together_are_told_with_the_file_and_the_remedy(tmp_path) -> None:
    path = write(tmp_path, CLIENT.replace("1000", "[8, 2]") % 4)
    with pytest.raises(SpecError) as caught:
        load_plan(path)
    assert str(caught.value) == (
        f"{path}: the spec mine does not fit together: client.processes = 4 is more than "
        "load.concurrency = 2: some would have nothing to do; lower it"
    )


LARGE = GOOD.replace("concurrency: [1, 2, 4]", "concurrency: 64")


@pytest.mark.parametrize(
    ("requests", "rest", "said"),
    [
        ("1000000", "repeats: 100", "repeats = 100 of 1000002 requests, warm-up included, leave"),
        ("1000000", "repeats: {least: 3, most: 5}", "repeats = 5 of 1000002 requests"),
        ("12435", "repeats: 100", "leave 1250100 rows of traces"),
        ("1000000", "workload: {max_tokens: 135}", "with 135 output tokens each leave 135000270"),
        ("10000", "workload: {max_tokens: 1000000}", "nobody reads more than 134217728"),
        (
            "1000000",
            "workload: {max_tokens: 9000, output_tokens: {distribution: normal, mean: 200, "
            "stdev: 1, max: 300}}",
            "with 200 output tokens each",
        ),
    ],
)
def test_a_run_whose_traces_nobody_reads_is_refused_before_it_is_measured(
    tmp_path, requests, rest, said
) -> None:
    text = LARGE.replace("requests: 10", f"requests: {requests}")
    with pytest.raises(SpecError) as caught:
        load_plan(write(tmp_path, f"{text}{rest}\n"))
    assert said in str(caught.value)
    assert "no verdict could be reached; lower repeats" in str(caught.value)


@pytest.mark.parametrize(
    ("requests", "rest"),
    [
        ("12434", "repeats: 100"),
        ("1000000", "workload: {max_tokens: 134}"),
        ("1000000", "workload: {max_tokens: 9000, output_tokens: 134}"),
        # Where the engine decides when an answer ends, nobody knows how many chunks there will be.
        ("1000000", "workload: {max_tokens: 9000, ignore_eos: false}"),
        ("1000000", "workload: {max_tokens: 9000, dataset: {kind: jsonl, path: x.jsonl}}"),
    ],
)
def test_the_largest_runs_whose_traces_are_read_are_allowed(tmp_path, requests, rest) -> None:
    text = LARGE.replace("requests: 10", f"requests: {requests}")
    assert load_plan(write(tmp_path, f"{text}{rest}\n")).runs


def test_turns_need_a_load_that_waits_for_answers(tmp_path) -> None:
    text = GOOD.replace("  kind: closed\n  concurrency: [1, 2, 4]", "  kind: open\n  rate_per_s: 2")
    text += (
        "workload: {dataset: {kind: conversation, turns: 2, turn_tokens: 9, answer_tokens: 9}}\n"
    )
    with pytest.raises(SpecError, match="does not wait for answers"):
        load_plan(write(tmp_path, text))


def test_paths_are_found_from_where_the_spec_is(tmp_path) -> None:
    text = GOOD + "workload: {dataset: {kind: jsonl, path: data/x.jsonl}}\n"
    run = load_plan(write(tmp_path, text)).runs[0]
    assert run.workload.dataset.path == str(tmp_path / "data/x.jsonl")


def test_editors_get_the_schema_of_this_version() -> None:
    assert (SPECS / "spec.schema.json").read_bytes() == json_schema(), (
        "write it anew: inferencebench spec schema > specs/spec.schema.json"
    )


def test_code_leaves_the_kind_of_a_part_out_and_a_file_does_not(tmp_path) -> None:
    assert EmbeddedEngine() == EmbeddedEngine(kind="embedded")
    assert BuiltinDataset(name="chat-short") == Workload().dataset
    with pytest.raises(SpecError, match=r"my\.yaml:5:1: engine\.kind is missing; add"):
        load_plan(write(tmp_path, GOOD.replace("  kind: embedded", "  threads: 3")))
    for part in json.loads(json_schema())["$defs"].values():
        kinds = {"kind", "distribution"} & set(part.get("properties", ()))
        assert kinds <= set(part.get("required", ()))


def test_the_schema_knows_every_field_and_refuses_others() -> None:
    schema = json.loads(json_schema())
    parts = [schema, *(part for part in schema["$defs"].values() if part["type"] == "object")]
    assert all(part["additionalProperties"] is False for part in parts)
    assert set(schema["required"]) == {"name", "suite", "model", "engine", "load"}
    assert all("description" in schema["$defs"][name] for name in ("Slo", "Search", "ModelSpec"))


def test_the_schema_describes_every_field_in_a_sentence() -> None:
    schema = json.loads(json_schema())
    described = {
        f"{title}.{name}": field.get("description", "")
        for title, part in [("BenchmarkFile", schema), *schema["$defs"].items()]
        for name, field in part.get("properties", {}).items()
    }
    assert len(described) > 100
    assert [name for name, said in described.items() if not said.endswith(".")] == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_spec_tells_editors_where_its_schema_is(path) -> None:
    assert path.read_text().startswith("# yaml-language-server: $schema=./spec.schema.json\n")


def test_a_missing_file_is_a_spec_error(tmp_path) -> None:
    with pytest.raises(SpecError, match="No such file"):
        load_spec(tmp_path / "none.yaml")
