"""The index as a dataset on the Hub: what is uploaded, what stays, and that one can query it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
import yaml
from huggingface_hub import snapshot_download

from inferencebench_pipeline.community_results.register import (
    CommunityResult,
    Withholding,
    record_results,
)
from inferencebench_pipeline.community_results.results_file import BenchmarkTask, EvaluationEntry
from inferencebench_pipeline.corpus.inventory import crawl_source, created_days
from inferencebench_pipeline.corpus.verification import verify_day
from inferencebench_pipeline.hub.index_dataset import CorpusReceipt, publish_corpus
from inferencebench_pipeline.hub.takedowns.public_register import index_repo, publish_takedown
from inferencebench_pipeline.hub.takedowns.register import Takedown, record_takedown
from inferencebench_pipeline.leaderboard.index.build import build_index, load_summary
from inferencebench_pipeline.leaderboard.index.export import DATA_FOLDER, published_files
from inferencebench_pipeline.leaderboard.store import LeaderboardStore
from inferencebench_pipeline.runs.run_directory import new_run_id
from inferencebench_pipeline.sandbox.faults_client import Faults
from inferencebench_pipeline.sandbox.process import running_sandbox
from tests.corpus.world import ORG, FolderHub, altered, record, verifier
from tests.hub.conftest import World

MAY, JUNE = datetime(2026, 5, 18, 9, tzinfo=UTC), datetime(2026, 6, 2, 9, tzinfo=UTC)
NOW = datetime(2026, 7, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield World(sandbox, Faults(sandbox.hub_url))


@pytest.fixture
def organisation(request: pytest.FixtureRequest) -> str:
    """A namespace of its own, so that tests do not see each other's dataset."""
    return re.sub(r"[^a-z]+", "-", request.node.name)[:30].strip("-")


def indexed(hub: FolderHub, store: LeaderboardStore) -> None:
    crawl_source(hub, ORG, store.corpus)
    for day in created_days(store.corpus):
        verify_day(store.corpus, day, verifier())
    build_index(store)


def published(world: World, organisation: str, store: LeaderboardStore) -> CorpusReceipt:
    publisher = world.user(organisation)
    return publish_corpus(publisher, organisation, published_files(store), owned=DATA_FOLDER)


def downloaded(world: World, receipt: CorpusReceipt, to: Path) -> Path:
    return Path(
        snapshot_download(
            receipt.repo_id, repo_type="dataset", revision=receipt.commit, endpoint=world.url,
            local_dir=to, token=world.sandbox.token("read"),
        )
    )  # fmt: skip


def commit(hub: FolderHub, name: str, created_at: datetime) -> None:
    repo_id = f"{ORG}/{name}"
    hub.commit(repo_id, record(new_run_id(), repo_id), created_at=created_at)


def test_what_changed_is_uploaded_in_one_commit_and_nothing_when_nothing_did(
    world, organisation, hub, store
):
    commit(hub, "one", MAY)
    indexed(hub, store)
    first = published(world, organisation, store)
    assert {"README.md", "leaderboard.json", "data/findings.parquet"} < set(first.uploaded)

    again = published(world, organisation, store)
    assert (again.commit, again.uploaded) == (first.commit, ())

    commit(hub, "two", JUNE)
    indexed(hub, store)
    third = published(world, organisation, store)
    assert third.uploaded == (
        "data/metrics/created_month=2026-06/metrics.parquet",
        "data/runs/created_month=2026-06/runs.parquet",
        "leaderboard.json",
    )
    assert len(world.commits(third.repo_id)) == 2 + len(["the one that made it"])


def test_the_queries_of_the_card_run_on_what_was_published(
    world, organisation, hub, store, tmp_path
):
    commit(hub, "one", MAY)
    commit(hub, "two", JUNE)
    files = record(new_run_id(), f"{ORG}/forged")
    hub.commit(
        f"{ORG}/forged", {"envelope.json": altered(files["envelope.json"], seed=7)}, created_at=JUNE
    )
    indexed(hub, store)
    receipt = published(world, organisation, store)
    folder = downloaded(world, receipt, tmp_path / "copy")
    card = (folder / "README.md").read_text()
    here = f"hf://datasets/{receipt.repo_id}"

    queries = re.findall(r"```sql\n(.*?)```", card, flags=re.DOTALL)
    throughput, by_state, wrong = (
        duckdb.sql(query.replace(here, str(folder))).fetchall() for query in queries
    )

    assert {len(row) for row in throughput} == {9}
    assert len(throughput) == 2
    assert by_state == [("dev", "verified", 2), ("failed", "rejected", 1)]
    assert {kind for kind, *_ in wrong} == {"tampered"}
    for config in yaml.safe_load(card.split("---\n")[1])["configs"]:
        assert list(folder.glob(config["data_files"])), config


def test_withheld_results_and_takedowns_are_tables_and_the_register_stays(
    world, organisation, hub, store, tmp_path
):
    takedown = Takedown(target="org/model", reason="asked", requested_by="them", requested_at=NOW)
    record_takedown(store.root, takedown)
    publish_takedown(world.user(organisation), organisation, takedown)
    record_results(
        store.root,
        [
            CommunityResult(
                model_id="org/model", pull_request=number, url=f"https://hub.example/{number}",
                filename=".eval_results/a.yaml", proposed_by="us", ours=True, first_seen_at=NOW,
                entry=EvaluationEntry(
                    dataset=BenchmarkTask(id="org/benchmark", task_id="sums"), value=0.5
                ),
                state=state, withheld=withheld,
            )
            for number, state, withheld in (
                (1, "merged", ()),
                (2, "withheld", (Withholding(at=NOW, by="them", url="https://hub.example/2"),)),
            )
        ],
    )  # fmt: skip
    commit(hub, "one", MAY)
    indexed(hub, store)
    folder = downloaded(world, published(world, organisation, store), tmp_path / "copy")

    def rows(table: str, columns: str) -> list[tuple[object, ...]]:
        return duckdb.sql(f"SELECT {columns} FROM '{folder}/data/{table}.parquet'").fetchall()

    assert rows("withheld", "tier, withheld_by, url") == [
        ("withheld", "them", "https://hub.example/2")
    ]
    assert rows("evaluations", "tier, state, value") == [("merged", "merged", 0.5)]
    assert rows("takedowns", "target, requested_by") == [("org/model", "them")]
    assert "org/model" in (folder / "takedowns.json").read_text()
    assert [row.tier for row in load_summary(store).withheld] == ["withheld"]


def test_a_file_of_ours_that_is_no_longer_part_of_the_index_goes(world, organisation, hub, store):
    commit(hub, "one", MAY)
    indexed(hub, store)
    published(world, organisation, store)
    publisher = world.user(organisation)
    repo = index_repo(organisation)
    stale, foreign = "data/runs/created_month=2020-01/runs.parquet", "notes.md"
    publisher.commit(
        repo, {stale: b"old", foreign: b"kept"}, message="m", parent=publisher.head(repo).commit
    )

    assert published(world, organisation, store).uploaded == (stale,)

    assert publisher.head(repo).files & {stale, foreign} == {foreign}


def test_what_is_withdrawn_goes_in_the_commit_that_changes_the_rest(
    world, organisation, hub, store
):
    publisher = world.user(organisation)
    repo = index_repo(organisation)
    publish_corpus(publisher, organisation, {"statement": b"s", "table": b"t", "other": b"o"})

    receipt = publish_corpus(
        publisher, organisation, {"other": b"n"}, withdrawn=("statement", "table", "never there")
    )

    assert receipt.uploaded == ("other", "statement", "table")
    assert publisher.head(repo).files & {"statement", "table", "other"} == {"other"}


def test_before_the_first_build_there_is_nothing_to_publish(store):
    assert published_files(store) == {}
