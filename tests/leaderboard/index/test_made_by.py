"""An index that another version made is made anew, although nobody raised a version."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inferencebench_pipeline import measure
from inferencebench_pipeline.corpus.inventory import crawl_source, created_days
from inferencebench_pipeline.corpus.verification import verify_day
from inferencebench_pipeline.leaderboard import run_columns
from inferencebench_pipeline.leaderboard.index import columns, partitions
from inferencebench_pipeline.leaderboard.index.build import build_index, load_leaderboard
from inferencebench_pipeline.leaderboard.index.check import check_rows
from inferencebench_pipeline.leaderboard.index.manifest import Manifest
from inferencebench_pipeline.leaderboard.store import LeaderboardStore
from inferencebench_pipeline.runs.run_directory import new_run_id
from tests.corpus.world import ORG, FolderHub, record, verifier

REPO = f"{ORG}/one"


@pytest.fixture
def built(hub: FolderHub, store: LeaderboardStore) -> LeaderboardStore:
    hub.commit(REPO, record(new_run_id(), REPO))
    crawl_source(hub, ORG, store.corpus)
    for day in created_days(store.corpus):
        verify_day(store.corpus, day, verifier())
    assert build_index(store).extracted == 1
    assert build_index(store).extracted == 0
    return store


def test_a_new_column_is_read_from_the_envelopes_of_an_older_index(
    built: LeaderboardStore, monkeypatch: pytest.MonkeyPatch
):
    schema = run_columns.FACTS_SCHEMA.append(pa.field("engine_image", pa.string()))
    monkeypatch.setitem(
        run_columns.STATED, "engine_image", lambda of: f"image of {of.envelope.engine.name}"
    )
    for module in (run_columns, columns, partitions):
        monkeypatch.setattr(module, "FACTS_SCHEMA", schema)

    assert build_index(built).extracted == 1

    (file,) = Manifest.load(built.folder).run_files(built.folder)
    (row,) = pq.read_table(file).to_pylist()
    assert row["engine_image"] == f"image of {row['engine_name']}"
    assert check_rows(built) == []


def test_a_metric_that_rows_begin_to_hold_is_in_the_rows_of_an_older_index(
    built: LeaderboardStore, monkeypatch: pytest.MonkeyPatch
):
    (row,) = load_leaderboard(built).runs
    assert "requests_measured" not in {cell.key for cell in row.metrics}
    shown = columns.SHOWN_METRICS | {"requests_measured"}
    monkeypatch.setattr(columns, "SHOWN_METRICS", shown)

    build_index(built)

    (row,) = load_leaderboard(built).runs
    assert "requests_measured" in {cell.key for cell in row.metrics}


def test_a_group_is_compared_anew_when_a_definition_has_changed(
    built: LeaderboardStore, monkeypatch: pytest.MonkeyPatch
):
    key = "output_tok_per_s"
    changed = dataclasses.replace(measure.NEWEST_DEFINITIONS.metrics[key], label="Words")
    monkeypatch.setitem(measure.NEWEST_DEFINITIONS.metrics, key, changed)

    build_index(built)

    (group,) = load_leaderboard(built).groups
    assert "Words" in {column.label for column in group.columns}


def test_every_process_has_the_same_key():
    """An index that one process built is the one that another reads, whatever order sets have."""
    code = "from inferencebench_pipeline.leaderboard.index.made_by import made_by; print(made_by())"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    keys = [process.communicate(timeout=60)[0] for process in processes]
    assert keys[0].strip()
    assert keys[0] == keys[1]
