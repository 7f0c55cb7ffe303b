from __future__ import annotations

import os

import pytest

from inferencebench_pipeline.corpus import blobs as blobs_module
from inferencebench_pipeline.corpus.blobs import BlobError, BlobStore
from inferencebench_pipeline.files.atomic_writes import StoreError


def test_the_same_bytes_are_stored_once(tmp_path):
    blobs = BlobStore(tmp_path)

    assert blobs.put(b"x") == blobs.put(b"x")
    assert len(list(tmp_path.iterdir())) == 1


def test_damage_is_found_on_reading_and_mended_by_storing_again(tmp_path):
    blobs = BlobStore(tmp_path)
    sha256 = blobs.put(b"original")
    blobs.path(sha256).write_bytes(b"tampered")

    with pytest.raises(BlobError, match="delete it and crawl again"):
        blobs.get(sha256)
    blobs.put(b"original")
    assert blobs.get(sha256) == b"original"


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "a" * 63])
def test_a_name_that_is_not_a_hash_never_becomes_a_path(tmp_path, name):
    with pytest.raises(BlobError, match="not a lower-case SHA-256"):
        BlobStore(tmp_path).get(name)


def test_everything_put_is_brought_to_disk_at_once_with_its_folder(tmp_path, monkeypatch):
    reached = []
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        fsync(descriptor)
        reached.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(os, "fsync", recorded)
    BlobStore(tmp_path).put(b"left by a crawl that was cut off")
    blobs = BlobStore(tmp_path)
    names = {blobs.put(b"left by a crawl that was cut off"), blobs.put(b"new")}
    assert reached == []

    blobs.sync()
    assert set(reached[:-1]) == {str(blobs.path(name)) for name in names}
    assert reached[-1] == str(tmp_path)
    blobs.sync()
    assert len(reached) == 3


def test_a_blob_that_is_gone_before_it_reached_the_disk_is_an_error(tmp_path):
    blobs = BlobStore(tmp_path)
    blobs.path(blobs.put(b"x")).unlink()
    with pytest.raises(StoreError, match="cannot write"):
        blobs.sync()


def test_few_bytes_are_given_and_many_are_left_in_their_file(tmp_path, monkeypatch):
    blobs = BlobStore(tmp_path)
    sha256 = blobs.put(b"12345")
    assert blobs.checked(sha256) == b"12345"
    monkeypatch.setattr(blobs_module, "_MOST_IN_MEMORY", 4)
    assert blobs.checked(sha256) == blobs.path(sha256)


@pytest.mark.parametrize("most", [4, 100])
def test_a_damaged_or_missing_blob_is_noticed_whether_or_not_its_bytes_are_wanted(
    tmp_path, monkeypatch, most
):
    monkeypatch.setattr(blobs_module, "_MOST_IN_MEMORY", most)
    blobs = BlobStore(tmp_path)
    sha256 = blobs.put(b"12345")
    blobs.path(sha256).write_bytes(b"12346")
    for read in (blobs.checked, blobs.check, blobs.get):
        with pytest.raises(BlobError, match="delete it and crawl again"):
            read(sha256)
    blobs.path(sha256).unlink()
    for read in (blobs.checked, blobs.check, blobs.get):
        with pytest.raises(BlobError, match="crawl again to restore it"):
            read(sha256)
