"""Two processes over one corpus: each waits for the other, and neither's work is lost."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from inferencebench_pipeline.corpus.inventory import Inventory, crawl_others, crawl_source
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.files.atomic_writes import StoreError
from inferencebench_pipeline.files.locks import LockedError, file_lock
from inferencebench_pipeline.hub.takedowns.register import load_takedowns
from inferencebench_pipeline.runs.run_directory import new_run_id
from tests.corpus.world import ORG, FolderHub, record


class SlowHub(FolderHub):
    """Lists slowly, so that another crawl begins in between."""

    def listed(self, organisation: str):  # type: ignore[no-untyped-def]
        time.sleep(1)
        yield from super().listed(organisation)


def test_two_crawls_at_once_keep_what_both_found(tmp_path: Path) -> None:
    hub, store = SlowHub(tmp_path / "hub"), CorpusStore(tmp_path / "store")
    for owner in (ORG, "stranger"):
        hub.commit(f"{owner}/one", record(new_run_id(), f"{owner}/one"))
    ours = threading.Thread(target=crawl_source, args=(hub, ORG, store))
    ours.start()
    crawl_others(hub, hub.listed("stranger"), (), store)
    ours.join()
    found = {entry.repo_id for entry in Inventory.load(store).entries}
    assert found == {f"{ORG}/one", "stranger/one"}


def test_whoever_waits_too_long_is_told_what_for(tmp_path: Path) -> None:
    lock = tmp_path / "deep/folder/.lock"
    with (
        file_lock(lock, what="a crawl"),
        pytest.raises(LockedError, match="a crawl is going on in another process"),
        file_lock(lock, what="a crawl", wait_s=0.1),
    ):
        pass
    with file_lock(lock, what="a crawl", wait_s=0.1):
        pass


@pytest.mark.parametrize("damage", ["a directory", "a file for a folder"])
def test_a_lock_that_cannot_be_made_is_said(tmp_path: Path, damage: str) -> None:
    lock = tmp_path / "folder/.lock"
    if damage == "a directory":
        lock.mkdir(parents=True)
    else:
        lock.parent.write_bytes(b"")
    with pytest.raises(StoreError, match="cannot write"), file_lock(lock, what="x", wait_s=1):
        pass
    assert not load_takedowns(tmp_path).takedowns
