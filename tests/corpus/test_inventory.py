from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from inferencebench_pipeline.corpus import inventory as inventory_module
from inferencebench_pipeline.corpus.findings import FindingKind, Severity
from inferencebench_pipeline.corpus.inventory import (
    Inventory,
    InventoryError,
    RepoState,
    crawl_source,
)
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.hub.client.errors import HubPermissionError, HubUnavailableError
from inferencebench_pipeline.hub.dataset.listing import PublishedRepo
from inferencebench_pipeline.runs.run_directory import new_run_id
from tests.corpus.world import ORG, FolderHub, record, resigned

REPO = f"{ORG}/one"


def kinds(inventory: Inventory) -> list[tuple[FindingKind, str]]:
    return [(item.kind, item.repo_id) for item in inventory.findings]


def entry(inventory: Inventory, repo_id: str = REPO):
    return next(item for item in inventory.entries if item.repo_id == repo_id)


def test_a_published_run_is_inventoried_with_our_own_hashes(hub: FolderHub, store: CorpusStore):
    run_id = new_run_id()
    files = record(run_id, REPO)
    revision = hub.commit(REPO, files)

    inventory = crawl_source(hub, ORG, store)

    row = entry(inventory)
    assert (row.run_id, row.revision, row.state) == (run_id, revision, RepoState.PUBLISHED)
    assert row.envelope_sha256 == hashlib.sha256(files["envelope.json"]).hexdigest()
    assert row.traces_sha256 == hashlib.sha256(files["traces.parquet"]).hexdigest()
    assert store.blobs().get(row.traces_sha256) == files["traces.parquet"]
    assert inventory.findings == ()
    assert Inventory.load(store).entries == inventory.entries


def test_an_unchanged_commit_costs_no_fetch_and_no_byte_of_change(
    hub: FolderHub, store: CorpusStore
):
    hub.commit(REPO, record(new_run_id(), REPO))
    hub.commit(f"{ORG}/broken", {"envelope.json": b"{"})
    crawl_source(hub, ORG, store)
    written = store.inventory_path.read_bytes(), store.findings_path.read_bytes()
    hub.fetched.clear()

    again = crawl_source(hub, ORG, store)

    assert again.fetched == 0
    assert hub.fetched == []
    assert (store.inventory_path.read_bytes(), store.findings_path.read_bytes()) == written


def test_only_a_new_commit_is_fetched(hub: FolderHub, store: CorpusStore):
    for name in "abc":
        hub.commit(f"{ORG}/{name}", record(new_run_id(), f"{ORG}/{name}"))
    crawl_source(hub, ORG, store)
    hub.fetched.clear()
    files = record(new_run_id(), f"{ORG}/d")
    hub.commit(f"{ORG}/d", files)

    assert crawl_source(hub, ORG, store).fetched == 1
    assert {repo_id for repo_id, _ in hub.fetched} == {f"{ORG}/d"}


def test_a_lost_blob_is_fetched_again(hub: FolderHub, store: CorpusStore):
    hub.commit(REPO, record(new_run_id(), REPO))
    sha256 = entry(crawl_source(hub, ORG, store)).envelope_sha256
    assert sha256 is not None
    store.blobs().path(sha256).unlink()

    inventory = crawl_source(hub, ORG, store)

    assert inventory.fetched == 1
    assert store.blobs().get(sha256)
    assert inventory.findings == ()


def test_other_bytes_under_the_same_commit_are_noticed(hub: FolderHub, store: CorpusStore):
    revision = hub.commit(REPO, record(new_run_id(), REPO))
    sha256 = entry(crawl_source(hub, ORG, store)).envelope_sha256
    assert sha256 is not None
    store.blobs().path(sha256).unlink()
    served = hub.folder / REPO / revision / "envelope.json"
    served.write_bytes(resigned(served.read_bytes(), seed=7))

    assert kinds(crawl_source(hub, ORG, store)) == [(FindingKind.ENVELOPE_REPLACED, REPO)]


def test_a_malformed_envelope_is_a_finding_and_the_others_are_unharmed(
    hub: FolderHub, store: CorpusStore
):
    hub.commit(f"{ORG}/broken", {"envelope.json": b'{"run_id": "../../x"}'})
    hub.commit(f"{ORG}/deep", {"envelope.json": b"[" * 100_000})
    hub.commit(f"{ORG}/empty", {"README.md": b"---\ntags: [inferencebench]\n---\n"})
    hub.commit(REPO, record(new_run_id(), REPO))

    inventory = crawl_source(hub, ORG, store)

    assert {item.repo_id: item.state for item in inventory.entries} == {
        f"{ORG}/broken": RepoState.MALFORMED,
        f"{ORG}/deep": RepoState.MALFORMED,
        f"{ORG}/empty": RepoState.NO_ENVELOPE,
        REPO: RepoState.PUBLISHED,
    }
    assert kinds(inventory) == [
        (FindingKind.MALFORMED, f"{ORG}/broken"),
        (FindingKind.MALFORMED, f"{ORG}/deep"),
        (FindingKind.NO_ENVELOPE, f"{ORG}/empty"),
    ]
    assert "suite_id" in inventory.findings[0].detail


def test_a_vanished_repository_stays_as_a_row_and_keeps_the_day_it_was_missed(
    hub: FolderHub, store: CorpusStore
):
    hub.commit(REPO, record(new_run_id(), REPO))
    crawl_source(hub, ORG, store)
    hub.delete(REPO)

    first = crawl_source(hub, ORG, store)
    second = crawl_source(hub, ORG, store)

    assert entry(second).state is RepoState.VANISHED
    assert kinds(second) == [(FindingKind.VANISHED, REPO)]
    assert second.findings[0].severity is Severity.ERROR
    assert second.findings == first.findings


def test_a_repository_that_comes_back_is_published_again(hub: FolderHub, store: CorpusStore):
    files = record(new_run_id(), REPO)
    hub.commit(REPO, files)
    crawl_source(hub, ORG, store)
    head = hub.heads.pop(REPO)
    crawl_source(hub, ORG, store)
    hub.heads[REPO] = head

    inventory = crawl_source(hub, ORG, store)

    assert entry(inventory).state is RepoState.PUBLISHED
    assert inventory.findings == ()


def test_a_renamed_repository_is_a_move_not_a_loss(hub: FolderHub, store: CorpusStore):
    files = record(new_run_id(), REPO)
    hub.commit(REPO, files)
    crawl_source(hub, ORG, store)
    hub.delete(REPO)
    hub.commit(f"{ORG}/renamed", files)

    inventory = crawl_source(hub, ORG, store)

    assert entry(inventory).state is RepoState.MOVED
    assert entry(inventory).moved_to == f"{ORG}/renamed"
    assert kinds(inventory) == [(FindingKind.MOVED, REPO)]


def test_a_replaced_envelope_is_never_forgotten(hub: FolderHub, store: CorpusStore):
    files = record(new_run_id(), REPO)
    hub.commit(REPO, files)
    crawl_source(hub, ORG, store)
    hub.commit(REPO, {**files, "envelope.json": resigned(files["envelope.json"], seed=7)})
    crawl_source(hub, ORG, store)
    hub.commit(REPO, files | {"NOTES.md": b"nothing to see here"})

    inventory = crawl_source(hub, ORG, store)

    assert kinds(inventory) == [(FindingKind.ENVELOPE_REPLACED, REPO)] * 2
    assert {item.severity for item in inventory.findings} == {Severity.ERROR}


def test_an_edited_card_is_only_worth_knowing(hub: FolderHub, store: CorpusStore):
    files = record(new_run_id(), REPO)
    hub.commit(REPO, files)
    crawl_source(hub, ORG, store)
    hub.commit(REPO, {**files, "README.md": files["README.md"] + b"\nA note.\n"})

    inventory = crawl_source(hub, ORG, store)

    assert [(item.kind, item.severity) for item in inventory.findings] == [
        (FindingKind.REVISION_CHANGED, Severity.INFO)
    ]


@dataclass
class Interrupted:
    """A Hub that stops answering after some repositories, or refuses one."""

    hub: FolderHub
    after: int | None = None
    refuses: str | None = None
    endpoint: str = "https://huggingface.co"

    def listed(self, organisation: str) -> Iterator[PublishedRepo]:
        for number, repo in enumerate(self.hub.listed(organisation)):
            if number == self.after:
                raise HubUnavailableError("503 on every attempt")
            yield repo

    def fetch(self, repo_id: str, revision: str, path: str) -> bytes | None:
        if repo_id == self.refuses:
            raise HubPermissionError("this repository is gated")
        return self.hub.fetch(repo_id, revision, path)


def test_an_outage_declares_nothing_vanished_and_the_next_crawl_goes_on_from_there(
    hub: FolderHub, store: CorpusStore
):
    names = [f"{ORG}/{name}" for name in "abcd"]
    hub.commit(names[3], record(new_run_id(), names[3]))
    crawl_source(hub, ORG, store)
    for name in names[:3]:
        hub.commit(name, record(new_run_id(), name))

    with pytest.raises(HubUnavailableError):
        crawl_source(Interrupted(hub, after=2), ORG, store)

    kept = Inventory.load(store)
    assert [item.repo_id for item in kept.entries] == [names[0], names[1], names[3]]
    assert kept.findings == ()
    assert crawl_source(hub, ORG, store).fetched == 1


def test_a_crawl_that_is_killed_goes_on_from_what_it_wrote_down(
    hub: FolderHub, store: CorpusStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(inventory_module, "SAVED_EVERY", 2)
    for name in "abcde":
        hub.commit(f"{ORG}/{name}", record(new_run_id(), f"{ORG}/{name}"))
    child = multiprocessing.get_context("fork").Process(
        target=crawl_source, args=(KilledAt(hub, refuses=f"{ORG}/e"), ORG, store)
    )
    child.start()
    child.join(60)

    assert child.exitcode == -signal.SIGKILL
    assert [item.repo_id for item in Inventory.load(store).entries] == [
        f"{ORG}/{name}" for name in "abcd"
    ]
    finished = crawl_source(hub, ORG, store)
    assert (finished.fetched, len(finished.entries)) == (1, 5)
    assert finished.findings == ()


@dataclass
class KilledAt(Interrupted):
    """A Hub at which a crawl ends without another word when it comes to ``refuses``."""

    def fetch(self, repo_id: str, revision: str, path: str) -> bytes | None:
        if repo_id == self.refuses:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fetch(repo_id, revision, path)


def test_a_refused_repository_keeps_what_we_knew_of_it(hub: FolderHub, store: CorpusStore):
    files = record(new_run_id(), REPO)
    hub.commit(REPO, files)
    before = entry(crawl_source(hub, ORG, store))
    hub.commit(REPO, {**files, "envelope.json": resigned(files["envelope.json"], seed=7)})

    refused = crawl_source(Interrupted(hub, refuses=REPO), ORG, store)

    assert entry(refused).state is RepoState.UNREADABLE
    assert entry(refused).envelope_sha256 == before.envelope_sha256
    assert kinds(refused) == [(FindingKind.UNREADABLE, REPO)]
    assert kinds(crawl_source(hub, ORG, store)) == [(FindingKind.ENVELOPE_REPLACED, REPO)]


def test_organisations_are_crawled_one_by_one_into_one_inventory(
    hub: FolderHub, store: CorpusStore
):
    hub.commit(REPO, record(new_run_id(), REPO))
    hub.commit("other/run", record(new_run_id(), "other/run"))

    crawl_source(hub, ORG, store)
    inventory = crawl_source(hub, "other", store)

    assert [item.organisation for item in inventory.entries] == [ORG, "other"]
    assert inventory.findings == ()


def test_days_are_utc_whatever_zone_the_listing_speaks(hub: FolderHub, store: CorpusStore):
    late = datetime(2026, 5, 18, 23, 30, tzinfo=timezone(timedelta(hours=-2)))
    hub.commit(REPO, record(new_run_id(), REPO), created_at=late)

    inventory = crawl_source(hub, ORG, store)

    assert inventory.days() == ["2026-05-19"]
    assert entry(inventory).created_at == late.astimezone(UTC)


def test_an_unreadable_inventory_says_what_to_do(store: CorpusStore):
    store.inventory_path.parent.mkdir(parents=True)
    store.inventory_path.write_bytes(b"not parquet")

    with pytest.raises(InventoryError, match="move it aside and crawl again"):
        Inventory.load(store)


def test_the_real_corpus_is_read_without_a_finding(
    hub: FolderHub, store: CorpusStore, shared_data: Path
):
    files = sorted((shared_data / "corpus/2026-05-18-marathon").glob("*.json"))
    for file in files:
        hub.commit(f"{ORG}/{file.stem}", {"envelope.json": file.read_bytes()})

    inventory = crawl_source(hub, ORG, store)

    assert len(inventory.entries) == len(files) == 50
    assert inventory.findings == ()
    for item in inventory.entries:
        assert item.content_hash is not None
        assert item.content_hash.startswith(item.repo_id.split("/")[1])


@pytest.mark.parametrize("is_cut_off", [False, True])
def test_no_blob_is_named_by_an_inventory_before_it_is_on_disk(
    hub: FolderHub, store: CorpusStore, monkeypatch: pytest.MonkeyPatch, is_cut_off: bool
):
    """What the inventory names is not fetched again, so it must outlast a loss of power."""
    reached: list[str] = []
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        fsync(descriptor)
        reached.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    monkeypatch.setattr(os, "fsync", recorded)
    hub.commit(REPO, record(new_run_id(), REPO))
    if is_cut_off:
        hub.commit(f"{ORG}/two", record(new_run_id(), f"{ORG}/two"))
        with pytest.raises(HubUnavailableError):
            crawl_source(Interrupted(hub, after=1), ORG, store)
    else:
        crawl_source(hub, ORG, store)

    named = entry(Inventory.load(store))
    written = next(at for at, name in enumerate(reached) if name.startswith(".inventory.parquet"))
    assert {named.envelope_sha256, named.traces_sha256} <= set(reached[:written])
