"""Committing: LFS and regular files, no-ops, races, refusals."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RevisionNotFoundError,
)

from inferencebench_pipeline.sandbox.hub.errors import HubError
from inferencebench_pipeline.sandbox.hub.names import RepoId, RepoKind
from inferencebench_pipeline.sandbox.hub.objects import git_blob_oid
from inferencebench_pipeline.sandbox.hub.repository import MAIN, Change, CommitMessage
from inferencebench_pipeline.sandbox.hub.store import HubStore
from tests.sandbox.calls import commit, fetch, request


def test_regular_basic_and_multipart_files_arrive_in_one_commit(api, dataset, faults):
    files = {
        "README.md": b"---\nlicense: cc-by-4.0\n---\n# A run\n",
        "envelope.json": b'{"v": 1}',
        "traces.parquet": os.urandom(500),
        "big.parquet": os.urandom(9 * 1024 * 1024),
        "empty.parquet": b"",
    }
    made = commit(api, dataset, files, commit_description="the description")
    assert made.commit_url == f"{api.endpoint}/datasets/{dataset}/commit/{made.oid}"
    for path, content in files.items():
        assert fetch(api, dataset, path, made.oid) == content
    assert len(faults.requests(method="PUT", path="/part/")) == 3
    assert len(faults.requests(method="POST", path="/complete$")) == 1
    assert len(faults.requests(method="POST", path="/commit/main$")) == 1


def test_committing_the_same_files_again_makes_no_commit(api, dataset, faults):
    files = {"a.txt": b"a", "t.parquet": b"PAR1" * 100}
    first = commit(api, dataset, files)
    second = commit(api, dataset, files)
    assert second.oid == first.oid
    assert len(faults.requests(method="POST", path="/commit/main$")) == 1
    assert len(faults.requests(method="PUT")) == 1


def test_a_stored_large_file_is_not_uploaded_twice(api, dataset, new_name, faults):
    content = os.urandom(1000)
    commit(api, dataset, {"t.parquet": content})
    other = new_name()
    api.create_repo(other, repo_type="dataset")
    commit(api, other, {"copy.parquet": content})
    assert len(faults.requests(method="PUT")) == 1
    assert fetch(api, other, "copy.parquet") == content


def test_object_ids_are_those_of_git_and_of_lfs(api, dataset):
    regular, large = b"hello\n", b"PAR1" + os.urandom(10)
    commit(api, dataset, {"a.txt": regular, "t.parquet": large})
    info = api.dataset_info(dataset, files_metadata=True)
    files = {file.rfilename: file for file in info.siblings}
    assert files["a.txt"].blob_id == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert files["a.txt"].lfs is None
    assert files["t.parquet"].lfs.sha256 == hashlib.sha256(large).hexdigest()
    pointer = (
        "version https://git-lfs.github.com/spec/v1\n"
        f"oid sha256:{hashlib.sha256(large).hexdigest()}\nsize {len(large)}\n"
    )
    assert files["t.parquet"].blob_id == git_blob_oid(pointer.encode())


def test_a_stale_parent_is_refused_and_nothing_changes(api, dataset):
    first = commit(api, dataset, {"a.txt": b"1"})
    second = commit(api, dataset, {"a.txt": b"2"}, parent_commit=first.oid)
    with pytest.raises(HfHubHTTPError) as raised:
        commit(api, dataset, {"a.txt": b"3"}, parent_commit=first.oid)
    assert raised.value.response.status_code == 412
    assert "The branch was updated" in str(raised.value)
    assert api.dataset_info(dataset).sha == second.oid


def test_writers_that_retry_on_412_and_409_lose_no_file(api, dataset):
    def write(number):
        while True:
            head = api.dataset_info(dataset).sha
            try:
                return commit(api, dataset, {f"{number}.txt": b"x"}, parent_commit=head)
            except HfHubHTTPError as error:
                if error.response.status_code not in (409, 412):
                    raise

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    paths = {file.rfilename for file in api.dataset_info(dataset).siblings}
    assert paths == {".gitattributes", *(f"{number}.txt" for number in range(8))}
    assert len(api.list_repo_commits(dataset, repo_type="dataset")) == 9


def test_a_second_writer_in_the_same_instant_gets_409(tmp_path):
    store = HubStore(tmp_path)
    repository, _ = store.create(RepoId(RepoKind.DATASET, "org", "x"), author="me")
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with repository.writing():
            inside.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait(10)
    with (
        pytest.raises(HubError, match="Another commit operation is in progress") as raised,
        repository.writing(),
    ):
        pass
    leave.set()
    holder.join()
    assert raised.value.status == 409
    with repository.writing():
        entry = repository.objects.add_blob(b"x")
        repository.commit(MAIN, [Change("x", entry)], CommitMessage("me", "now"))


def test_files_and_folders_are_deleted(api, dataset):
    commit(api, dataset, {"a.txt": b"a", "b.txt": b"b", "folder/x/y.txt": b"y"})
    operations = [
        CommitOperationDelete("a.txt"),
        CommitOperationDelete("folder/", is_folder=True),
    ]
    api.create_commit(dataset, operations, commit_message="clean", repo_type="dataset")
    assert api.list_repo_files(dataset, repo_type="dataset") == [".gitattributes", "b.txt"]


def test_deleting_what_is_not_there_fails_as_on_the_hub(api, dataset):
    with pytest.raises(EntryNotFoundError, match="A file with this name doesn't exist"):
        api.delete_file("nope.txt", dataset, repo_type="dataset")


@pytest.mark.parametrize("path", ["../x", "a/../b", "/etc/passwd", "a//b", ".git/config", "a\\b"])
def test_paths_that_leave_the_repository_are_refused(api, dataset, path):
    lines = (
        '{"key":"header","value":{"summary":"s"}}\n'
        '{"key":"file","value":{"path":%s,"content":"","encoding":"base64"}}\n'
    )
    body = lines % json.dumps(path)
    url = f"/api/datasets/{dataset}/commit/main"
    response = request(api, "POST", url, content=body.encode())
    assert response.status_code == 400


def test_a_file_cannot_also_be_a_folder(api, dataset):
    commit(api, dataset, {"a": b"file"})
    with pytest.raises(BadRequestError):
        commit(api, dataset, {"a/b": b"inside"})


def test_an_unknown_branch_is_named(api, dataset):
    with pytest.raises(RevisionNotFoundError):
        commit(api, dataset, {"a": b"a"}, revision="nope")


def test_a_large_file_that_was_never_uploaded_cannot_be_committed(api, dataset):
    body = (
        '{"key":"header","value":{"summary":"s"}}\n'
        '{"key":"lfsFile","value":{"path":"t","algo":"sha256","oid":"%s","size":3}}\n' % ("0" * 64)
    )
    url = f"/api/datasets/{dataset}/commit/main"
    response = request(api, "POST", url, content=body.encode())
    assert response.status_code == 400
    assert "was not uploaded" in response.json()["error"]


def test_uploaded_bytes_must_have_the_promised_hash(api, dataset, sandbox):
    oid = hashlib.sha256(b"right").hexdigest()
    batch = request(
        api,
        "POST",
        f"/datasets/{dataset}.git/info/lfs/objects/batch",
        json={"operation": "upload", "transfers": ["basic"], "objects": [{"oid": oid, "size": 5}]},
    ).json()
    href = batch["objects"][0]["actions"]["upload"]["href"].removeprefix(sandbox.hub_url)
    assert request(api, "PUT", href, content=b"wrong").status_code == 400
    assert request(api, "PUT", href.replace("sig=", "sig=0"), content=b"right").status_code == 403
    assert request(api, "PUT", href, content=b"right").status_code == 200


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("---\nlicense: bogus\n---\n", '"license" must be one of'),
        ("---\na: [\n---\n", "YAML parse error"),
        ("---\ntags: x\na: 1\na: 2\n---\n", "duplicated mapping key"),
    ],
)
def test_a_card_with_invalid_metadata_is_refused_before_and_at_the_commit(
    api, dataset, card, message
):
    with pytest.raises(ValueError, match="Invalid metadata in README") as raised:
        commit(api, dataset, {"README.md": card.encode()})
    assert message in str(raised.value)


def test_reused_operations_make_a_duplicate_commit_as_on_the_hub(api, dataset, faults):
    faults.add("lost_response", method="POST", path="/commit/main$")
    operations = [CommitOperationAdd("a.txt", b"a")]

    def attempt():
        api.create_commit(dataset, operations, commit_message="m", repo_type="dataset")

    with pytest.raises(Exception, match="disconnected"):
        attempt()
    attempt()
    titles = [item.title for item in api.list_repo_commits(dataset, repo_type="dataset")]
    assert titles == ["m", "m", "initial commit"]


def test_upload_folder_is_one_commit(api, dataset, tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text(str(number))
    api.upload_folder(repo_id=dataset, folder_path=tmp_path, path_in_repo="x", repo_type="dataset")
    assert len(api.list_repo_commits(dataset, repo_type="dataset")) == 2
    assert fetch(api, dataset, "x/2.txt") == b"2"
