"""Run ids and the run directory."""

from __future__ import annotations

import os

import pytest

from inferencebench_pipeline.files.atomic_writes import StoreError, write_atomically
from inferencebench_pipeline.runs.run_directory import (
    MissingRunFileError,
    RunFile,
    RunIdError,
    RunStore,
    new_run_id,
    run_started_at,
    validate_run_id,
)


def test_run_ids_sort_by_the_time_they_were_made_at():
    earlier, later = new_run_id(unix_ms=1_700_000_000_000), new_run_id(unix_ms=1_700_000_000_001)
    assert earlier < later
    assert run_started_at(earlier).timestamp() == 1_700_000_000.0


def test_a_retried_tick_names_the_same_run():
    assert new_run_id(unix_ms=1, entropy=b"0123456789") == new_run_id(
        unix_ms=1, entropy=b"0123456789"
    )


@pytest.mark.parametrize(
    "bad",
    ["", "../../etc/passwd", "a/b", "019E3B45-8552-7705-AB62-1CB802FE5680", "0" * 36, " ", "a...b",
     "019e3b45-8552-4705-ab62-1cb802fe5680", "019e3b45-8552-7705-ab62-1cb802fe5680\n"],
)  # fmt: skip
def test_anything_but_a_canonical_uuidv7_is_refused_with_its_value(bad, tmp_path):
    with pytest.raises(RunIdError, match="UUIDv7"):
        validate_run_id(bad)
    with pytest.raises(RunIdError):
        RunStore(tmp_path).run(bad)


def test_a_missing_file_names_the_stage_to_run_first(tmp_path):
    run = RunStore(tmp_path).run(new_run_id())
    with pytest.raises(MissingRunFileError, match=r"traces\.parquet.*materialise"):
        run.read(RunFile.TRACES)


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path, monkeypatch):
    target = tmp_path / "envelope.json"
    write_atomically(target, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["envelope.json"]


def test_the_store_lists_its_runs_oldest_first_and_ignores_strangers(tmp_path):
    store = RunStore(tmp_path)
    ids = [new_run_id(unix_ms=ms) for ms in (3, 1, 2)]
    for run_id in ids:
        store.run(run_id).write(RunFile.SPEC, b"{}")
    (tmp_path / "runs" / "notes").mkdir()
    assert store.run_ids() == sorted(ids)
