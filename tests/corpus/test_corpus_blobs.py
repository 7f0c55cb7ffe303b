from __future__ import annotations

import pytest

from inferencebench_pipeline.corpus.blobs import BlobError, BlobStore


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
