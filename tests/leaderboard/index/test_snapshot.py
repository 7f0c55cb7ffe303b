"""The snapshot of the index that a statement names: of one build, and of what is verified now."""

from __future__ import annotations

import pytest

from inferencebench_pipeline.corpus.inventory import crawl_source, created_days
from inferencebench_pipeline.corpus.verification import verify_day
from inferencebench_pipeline.leaderboard.index.build import build_index
from inferencebench_pipeline.leaderboard.index.export import published_files
from inferencebench_pipeline.leaderboard.index.snapshot import StaleIndexError, published_snapshot
from inferencebench_pipeline.leaderboard.index.sources import Sources
from inferencebench_pipeline.leaderboard.store import LeaderboardStore
from inferencebench_pipeline.runs.run_directory import new_run_id
from tests.corpus.world import ORG, FolderHub, record, verifier


def publish(hub: FolderHub, store: LeaderboardStore, name: str) -> None:
    hub.commit(f"{ORG}/{name}", record(new_run_id(), f"{ORG}/{name}"))
    crawl_source(hub, ORG, store.corpus)
    for day in created_days(store.corpus):
        verify_day(store.corpus, day, verifier())


def build(store: LeaderboardStore) -> None:
    sources = Sources.now(store)
    build_index(store)
    sources.keep(store)


def test_it_holds_the_bytes_of_every_published_file(hub: FolderHub, store: LeaderboardStore):
    publish(hub, store, "one")
    build(store)

    found = published_snapshot(store)

    assert found == {path: file.read_bytes() for path, file in published_files(store).items()}
    assert {"leaderboard.json", "data/findings.parquet"} < set(found)


def test_an_index_of_other_verdicts_is_refused_until_it_is_built_again(
    hub: FolderHub, store: LeaderboardStore
):
    with pytest.raises(StaleIndexError, match="materialise leaderboard_index, and then this"):
        published_snapshot(store)
    publish(hub, store, "one")
    build(store)
    publish(hub, store, "two")
    with pytest.raises(StaleIndexError, match="as they are now"):
        published_snapshot(store)

    build(store)

    assert published_snapshot(store)
