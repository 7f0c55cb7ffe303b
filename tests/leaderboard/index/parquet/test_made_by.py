"""An index that another version made is made anew, although nobody raised a version."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inferencebench_pipeline import leaderboard, measure
from inferencebench_pipeline.corpus.inventory import crawl_source, created_days
from inferencebench_pipeline.corpus.verification import verify_day
from inferencebench_pipeline.leaderboard import run_columns
from inferencebench_pipeline.leaderboard.index.build import build_index, load_leaderboard
from inferencebench_pipeline.leaderboard.index.check import check_rows
from inferencebench_pipeline.leaderboard.index.parquet import columns, made_by, partitions
from inferencebench_pipeline.leaderboard.index.parquet.manifest import Manifest
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


ROOM = Path(leaderboard.__path__[0])


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """Return a copy of the leaderboard's code, which a test may change."""
    return shutil.copytree(ROOM, tmp_path / "leaderboard")


def test_the_key_depends_on_every_module_but_those_of_the_pages(room: Path):
    """Whichever folder a module is moved to, a change of its code makes the index anew."""
    modules = {path for path in room.rglob("*.py") if room / "site" not in path.parents}
    assert len(modules) > len([*(room / "index").rglob("*.py")]) > 10
    digest, unseen = made_by.digest_of_modules(room), []
    for module in modules:
        with module.open("a") as file:
            file.write("# changed\n")
        before, digest = digest, made_by.digest_of_modules(room)
        if digest == before:
            unseen.append(module.relative_to(room).as_posix())
    assert unseen == []


def test_the_key_does_not_depend_on_the_modules_of_the_pages(room: Path):
    before = made_by.digest_of_modules(room)
    pages = [*(room / "site").rglob("*.py")]
    assert pages
    for page in pages:
        page.write_text("# changed\n")
    assert made_by.digest_of_modules(room) == before


def test_the_key_is_another_when_the_code_is_another(room: Path, monkeypatch: pytest.MonkeyPatch):
    key = made_by.made_by()
    (room / "index" / "parquet" / "tables.py").write_text("# changed\n")
    monkeypatch.setattr(resources, "files", lambda package: room)
    # The digest is remembered for the life of a process, whose code does not change.
    monkeypatch.setattr(made_by, "_source_digest", made_by._source_digest.__wrapped__)

    assert made_by.made_by() != key


def test_every_process_has_the_same_key():
    """An index that one process built is the one that another reads, whatever order sets have."""
    code = f"from {made_by.__name__} import made_by; print(made_by())"
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
