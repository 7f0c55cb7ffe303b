"""Alarms of the index checker: each one shown to ring alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inferencebench_pipeline.corpus.inventory import crawl_source
from inferencebench_pipeline.leaderboard.index import check
from inferencebench_pipeline.leaderboard.index.check import check_rows
from inferencebench_pipeline.leaderboard.index.parquet.manifest import MANIFEST_FILE
from inferencebench_pipeline.leaderboard.index.parquet.partitions import write_partition
from inferencebench_pipeline.leaderboard.store import LeaderboardStore
from inferencebench_pipeline.runs.run_directory import new_run_id
from tests.corpus.world import ORG, FolderHub, record
from tests.leaderboard.index.test_build import REPO, indexed

OTHER = f"{ORG}/two"


@pytest.fixture
def built(hub: FolderHub, store: LeaderboardStore) -> LeaderboardStore:
    """An index of two runs that has nothing wrong, and was not checked yet."""
    for repo in (REPO, OTHER):
        hub.commit(repo, record(new_run_id(), repo))
    indexed(hub, store)
    return store


def rewritten(
    store: LeaderboardStore, kind: str, change: Callable[[list[dict]], list[dict]]
) -> None:
    """Write a partition anew, its name and the manifest with it: all that digests can prove."""
    (path,) = (store.folder / kind).glob("*/*.parquet")
    table = pq.read_table(path)
    before = str(path.relative_to(store.folder))
    rows = pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema)
    after = write_partition(store.folder, str(Path(before).parent), rows)
    manifest = store.folder / MANIFEST_FILE
    manifest.write_text(manifest.read_text().replace(before, after))


def with_row(**changes: object) -> Callable[[list[dict]], list[dict]]:
    return lambda rows: [row | (changes if row["repo_id"] == REPO else {}) for row in rows]


def test_an_index_that_has_nothing_wrong_says_nothing(built: LeaderboardStore) -> None:
    assert check_rows(built) == []


def test_a_row_of_another_commit_is_told(built: LeaderboardStore) -> None:
    rewritten(built, "runs", with_row(revision="0" * 40))
    (said,) = check_rows(built)
    assert said.startswith(f"{REPO}: revision is {'0' * 40}, the inventory has ")


def test_a_ranked_row_whose_envelope_is_gone_is_told(built: LeaderboardStore) -> None:
    (sha,) = [
        row["envelope_sha256"]
        for path in (built.folder / "runs").glob("*/*.parquet")
        for row in pq.read_table(path).to_pylist()
        if row["repo_id"] == REPO
    ]
    built.corpus.blobs().path(sha).unlink()
    (said,) = check_rows(built)
    assert said.startswith(f"{REPO}: ")
    assert sha in said


def test_a_row_that_ranks_with_a_malformed_envelope_is_told(built: LeaderboardStore) -> None:
    sha = built.corpus.blobs().put(b"{}")
    rewritten(built, "runs", with_row(envelope_sha256=sha))
    assert check_rows(built) == [f"{REPO}: ranks although its envelope is malformed"]


def test_a_fact_that_the_envelope_does_not_state_is_told(built: LeaderboardStore) -> None:
    rewritten(built, "runs", with_row(model_id="example/better"))
    said = f"{REPO}: model_id is 'example/better', the envelope says 'example/tiny'"
    assert check_rows(built) == [said]


@pytest.mark.parametrize("field", ["value", "n", "low", "high", "unit"])
def test_a_metric_that_is_not_the_envelopes_is_told(built: LeaderboardStore, field: str) -> None:
    def change(rows: list[dict]) -> list[dict]:
        (cell,) = [r for r in rows if (r["repo_id"], r["key"]) == (REPO, "ttft_p50_ms")]
        cell[field] = "s" if field == "unit" else 77
        return rows

    rewritten(built, "metrics", change)
    assert check_rows(built) == [f"{REPO}: its metrics are not the envelope's"]


def test_a_metric_too_few_is_told(built: LeaderboardStore) -> None:
    rewritten(
        built,
        "metrics",
        lambda rows: [r for r in rows if (r["repo_id"], r["key"]) != (REPO, "e2e_mean_ms")],
    )
    assert check_rows(built) == [f"{REPO}: its metrics are not the envelope's"]


def test_a_headline_that_is_not_the_envelopes_is_told(built: LeaderboardStore) -> None:
    def change(rows: list[dict]) -> list[dict]:
        (row,) = [r for r in rows if r["repo_id"] == REPO]
        row["headline"][0]["value"] = 77.0
        return rows

    rewritten(built, "runs", change)
    (said,) = check_rows(built)
    assert said.endswith("in its row is not the envelope's")


@pytest.mark.parametrize("times", [0, 2])
def test_a_repository_with_no_row_or_two_is_told(built: LeaderboardStore, times: int) -> None:
    rewritten(
        built,
        "runs",
        lambda rows: [r for r in rows for _ in range(times if r["repo_id"] == REPO else 1)],
    )
    problems = check_rows(built)
    day = "day 2026-05-18: "
    if times == 0:
        assert f"{day}1 rows of 1 repositories, expected 2" in problems
    else:
        assert f"{day}3 rows of 2 repositories, expected 2" in problems
    assert any("is not once in group" in problem for problem in problems)


def test_a_row_that_ranks_in_another_group_is_told(built: LeaderboardStore) -> None:
    rewritten(built, "runs", with_row(group_id="0" * 16))
    problems = check_rows(built)
    assert any(f"in group {'0' * 16} of the document" in problem for problem in problems)


def test_a_repository_that_the_inventory_does_not_have_is_told(
    built: LeaderboardStore, hub: FolderHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewritten(
        built,
        "runs",
        lambda rows: [*rows, rows[0] | {"repo_id": f"{ORG}/three", "row_id": "f" * 16}],
    )
    hub.commit(f"{ORG}/four", record(new_run_id(), f"{ORG}/four"))
    crawl_source(hub, ORG, built.corpus)
    problems = check_rows(built)
    assert f"{ORG}/three: is not in the inventory" in problems
    assert f"{ORG}/four: is published but has no row" in problems
    assert "day 2026-05-18: the inventory has changed since the index was built" in problems


def test_a_partition_that_vanishes_during_the_check_is_told(
    built: LeaderboardStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = (built.folder / "runs").glob("*/*.parquet")
    real = check._tasks

    def vanishing(*arguments: object) -> object:
        tasks = list(real(*arguments))  # type: ignore[arg-type]
        path.unlink()
        return tasks

    monkeypatch.setattr(check, "_tasks", vanishing)
    assert check_rows(built) == [
        f"{path.relative_to(built.folder)}: is gone; build the index again"
    ]


def test_tables_that_cannot_be_queried_are_told(
    built: LeaderboardStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "_DAYS", "SELECT nothing FROM nowhere, $files")
    (said,) = check_rows(built)
    assert said.startswith("the index cannot be read: ")
