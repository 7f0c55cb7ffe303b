"""The inbox: what other hosts deliver comes in whole, once, or is put aside with a reason."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pytest

from inferencebench_pipeline.files.atomic_writes import StoreError
from inferencebench_pipeline.inbox.deliveries import (
    QUARANTINE,
    REASON,
    Inbox,
    InboxError,
    InboxUnreachableError,
    deliver,
    delivered_since,
)
from inferencebench_pipeline.measure.errors import CaptureError
from inferencebench_pipeline.measure.run.run import run_benchmark
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile, RunStore, new_run_id
from tests.measure.fake_engine import Behaviour, FakeEngine, running
from tests.measure.support import ignore_progress, spec_for

LATER = timedelta(hours=2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run as a GPU host has it after its benchmark."""
    run = RunStore(tmp_path_factory.mktemp("gpu-host")).run(new_run_id())
    with running(FakeEngine(lambda _number: Behaviour())) as engine:
        run_benchmark(spec_for(engine.base_url), run, on_progress=ignore_progress)
    return run


@pytest.fixture(params=["local", "object store"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An inbox on a disk, and one in a flat key space with no renames and no directories."""
    if request.param == "local":
        yield str(tmp_path / "inbox")
        return
    root = f"/{uuid.uuid4()}"
    yield f"memory:/{root}"
    storage = fsspec.filesystem("memory")
    if storage.exists(root):
        storage.rm(root, recursive=True)


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "store")


def _open(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    return fsspec.core.url_to_fs(url)


def _edit_manifest(url: str, run_id: str, changes: dict[str, object]) -> None:
    fs, root = _open(url)
    path = f"{root}/{run_id}/{RunFile.DELIVERY}"
    fs.pipe_file(path, json.dumps(json.loads(fs.cat_file(path)) | changes).encode())


def _reason(url: str, name: str) -> str:
    fs, root = _open(url)
    return fs.cat_file(f"{root}/{QUARANTINE}/{name}/{REASON}").decode()


def test_a_delivered_run_is_in_the_store_byte_for_byte_and_no_longer_in_the_inbox(
    finished, url, store
):
    deliver(finished, url)
    taken = Inbox(url).take_in(store)

    assert taken.runs == (finished.run_id,)
    run = store.run(finished.run_id)
    for path in finished.path.rglob("*"):
        if path.is_file():
            assert (run.path / path.relative_to(finished.path)).read_bytes() == path.read_bytes()
    assert Inbox(url).take_in(store).runs == ()


def test_a_run_that_is_delivered_again_is_taken_once(finished, url, store):
    deliver(finished, url)
    Inbox(url).take_in(store)
    deliver(finished, url)
    assert Inbox(url).take_in(store).quarantined == ()
    assert store.run_ids() == [finished.run_id]


def test_a_look_cut_off_before_the_inbox_was_emptied_is_finished_by_the_next(
    finished, url, store, monkeypatch
):
    deliver(finished, url)
    inbox = Inbox(url)

    def fails(*_args: object, **_kwargs: object) -> None:
        raise ConnectionResetError("cut")

    with monkeypatch.context() as cut:
        cut.setattr(type(inbox._storage), "remove", fails)
        with pytest.raises(InboxUnreachableError, match="nothing is lost"):
            inbox.take_in(store)
    assert store.run(finished.run_id).has(RunFile.DELIVERY)

    assert Inbox(url).take_in(store).runs == (finished.run_id,)
    fs, root = _open(url)
    assert not fs.exists(f"{root}/{finished.run_id}/{RunFile.DELIVERY}")


def test_a_look_cut_off_while_copying_leaves_no_run_and_the_next_takes_it(
    finished, url, store, monkeypatch
):
    deliver(finished, url)
    inbox = Inbox(url)
    storage, copied = type(inbox._storage), type(inbox._storage).copy

    def cut_at_the_spool(self: object, folder: str, name: str, *args: object, **kwargs: object):
        if name.endswith("requests.jsonl"):
            raise ConnectionResetError("cut")
        return copied(self, folder, name, *args, **kwargs)

    with monkeypatch.context() as cut:
        cut.setattr(storage, "copy", cut_at_the_spool)
        with pytest.raises(InboxUnreachableError):
            inbox.take_in(store)
    assert store.run_ids() == []
    assert list((store.root / "runs").iterdir()) == []
    assert Inbox(url).take_in(store).runs == (finished.run_id,)


def test_a_delivery_cut_off_half_way_waits_and_delivering_again_completes_it(
    finished, url, store, monkeypatch
):
    storage = type(_open(url)[0])
    copied = storage.put_file

    def cut_at_the_spool(self: object, source: str, *args: object, **kwargs: object) -> object:
        if source.endswith("requests.jsonl"):
            raise ConnectionResetError("cut")
        return copied(self, source, *args, **kwargs)

    with monkeypatch.context() as cut:
        cut.setattr(storage, "put_file", cut_at_the_spool)
        with pytest.raises(InboxUnreachableError):
            deliver(finished, url)
    taken = Inbox(url).take_in(store, now=datetime.now(tz=UTC) + LATER)
    assert [item.name for item in taken.waiting] == [finished.run_id]
    assert "delivery.json" in taken.waiting[0].reason

    deliver(finished, url)
    assert Inbox(url).take_in(store).runs == (finished.run_id,)


def test_a_folder_whose_manifest_overtook_its_files_waits_an_hour_and_is_then_put_aside(
    finished, url, store
):
    deliver(finished, url)
    fs, root = _open(url)
    spool = f"{root}/{finished.run_id}/capture/requests.jsonl"
    whole = fs.cat_file(spool)
    fs.pipe_file(spool, whole[:-10])
    assert len(Inbox(url).take_in(store).waiting) == 1

    taken = Inbox(url).take_in(store, now=datetime.now(tz=UTC) + LATER)
    assert [item.name for item in taken.quarantined] == [finished.run_id]
    assert f"{len(whole) - 10:,} of {len(whole):,} bytes" in _reason(url, finished.run_id)
    assert store.run_ids() == []


def test_bytes_that_are_not_what_the_manifest_says_are_put_aside(finished, url, store):
    deliver(finished, url)
    fs, root = _open(url)
    spool = f"{root}/{finished.run_id}/capture/requests.jsonl"
    fs.pipe_file(spool, fs.cat_file(spool)[:-1] + b"!")
    assert Inbox(url).take_in(store).runs == ()
    assert "requests.jsonl has SHA-256" in _reason(url, finished.run_id)
    assert fs.exists(f"{root}/{QUARANTINE}/{finished.run_id}/capture/requests.jsonl")
    assert list((store.root / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"run_id": "01a1feac-2f8f-74ab-b194-207e46153faf"}, "its folder is"),
        ({"files": {}}, "files"),
        ({"format": "inferencebench-delivery/9"}, "format"),
        (
            {"files": {"../../spec.json": {"size_bytes": 1, "sha256": "0" * 64}}},
            "names '../../spec.json', which is no file of a run",
        ),
        (
            {"files": {"capture/..": {"size_bytes": 1, "sha256": "0" * 64}}},
            "which is no file of a run",
        ),
        (
            {"files": {"measurement.json": {"size_bytes": 1, "sha256": "0" * 64}}},
            "names no spec.json",
        ),
    ],
)
def test_a_manifest_that_names_the_wrong_thing_is_put_aside_with_what_it_said(
    finished, url, store, changes, said
):
    deliver(finished, url)
    _edit_manifest(url, finished.run_id, changes)
    assert len(Inbox(url).take_in(store).quarantined) == 1
    assert said in _reason(url, finished.run_id)


def test_a_folder_that_is_no_run_id_is_put_aside_and_harms_no_other(finished, url, store):
    deliver(finished, url)
    fs, root = _open(url)
    fs.makedirs(f"{root}/my run", exist_ok=True)
    fs.pipe_file(f"{root}/my run/{RunFile.DELIVERY}", b"{}")
    taken = Inbox(url).take_in(store)
    assert taken.runs == (finished.run_id,)
    assert "not a lower-case UUIDv7" in _reason(url, "my run")


def test_another_run_under_a_taken_id_overwrites_nothing(finished, url, store):
    run = store.run(finished.run_id)
    run.write(RunFile.SPEC, b"{}")
    deliver(finished, url)
    assert Inbox(url).take_in(store).runs == ()
    assert "nothing was overwritten" in _reason(url, finished.run_id)
    assert run.read(RunFile.SPEC) == b"{}"


def test_a_run_that_never_finished_is_neither_delivered_nor_taken(finished, url, store, tmp_path):
    killed = RunStore(tmp_path / "killed").run(finished.run_id)
    shutil.copytree(finished.path, killed.path)
    (killed.file(RunFile.CAPTURE) / "complete.json").unlink()
    with pytest.raises(CaptureError, match="incomplete"):
        deliver(killed, url)

    deliver(finished, url)
    fs, root = _open(url)
    manifest = json.loads(fs.cat_file(f"{root}/{finished.run_id}/{RunFile.DELIVERY}"))
    del manifest["files"]["capture/complete.json"]
    _edit_manifest(url, finished.run_id, {"files": manifest["files"]})
    assert Inbox(url).take_in(store).runs == ()
    assert "not finished where it was measured" in _reason(url, finished.run_id)


def test_a_link_to_another_file_is_not_followed(finished, store, tmp_path):
    inbox = tmp_path / "inbox"
    deliver(finished, str(inbox))
    secret = tmp_path / "secret"
    shutil.copy(finished.file(RunFile.SPEC), secret)
    spec = inbox / finished.run_id / RunFile.SPEC
    spec.unlink()
    spec.symlink_to(secret)
    assert Inbox(str(inbox)).take_in(store).runs == ()
    assert "not a plain file" in _reason(str(inbox), finished.run_id)


def test_a_store_that_cannot_be_written_leaves_the_delivery_where_it_is(finished, url, tmp_path):
    (tmp_path / "blocked").write_text("a file where the store should be")
    deliver(finished, url)
    with pytest.raises(StoreError, match="cannot write"):
        Inbox(url).take_in(RunStore(tmp_path / "blocked"))
    assert Inbox(url).take_in(RunStore(tmp_path / "mended")).runs == (finished.run_id,)


def test_an_inbox_that_does_not_exist_yet_is_empty(tmp_path, store):
    assert Inbox(str(tmp_path / "none")).take_in(store).runs == ()


def test_a_kind_of_storage_that_nobody_installed_is_named():
    with pytest.raises(InboxError, match=r"INFERENCEBENCH_INBOX='nosuch://x' cannot be opened"):
        Inbox("nosuch://x")


def test_a_capture_of_another_run_than_its_folder_says_is_put_aside(
    finished, url, store, tmp_path, monkeypatch
):
    # Somebody renames the folder of a finished run: all is whole, and of another run.
    renamed = RunStore(tmp_path / "renamed").run(new_run_id())
    shutil.copytree(finished.path, renamed.path)
    deliver(renamed, url)

    taken = Inbox(url).take_in(store)

    assert [each.name for each in taken.quarantined] == [renamed.run_id]
    said = f"the capture is of run {finished.run_id}, its folder is {renamed.run_id}"
    assert said in _reason(url, renamed.run_id)
    assert store.run_ids() == []


def test_a_manifest_of_more_than_a_mebibyte_is_not_read(finished, url, store):
    deliver(finished, url)
    fs, root = _open(url)
    path = f"{root}/{finished.run_id}/{RunFile.DELIVERY}"
    fs.pipe_file(path, fs.cat_file(path) + b" " * 2**20)
    assert len(Inbox(url).take_in(store).quarantined) == 1
    assert store.run_ids() == []


@pytest.mark.parametrize("name", ["spec.json", "capture/complete.json"])
def test_a_file_that_the_manifest_names_and_nobody_delivered_is_waited_for(
    finished, url, store, name
):
    deliver(finished, url)
    fs, root = _open(url)
    fs.rm_file(f"{root}/{finished.run_id}/{name}")
    waiting = Inbox(url).take_in(store).waiting
    assert [each.reason for each in waiting] == [f"{name} is not there yet"]


def test_delivering_over_an_old_manifest_takes_that_one_away_first(
    finished, url, store, monkeypatch
):
    deliver(finished, url)
    fs, root = _open(url)
    manifest = f"{root}/{finished.run_id}/{RunFile.DELIVERY}"
    real = type(fs).put_file

    def put_file(self: object, local: str, remote: str, **settings: object) -> None:
        assert not fs.exists(manifest), "half a copy lies under a manifest that says it is whole"
        real(self, local, remote, **settings)

    monkeypatch.setattr(type(fs), "put_file", put_file)
    deliver(finished, url)
    assert fs.exists(manifest)
    assert Inbox(url).take_in(store).runs == (finished.run_id,)


def test_a_quarantine_cut_off_half_way_is_finished_by_the_next_look(
    finished, url, store, monkeypatch
):
    deliver(finished, url)
    _edit_manifest(url, finished.run_id, {"format": "inferencebench-delivery/9"})
    fs, root = _open(url)
    names = sorted(path.rpartition(f"{finished.run_id}/")[2] for path in fs.find(root))

    real, moved = type(fs).rm_file, []

    def cut(self: object, path: str) -> None:
        if len(moved) == 2:
            raise ConnectionResetError("cut")
        real(self, path)
        moved.append(path)

    with monkeypatch.context() as once:
        once.setattr(type(fs), "rm_file", cut)
        with suppress(InboxUnreachableError):
            Inbox(url).take_in(store)
    Inbox(url).take_in(store)

    aside = f"{root}/{QUARANTINE}/{finished.run_id}"
    found = sorted(path.rpartition(f"{finished.run_id}/")[2] for path in fs.find(aside))
    assert found == sorted([*names, REASON])
    assert fs.find(f"{root}/{finished.run_id}") == []


def test_what_came_through_the_inbox_since_is_listed_oldest_first(finished, url, store, tmp_path):
    began = datetime.now(tz=UTC) - timedelta(seconds=5)
    ours = store.run(new_run_id())
    ours.write(RunFile.SPEC, b"{}")
    deliver(finished, url)
    Inbox(url).take_in(store)
    assert delivered_since(store, since=began) == [finished.run_id]
    assert delivered_since(store, since=datetime.now(tz=UTC) + timedelta(seconds=5)) == []
