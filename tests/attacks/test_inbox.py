"""Hostile deliveries: none is followed out of its folder, fills a disk, or holds up the next."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from inferencebench_pipeline.inbox.deliveries import QUARANTINE, REASON, Inbox, deliver
from inferencebench_pipeline.measure.run.run import run_benchmark
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunStore, new_run_id
from tests.measure.fake_engine import Behaviour, FakeEngine, running
from tests.measure.support import ignore_progress, spec_for

_EMPTY = hashlib.sha256(b"{}").hexdigest()
_SECRET = b"SECRET KEY"
HOSTILE_NAMES = [
    "*",
    "?" * 36,
    "[a-z]*",
    "{a,b}",
    "**",
    "..x",
    "a\nb\x1b[31m",
    "%2e",
    "x" * 200,
    "~",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    run = RunStore(tmp_path_factory.mktemp("gpu-host")).run(new_run_id(unix_ms=2**47))
    with running(FakeEngine(lambda _number: Behaviour())) as engine:
        run_benchmark(spec_for(engine.base_url), run, on_progress=ignore_progress)
    return run


def _manifest(run_id: str, **files: Any) -> bytes:
    named = {"spec.json": {"size_bytes": 2, "sha256": _EMPTY}} | files
    document = {"format": "inferencebench-delivery/1", "run_id": run_id, "files": named}
    return json.dumps(document).encode()


def _fifo(folder: Path, secret: Path) -> None:
    os.mkfifo(folder / "delivery.json")


def _device(folder: Path, secret: Path) -> None:
    (folder / "delivery.json").symlink_to("/dev/zero")


def _folder_as_manifest(folder: Path, secret: Path) -> None:
    (folder / "delivery.json").mkdir()


def _deep(folder: Path, secret: Path) -> None:
    (folder / "delivery.json").write_bytes(b"[" * 900_000)


def _large(folder: Path, secret: Path) -> None:
    with (folder / "delivery.json").open("wb") as file:
        file.truncate(1 << 36)


def _said_twice(folder: Path, secret: Path) -> None:
    data = _manifest(folder.name).replace(b'"run_id"', b'"run_id": "x", "run_id"')
    (folder / "delivery.json").write_bytes(data)


def _case(folder: Path, secret: Path) -> None:
    file = {"size_bytes": 1, "sha256": _EMPTY}
    data = _manifest(folder.name, **{"capture/a": file, "capture/A": file})
    (folder / "delivery.json").write_bytes(data)


def _linked_folder(folder: Path, secret: Path) -> None:
    (folder / "capture").symlink_to(secret.parent)
    _with_secret(folder)


def _linked_file(folder: Path, secret: Path) -> None:
    (folder / "capture").mkdir()
    (folder / "capture/secret").symlink_to(secret)
    _with_secret(folder)


def _hard_link(folder: Path, secret: Path) -> None:
    (folder / "capture").mkdir()
    (folder / "capture/secret").hardlink_to(secret)
    _with_secret(folder)


def _with_secret(folder: Path) -> None:
    right = {"size_bytes": len(_SECRET), "sha256": hashlib.sha256(_SECRET).hexdigest()}
    (folder / "delivery.json").write_bytes(_manifest(folder.name, **{"capture/secret": right}))


def _larger_than_stated(folder: Path, secret: Path) -> None:
    with (folder / "traces.parquet").open("wb") as file:
        file.truncate(1 << 36)
    stated = {"size_bytes": 1, "sha256": "0" * 64}
    (folder / "delivery.json").write_bytes(_manifest(folder.name, **{"traces.parquet": stated}))


def _too_large(folder: Path, secret: Path) -> None:
    with (folder / "traces.parquet").open("wb") as file:
        file.truncate(1 << 40)
    stated = {"size_bytes": 1 << 40, "sha256": "0" * 64}
    (folder / "delivery.json").write_bytes(_manifest(folder.name, **{"traces.parquet": stated}))


def _planted_reason(folder: Path, secret: Path) -> None:
    (folder / REASON).symlink_to(secret)
    (folder / "delivery.json").write_bytes(b"x")


def _reason_is_a_folder(folder: Path, secret: Path) -> None:
    (folder / REASON).mkdir()
    (folder / "delivery.json").write_bytes(b"x")


BAD = [
    _fifo,
    _device,
    _folder_as_manifest,
    _deep,
    _large,
    _said_twice,
    _case,
    _linked_folder,
    _linked_file,
    _hard_link,
    _larger_than_stated,
    _too_large,
    _planted_reason,
    _reason_is_a_folder,
]


@pytest.mark.parametrize("build", BAD, ids=lambda build: build.__name__.strip("_"))
def test_a_bad_delivery_is_put_aside_and_holds_up_no_other(
    tmp_path: Path, finished: RunDirectory, build: Callable[[Path, Path], None]
) -> None:
    inbox, store = tmp_path / "inbox", RunStore(tmp_path / "store")
    secret = tmp_path / "private/secret"
    secret.parent.mkdir()
    secret.write_bytes(_SECRET)
    bad = new_run_id()  # looked at before the good one, which has a later id
    (inbox / bad).mkdir(parents=True)
    (inbox / bad / "spec.json").write_bytes(b"{}")
    build(inbox / bad, secret)
    deliver(finished, str(inbox))

    taken = Inbox(str(inbox)).take_in(store)
    assert taken.runs == (finished.run_id,)
    assert [delivery.name for delivery in taken.quarantined] == [bad]
    assert store.run_ids() == [finished.run_id]
    assert secret.read_bytes() == _SECRET
    reason = (inbox / QUARANTINE / bad / REASON).read_text()
    assert hashlib.sha256(_SECRET).hexdigest() not in reason
    assert reason.rstrip("\n").isprintable()
    assert Inbox(str(inbox)).take_in(store) == type(taken)()


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("kind", ["local", "memory"])
def test_a_name_is_never_a_pattern(
    tmp_path: Path, finished: RunDirectory, name: str, kind: str
) -> None:
    url = str(tmp_path / "inbox") if kind == "local" else f"memory://{new_run_id()}"
    fs, root = fsspec.core.url_to_fs(url)
    copying = new_run_id()
    for folder, relative in ((copying, "spec.json"), (name, "spec.json"), (name, "delivery.json")):
        fs.makedirs(f"{root}/{folder}", exist_ok=True)
        fs.pipe_file(f"{root}/{folder}/{relative}", b"{}")
    deliver(finished, url)
    taken = Inbox(url).take_in(RunStore(tmp_path / "store"))
    assert taken.runs == (finished.run_id,)
    assert [delivery.name for delivery in taken.waiting] == [copying]
    assert fs.cat_file(f"{root}/{copying}/spec.json") == b"{}"
    assert all(told.name.isprintable() for told in taken.quarantined)
    assert Inbox(url).take_in(RunStore(tmp_path / "store")).quarantined == ()


def test_a_folder_called_like_the_inbox_itself_is_laid_down_whole(tmp_path: Path) -> None:
    inbox = tmp_path / "srv/inbox"
    (inbox / "srv").mkdir(parents=True)
    (inbox / "srv/delivery.json").write_bytes(b"x")
    (inbox / "srv/file").write_bytes(b"y")
    Inbox(str(inbox)).take_in(RunStore(tmp_path / "store"))
    assert (inbox / QUARANTINE / "srv/file").read_bytes() == b"y"


def test_a_run_that_somebody_works_on_is_taken_when_that_has_ended(
    tmp_path: Path, finished: RunDirectory
) -> None:
    inbox, store = tmp_path / "inbox", RunStore(tmp_path / "store")
    deliver(finished, str(inbox))
    child = os.fork()
    if child == 0:
        with store.run(finished.run_id).writing("measuring"):
            (tmp_path / "held").touch()
            while not (tmp_path / "end").exists():
                pass
        os._exit(0)
    while not (tmp_path / "held").exists():
        pass
    taken = Inbox(str(inbox)).take_in(store)
    (tmp_path / "end").touch()
    os.waitpid(child, 0)
    (waiting,) = taken.waiting
    assert "measuring" in str(waiting.reason)
    assert Inbox(str(inbox)).take_in(store).runs == (finished.run_id,)


def test_a_quarantine_that_leads_elsewhere_is_not_followed(
    tmp_path: Path, finished: RunDirectory
) -> None:
    inbox, elsewhere = tmp_path / "inbox", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (inbox / "bad").mkdir(parents=True)
    (inbox / QUARANTINE).symlink_to(elsewhere)
    deliver(finished, str(inbox))
    store = RunStore(tmp_path / "store")
    assert Inbox(str(inbox)).take_in(store).runs == (finished.run_id,)
    assert list(elsewhere.iterdir()) == []
    shutil.rmtree(inbox)
