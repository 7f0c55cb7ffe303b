"""The start of the command line: what a verification of one record does not do besides its work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.records import golden_records

_PROGRAM = """
import atexit, gc, json, linecache, sys
found = sys.argv.pop(1)

def searches():
    return sum(one["collections"] for one in gc.get_stats())

def report():
    open(found, "w").write(json.dumps({
        "searches": searches() - before,
        "left_to_search_at_the_end": len(gc.get_objects()),
        "sources": list(linecache.cache),
        "modules": list(sys.modules),
    }))

from inferencebench_pipeline.cli import main
before = searches()
_freeze, gc.freeze = gc.freeze, lambda: (_freeze(), report())
main()
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The side effects of a process that verified a record with its traces."""
    folder = tmp_path_factory.mktemp("start-up")
    record = golden_records()[-1]
    beside = record.envelope.parent
    (folder / "envelope.json").write_bytes(record.data)
    (folder / "traces.parquet").write_bytes(record.traces)
    found = folder / "found.json"
    words = ["verify", str(folder), "--policy", str(beside / "policy.yaml")]
    words += ["--trust-config", str(beside / "trusted_root.json"), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(found), *words], capture_output=True, text=True
    )
    assert json.loads(done.stdout)["outcome"] == "verified", done.stderr
    report: dict[str, Any] = json.loads(found.read_bytes())
    return report


def test_what_is_loaded_is_not_searched_for_garbage(started) -> None:
    assert started["searches"] == 0
    assert started["left_to_search_at_the_end"] < 1_000


def test_no_source_of_ours_is_read_for_its_docstrings(started) -> None:
    ours = [path for path in started["sources"] if "inferencebench_pipeline" in Path(path).parts]
    assert ours == []


def test_a_verification_loads_nothing_that_makes_or_lists_records(started) -> None:
    elsewhere = ("measure.spec.spec", "measure.engines.", "measure.client.", "hub.", "corpus.")
    loaded = [
        name
        for name in started["modules"]
        if name.removeprefix("inferencebench_pipeline.").startswith(elsewhere)
    ]
    assert loaded == []


def test_a_process_that_has_loaded_duckdb_ends_in_silence() -> None:
    program = "import duckdb; from inferencebench_pipeline.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--version"], capture_output=True, text=True
    )
    assert done.stdout.startswith("inferencebench ")
    assert done.stderr == ""
