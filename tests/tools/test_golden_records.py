"""The tool that makes golden records makes ones that verify, and makes none twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inferencebench_pipeline.measure import NEWEST_DEFINITIONS, TRACES_SCHEMA_VERSION, load_spec
from inferencebench_pipeline.runs.run_directory import RunStore, new_run_id
from tests.envelope.measured import write_measured
from tests.records import GOLDEN, GoldenRecord
from tools.golden_records import (
    RECORDS,
    SMALL,
    SPEC,
    GoldenRecordError,
    keep,
    make,
    meaning,
    name_of_newest,
)


def test_what_is_kept_of_a_measured_run_verifies_without_the_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    run = RunStore(tmp_path / "measured").run(new_run_id())
    run.path.mkdir(parents=True)
    write_measured(run)
    folder = tmp_path / "kept"

    keep(run, folder, tmp_path)

    names = {path.name for path in folder.iterdir()}
    envelopes = {"envelope.rekor-v1.json", "envelope.rekor-v2.json"}
    others = {"traces.parquet", "trusted_root.json", "policy.yaml", "meaning.json"}
    assert names == envelopes | others
    for name in sorted(envelopes):
        verdict = GoldenRecord(folder / name).verdict()
        assert verdict.ok, verdict.reason
    assert "PRIVATE KEY" not in "".join(
        path.read_text() for path in folder.iterdir() if path.suffix != ".parquet"
    )


def test_a_record_that_is_there_is_never_made_again(tmp_path: Path) -> None:
    spec = load_spec(SPEC, SMALL)
    before = sorted(GOLDEN.rglob("*"))
    with pytest.raises(GoldenRecordError, match="never made again"):
        make(GOLDEN / "0.2.0-definitions-2-traces-2", spec, tmp_path)
    assert sorted(GOLDEN.rglob("*")) == before
    assert not list(tmp_path.iterdir())


def test_the_folder_is_named_after_what_its_record_states() -> None:
    assert RECORDS == GOLDEN
    versions = f"definitions-{NEWEST_DEFINITIONS.version}-traces-{TRACES_SCHEMA_VERSION}"
    assert name_of_newest().endswith(f"-{versions}")
    said = json.loads(meaning(NEWEST_DEFINITIONS, TRACES_SCHEMA_VERSION))
    assert set(said["definitions"]) == {NEWEST_DEFINITIONS.version}
    assert set(said["columns"]) == {TRACES_SCHEMA_VERSION}
