"""An index that grew bit by bit is the one that is built at once; a killed build harms nothing."""

from __future__ import annotations

import pickle
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inferencebench_pipeline.corpus.inventory import crawl_source, created_days
from inferencebench_pipeline.corpus.verification import verify_day
from inferencebench_pipeline.leaderboard.index import build, group_cache
from inferencebench_pipeline.leaderboard.index.build import (
    IndexInfo,
    build_index,
    load_leaderboard,
)
from inferencebench_pipeline.leaderboard.index.check import check_rows
from inferencebench_pipeline.leaderboard.index.parquet import workers
from inferencebench_pipeline.leaderboard.index.parquet.inputs import read_inputs
from inferencebench_pipeline.leaderboard.index.parquet.manifest import DOCUMENT_FILE, MANIFEST_FILE
from inferencebench_pipeline.leaderboard.index.parquet.partition_summary import STANDING_FILE
from inferencebench_pipeline.leaderboard.store import LeaderboardStore
from inferencebench_pipeline.runs.run_directory import new_run_id
from tests.chance import examples
from tests.corpus.world import ORG, FolderHub, altered, record, resigned, verifier

MAY = datetime(2026, 5, 30, 9, tzinfo=UTC)
NAMES = [f"{ORG}/{name}" for name in "abcd"]
RECORDS = [record(new_run_id(), name) for name in NAMES]
"""Signed for one repository each; published elsewhere, their card disagrees."""
HOSTILE = [
    {"envelope.json": b"{"},
    {},
    {"envelope.json": altered(RECORDS[0]["envelope.json"], seed=7)},
    {"envelope.json": resigned(RECORDS[1]["envelope.json"], slo_template="\x1f\t\n</script>")},
]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(range(len(NAMES))),
        st.sampled_from(["delete", *range(len(RECORDS) + len(HOSTILE))]),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


def published(hub: FolderHub, at: int, files: dict[str, bytes]) -> None:
    hub.commit(NAMES[at], files, created_at=MAY + timedelta(days=at))


def verified(hub: FolderHub, store: LeaderboardStore) -> None:
    crawl_source(hub, ORG, store.corpus)
    for day in created_days(store.corpus):
        verify_day(store.corpus, day, verifier())


def built(hub: FolderHub, store: LeaderboardStore) -> IndexInfo:
    verified(hub, store)
    return build_index(store)


def content(store: LeaderboardStore) -> dict[str, bytes]:
    """The index as its readers see it: what it was made from is not part of it."""
    folder = store.folder
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix == ".parquet" or path.name == DOCUMENT_FILE
    }


def written(folder: Path) -> dict[Path, tuple[int, int]]:
    """Every file, and what changes when it is written."""
    return {
        path: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def from_scratch(store: LeaderboardStore) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        other = LeaderboardStore(Path(folder) / "store")
        shutil.copytree(store.root, other.root, ignore=shutil.ignore_patterns("leaderboard"))
        build_index(other)
        return content(other)


@pytest.mark.slow
@settings(max_examples=examples(20), deadline=None)
@given(edits=EDITS)
@example(edits=[(0, 1, False), (3, 1, True), (2, 0, False)]).via("a repeated run, kept")
def test_any_order_of_events_gives_the_index_that_is_built_at_once(edits):
    with tempfile.TemporaryDirectory() as folder:
        hub = FolderHub(Path(folder) / "hub")
        store = LeaderboardStore(Path(folder) / "store")
        for at, what, build in edits:
            if what == "delete":
                if NAMES[at] in hub.heads:
                    hub.delete(NAMES[at])
            else:
                published(hub, at, [*RECORDS, *HOSTILE][what])
            if build:
                built(hub, store)
        built(hub, store)

        assert content(store) == from_scratch(store)
        assert [problem for problem in check_rows(store) if "malformed" not in problem] == []


def test_an_unchanged_corpus_writes_nothing_and_one_more_run_reads_one_envelope(hub, store):
    for at in range(3):
        published(hub, at, RECORDS[at])
    assert built(hub, store).extracted == 3
    folder = store.folder
    before = written(folder)

    assert built(hub, store).extracted == 0
    assert written(folder) == before

    published(hub, 3, RECORDS[3])
    assert built(hub, store).extracted == 1
    unchanged = [name for name, _ in before.items() & written(folder).items()]
    # May's runs, and the metrics of the days that nothing happened on.
    assert len([name for name in unchanged if name.suffix == ".parquet"]) == 4


def test_several_processes_make_the_index_that_one_makes(hub, store, monkeypatch):
    for at in range(4):
        published(hub, at, RECORDS[at])
    monkeypatch.setattr(workers, "SHARED_FROM", 1)

    assert built(hub, store).extracted == 4

    monkeypatch.undo()
    assert content(store) == from_scratch(store)


def test_what_goes_to_another_process_is_of_the_days_it_is_about(hub, store):
    for at in range(4):
        published(hub, at, RECORDS[at])
    verified(hub, store)
    inputs = read_inputs(store)
    days = sorted(inputs.inputs)

    sent = pickle.dumps(inputs.of_days(days[1:2]))

    # A slice is pickled with all of what it is a slice of.
    assert [name for name in NAMES if name.encode() in sent] == [NAMES[1]]


def test_a_run_of_a_day_that_was_indexed_is_read_alone(hub, store):
    hub.commit(NAMES[0], RECORDS[0], created_at=MAY)
    built(hub, store)
    hub.commit(NAMES[1], RECORDS[1], created_at=MAY)

    assert built(hub, store).extracted == 1
    assert content(store) == from_scratch(store)


@pytest.mark.parametrize("stage", ["groups", "manifest", "document", "kept", "standing"])
def test_a_build_that_was_killed_leaves_the_last_index_and_the_next_one_finishes(
    hub, store, monkeypatch, stage
):
    published(hub, 0, RECORDS[0])
    built(hub, store)
    published(hub, 1, RECORDS[1])
    verified(hub, store)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if stage == "groups":
            patch.setattr(build, "update_groups", killed)
        elif stage == "manifest":
            patch.setattr(build.Manifest, "save", killed)
        else:
            step = {"document": "write_changed", "kept": "save_groups", "standing": "save_standing"}
            patch.setattr(build, step[stage], killed)
        with pytest.raises(KeyboardInterrupt):
            build_index(store)
    if stage in ("groups", "manifest"):
        assert [row.repo_id for row in load_leaderboard(store).runs] == NAMES[:1]

    build_index(store)

    assert check_rows(store) == []
    assert content(store) == from_scratch(store)


@pytest.mark.parametrize(
    "lost",
    ["runs", "metrics", MANIFEST_FILE, group_cache.GROUPS_FILE, STANDING_FILE, DOCUMENT_FILE],
)
def test_whatever_is_lost_or_damaged_is_made_again(hub, store, lost):
    published(hub, 0, RECORDS[0])
    published(hub, 1, RECORDS[1])
    built(hub, store)
    before, folder = content(store), store.folder
    for path in folder.rglob("*.parquet") if "." not in lost else [folder / lost]:
        if lost in str(path.relative_to(folder)):
            path.unlink()

    build_index(store)

    assert content(store) == before


def test_a_document_that_somebody_else_wrote_is_not_built_upon(hub, store):
    published(hub, 0, RECORDS[0])
    built(hub, store)
    before, document = content(store), store.folder / DOCUMENT_FILE
    document.write_bytes(document.read_bytes().replace(b"example", b"EXAMPLE"))

    build_index(store)

    assert content(store) == before


def test_the_first_of_two_publications_ranks_however_they_came_to_be_known(hub, store):
    hub.commit(NAMES[1], RECORDS[0], created_at=MAY + timedelta(days=40))
    built(hub, store)
    hub.commit(NAMES[0], RECORDS[0], created_at=MAY)
    built(hub, store)

    states = {row.repo_id: row.state for row in load_leaderboard(store).runs}
    assert states[NAMES[0]] == "verified"
    assert content(store) == from_scratch(store)

    hub.delete(NAMES[0])
    built(hub, store)
    assert content(store) == from_scratch(store)


def test_a_new_policy_changes_what_ranks_without_reading_an_envelope(hub, store):
    published(hub, 0, RECORDS[0])
    built(hub, store)
    for day in created_days(store.corpus):
        store.corpus.verdicts_path(day).unlink()

    info = build_index(store)

    assert (info.extracted, dict(info.states)) == (0, {"unverified": 1})
