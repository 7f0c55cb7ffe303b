"""Reading: info, trees, history, downloads, and the traps a Hub server can fall into."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfFileSystem, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFolder

from tests.sandbox.calls import commit, fetch, request

CARD = b"""---
license: cc-by-4.0
tags: [inferencebench]
inferencebench: {suite_id: llm.inference.chat}
---
# Run
"""


@pytest.fixture
def published(api, dataset) -> str:
    files = {"README.md": CARD, "envelope.json": b"{}", "data/a/t.parquet": b"PAR1" * 200}
    commit(api, dataset, files, commit_message="publish")
    return dataset


def test_info_has_card_files_and_commit(api, published):
    info = api.dataset_info(published)
    assert info.sha == api.list_repo_commits(published, repo_type="dataset")[0].commit_id
    assert info.card_data["inferencebench"] == {"suite_id": "llm.inference.chat"}
    assert info.tags == ["inferencebench", "license:cc-by-4.0", "region:us"]
    assert info.created_at <= info.last_modified
    assert info.siblings[0].size is None
    with_sizes = api.dataset_info(published, files_metadata=True)
    assert {f.rfilename: f.size for f in with_sizes.siblings}["data/a/t.parquet"] == 800


def test_expand_gives_the_named_properties_only(api, published):
    info = api.dataset_info(published, expand=["sha", "lastModified"])
    assert info.sha
    assert info.last_modified
    assert info.card_data is None
    assert info.author is None


def test_an_unknown_expand_is_refused(api, published):
    response = request(api, "GET", f"/api/datasets/{published}?expand=nonsense")
    assert response.status_code == 400


def test_what_is_missing_is_told_apart(api, published):
    with pytest.raises(RepositoryNotFoundError):
        api.dataset_info("nobody/nothing")
    with pytest.raises(RevisionNotFoundError):
        api.dataset_info(published, revision="nope")
    assert not api.file_exists(published, "nope", repo_type="dataset")
    assert api.file_exists(published, "envelope.json", repo_type="dataset")
    assert not api.revision_exists(published, "nope", repo_type="dataset")
    response = request(api, "HEAD", f"/datasets/{published}/resolve/main/nope")
    assert response.headers["x-error-code"] == "EntryNotFound"
    assert response.headers["x-repo-commit"] == api.dataset_info(published).sha


def test_a_tree_is_listed_by_folder_or_whole(api, published):
    top = list(api.list_repo_tree(published, repo_type="dataset"))
    assert [item.path for item in top] == [".gitattributes", "README.md", "data", "envelope.json"]
    everything = list(api.list_repo_tree(published, repo_type="dataset", recursive=True))
    folders = {item.path for item in everything if isinstance(item, RepoFolder)}
    assert folders == {"data", "data/a"}
    inside = list(api.list_repo_tree(published, "data/a", repo_type="dataset"))
    assert [item.path for item in inside] == ["data/a/t.parquet"]
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree(published, "nope", repo_type="dataset"))


def test_a_long_tree_comes_in_pages(api, dataset, faults):
    commit(api, dataset, {f"f{number:03}.txt": b"x" for number in range(119)})
    listed = list(api.list_repo_tree(dataset, repo_type="dataset", expand=True))
    assert len({item.path for item in listed}) == 120
    assert len(faults.requests(path="/tree/main$")) == 3


def test_expanded_paths_name_the_commit_that_last_changed_them(api, published):
    newer = commit(api, published, {"envelope.json": b'{"v":2}'}, commit_message="again")
    infos = api.get_paths_info(
        published, ["envelope.json", "README.md", "data", "nope"], expand=True, repo_type="dataset"
    )
    titles = {info.path: info.last_commit.title for info in infos}
    assert titles == {"envelope.json": "again", "README.md": "publish", "data": "publish"}
    assert next(i for i in infos if i.path == "envelope.json").last_commit.oid == newer.oid


def test_history_has_every_commit_newest_first(api, dataset):
    for number in range(51):
        commit(api, dataset, {"a.txt": str(number).encode()}, commit_message=f"m{number}")
    history = api.list_repo_commits(dataset, repo_type="dataset")
    assert [item.title for item in history[:2]] == ["m50", "m49"]
    assert len(history) == 52
    assert history[0].authors == ["sandbox-publisher"]


def test_refs_show_main_and_pull_requests(api, published):
    commit(api, published, {"x": b"x"}, create_pr=True)
    refs = api.list_repo_refs(published, repo_type="dataset", include_pull_requests=True)
    assert [branch.name for branch in refs.branches] == ["main"]
    assert [pr.ref for pr in refs.pull_requests] == ["refs/pr/1"]
    assert refs.pull_requests[0].target_commit != refs.branches[0].target_commit


def test_a_revision_with_slashes_is_one_path_segment(api, published):
    commit(api, published, {"dir/x.txt": b"from the request"}, create_pr=True)
    assert fetch(api, published, "dir/x.txt", "refs%2Fpr%2F1") == b"from the request"
    url = hf_hub_url(
        published, "dir/x.txt", repo_type="dataset", revision="refs/pr/1", endpoint=api.endpoint
    )
    assert "refs%2Fpr%2F1" in url
    path = api.hf_hub_download(
        published, "dir/x.txt", repo_type="dataset", revision="refs/pr/1", force_download=True
    )
    assert Path(path).read_bytes() == b"from the request"
    with pytest.raises(EntryNotFoundError):
        fetch_or_raise(api, published, "dir/x.txt")


def fetch_or_raise(api, repo_id, path):
    return api.hf_hub_download(repo_id, path, repo_type="dataset", force_download=True)


def test_awkward_file_names_survive(api, dataset):
    names = ["a b.txt", "ü/ñ.txt", "100%.txt", "q?x#y.txt", "plus+and&.txt"]
    commit(api, dataset, {name: name.encode() for name in names})
    assert set(names) <= set(api.list_repo_files(dataset, repo_type="dataset"))
    for name in names:
        path = api.hf_hub_download(dataset, name, repo_type="dataset", force_download=True)
        assert Path(path).read_bytes() == name.encode()


@pytest.mark.parametrize("path", ["envelope.json", "data/a/t.parquet"])
def test_head_and_get_carry_what_the_client_checks(api, published, path):
    sha = api.dataset_info(published).sha
    for revision in ("main", sha, "refs%2Fheads%2Fmain"):
        head = request(api, "HEAD", f"/datasets/{published}/resolve/{revision}/{path}")
        got = request(api, "GET", f"/datasets/{published}/resolve/{revision}/{path}")
        assert head.content == b""
        assert head.headers["x-repo-commit"] == got.headers["x-repo-commit"] == sha
        assert head.headers["etag"] == got.headers["etag"]
        assert int(head.headers["content-length"]) == len(got.content)
    if path.endswith("parquet"):
        assert head.headers["etag"].strip('"') == hashlib.sha256(got.content).hexdigest()
        assert head.headers["x-linked-etag"] == head.headers["etag"]
        assert head.headers["x-linked-size"] == "800"


def test_ranges_are_served(api, dataset):
    content = os.urandom(1000)
    commit(api, dataset, {"t.parquet": content})
    url = f"/datasets/{dataset}/resolve/main/t.parquet"
    part = request(api, "GET", url, headers={"range": "bytes=10-19"})
    assert part.status_code == 206
    assert part.headers["content-range"] == "bytes 10-19/1000"
    assert part.content == content[10:20]
    assert request(api, "GET", url, headers={"range": "bytes=2000-"}).status_code == 416


def test_downloads_through_the_clients_cache_and_checksums(api, published, tmp_path):
    folder = api.snapshot_download(published, repo_type="dataset", cache_dir=tmp_path)
    names = sorted(entry.name for entry in Path(folder).iterdir())
    assert names == [".gitattributes", "README.md", "data", "envelope.json"]
    result = api.verify_repo_checksums(published, repo_type="dataset", cache_dir=tmp_path)
    assert result.mismatches == []
    assert result.checked_count == 4


def test_duckdb_reads_parquet_through_the_clients_file_system(api, dataset, tmp_path):
    table = pa.table({"x": list(range(1000)), "y": [float(n) for n in range(1000)]})
    pq.write_table(table, tmp_path / "t.parquet")
    commit(api, dataset, {"t.parquet": (tmp_path / "t.parquet").read_bytes()})
    files = HfFileSystem(endpoint=api.endpoint, token=api.token, skip_instance_cache=True)
    assert files.exists(f"datasets/{dataset}/t.parquet")
    connection = duckdb.connect()
    connection.register_filesystem(files)
    query = f"select sum(x), avg(y) from 'hf://datasets/{dataset}/t.parquet'"
    assert connection.execute(query).fetchall() == [(499500, 499.5)]


def test_files_that_could_run_in_a_browser_are_served_as_text(api, dataset):
    commit(api, dataset, {"evil.html": b"<script>alert(1)</script>"})
    response = request(api, "GET", f"/datasets/{dataset}/resolve/main/evil.html")
    assert response.headers["content-type"].startswith("text/plain")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in response.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/datasets?limit=many", None),
        ("GET", "/api/datasets?cursor=%00", None),
        ("GET", "/api/datasets/{id}/tree/main?cursor=a", None),
        ("GET", "/api/datasets/{id}/tree/main?limit=-1", None),
        ("POST", "/api/datasets/{id}/preupload/main", '{"files": "all"}'),
        ("POST", "/api/datasets/{id}/preupload/main", '{"files": [{"path": "a"}]}'),
        ("POST", "/api/datasets/{id}/preupload/main", "[]"),
        ("POST", "/api/datasets/{id}/preupload/main", "{"),
        ("POST", "/api/datasets/{id}/commit/main", "x"),
        ("POST", "/api/datasets/{id}/commit/main", '{"key": "header", "value": {}}'),
        ("POST", "/datasets/{id}.git/info/lfs/objects/batch", '{"operation": "download"}'),
        ("POST", "/api/repos/create", '{"name": "x", "type": "planet"}'),
        ("POST", "/api/validate-yaml", "{}"),
    ],
)
def test_malformed_requests_are_answered_with_a_reason(api, published, method, path, body):
    url = path.replace("{id}", published)
    response = request(api, method, url, content=body)
    assert response.status_code == 400
    assert response.headers["x-error-message"]
    assert response.json()["error"]
