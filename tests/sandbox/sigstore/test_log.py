from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inferencebench_pipeline.sandbox.sigstore.log import (
    DuplicateEntryError,
    LogCorruptError,
    LogInUseError,
    LogStorageError,
    TransparencyLog,
)
from inferencebench_pipeline.sandbox.sigstore.merkle import leaf_hash


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "log.jsonl"


def _filled(path: Path, *leaves: bytes) -> bytes:
    """Log the leaves, close, and return the root."""
    log = TransparencyLog(path)
    for leaf in leaves:
        log.append(leaf)
    root = log.tree.root(log.size)
    log.close()
    return root


def test_a_reopened_log_has_the_same_entries_and_root(path: Path) -> None:
    root = _filled(path, b"a", b"b", b"c")
    log = TransparencyLog(path)
    assert [entry.leaf for entry in log.entries(0, 10)] == [b"a", b"b", b"c"]
    assert log.tree.root(3) == root
    assert log.find(leaf_hash(b"b")) == 1


def test_an_equal_leaf_is_refused_and_names_the_first(path: Path) -> None:
    _filled(path, b"a", b"b")
    log = TransparencyLog(path)
    with pytest.raises(DuplicateEntryError) as refused:
        log.append(b"b")
    assert refused.value.index == 1
    assert log.size == 2


@pytest.mark.parametrize("cut_bytes", [1, 2, 10])
def test_a_last_line_cut_short_is_dropped_and_the_log_goes_on(path: Path, cut_bytes: int) -> None:
    root = _filled(path, b"a", b"b")
    _filled(path, b"lost")
    os.truncate(path, path.stat().st_size - cut_bytes)
    log = TransparencyLog(path)
    assert (log.size, log.tree.root(2)) == (2, root)
    assert log.append(b"next").index == 2
    log.close()
    assert TransparencyLog(path).entry(2).leaf == b"next"


@pytest.mark.parametrize(
    "damage", [b"not json\n", b'{"leaf":"AA=="}\n', b'{"leaf":3,"time_ms":1}\n']
)
def test_a_damaged_line_is_named_rather_than_skipped(path: Path, damage: bytes) -> None:
    _filled(path, b"a")
    path.write_bytes(damage + path.read_bytes())
    with pytest.raises(LogCorruptError, match=r"log\.jsonl line 1 is not a log entry"):
        TransparencyLog(path)


def test_a_log_that_is_in_use_is_not_opened_again(path: Path) -> None:
    first = TransparencyLog(path)
    with pytest.raises(LogInUseError, match="in use by another process"):
        TransparencyLog(path)
    first.close()
    TransparencyLog(path).close()


def test_a_full_disk_leaves_the_log_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = TransparencyLog(path)
    log.append(b"a")
    before = path.read_bytes()
    write = os.pwrite

    def half_then_full(descriptor: int, data: bytes, offset: int) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:-10], offset)

    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", half_then_full)
        with pytest.raises(LogStorageError, match="No space left"):
            log.append(b"b" * 40)
    assert path.read_bytes() == before
    assert log.append(b"b" * 40).index == 1


def test_many_writers_get_each_their_own_index_and_a_valid_proof(path: Path) -> None:
    log = TransparencyLog(path)

    def write(number: int) -> tuple[int, int]:
        entry = log.append(f"{number}".encode())
        proof = log.inclusion(entry.index)
        assert proof.tree_size > entry.index
        return entry.index, number

    with ThreadPoolExecutor(8) as writers:
        written = dict(writers.map(write, range(200)))
    assert sorted(written) == list(range(200))
    assert all(log.entry(index).leaf == f"{number}".encode() for index, number in written.items())
    root = log.tree.root(200)
    log.close()
    assert TransparencyLog(path).tree.root(200) == root


def test_the_file_is_for_its_owner_only(path: Path) -> None:
    _filled(path, b"a")
    assert path.stat().st_mode & 0o777 == 0o600
