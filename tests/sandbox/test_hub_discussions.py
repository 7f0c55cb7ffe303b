"""Discussions and pull requests."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from tests.sandbox.calls import commit, fetch, request


@pytest.fixture
def stranger(sandbox, api) -> HfApi:
    request(api, "POST", "/_sandbox/users", json={"name": "passer-by"})
    issued = request(api, "POST", "/_sandbox/tokens", json={"user": "passer-by", "role": "write"})
    return HfApi(endpoint=sandbox.hub_url, token=issued.json()["token"])


def details(api, repo_id, num):
    return api.get_discussion_details(repo_id, num, repo_type="dataset")


def test_a_stranger_proposes_a_change_and_the_owner_merges_it(api, stranger, dataset):
    before = api.dataset_info(dataset).sha
    made = commit(
        stranger, dataset, {"x.txt": b"x"}, create_pr=True, commit_message="Add x",
        commit_description="because",
    )  # fmt: skip
    assert made.pr_num == 1
    assert made.pr_revision == "refs/pr/1"
    assert api.dataset_info(dataset).sha == before
    found = details(api, dataset, 1)
    assert (found.title, found.author, found.status) == ("Add x", "passer-by", "open")
    assert found.target_branch == "refs/heads/main"
    assert found.conflicting_files == []
    assert [event.type for event in found.events] == ["comment", "commit"]
    with pytest.raises(HfHubHTTPError) as raised:
        stranger.merge_pull_request(dataset, 1, repo_type="dataset")
    assert raised.value.response.status_code == 403
    api.merge_pull_request(dataset, 1, repo_type="dataset")
    assert fetch(api, dataset, "x.txt") == b"x"
    merged = details(api, dataset, 1)
    assert merged.status == "merged"
    assert merged.merge_commit_oid == api.dataset_info(dataset).sha


def test_its_author_pushes_to_their_own_request_only(api, stranger, dataset):
    commit(stranger, dataset, {"x.txt": b"x"}, create_pr=True)
    commit(stranger, dataset, {"y.txt": b"y"}, revision="refs/pr/1")
    assert fetch(api, dataset, "y.txt", "refs%2Fpr%2F1") == b"y"
    commit(api, dataset, {"z.txt": b"z"}, create_pr=True)
    with pytest.raises(HfHubHTTPError) as raised:
        commit(stranger, dataset, {"y.txt": b"y"}, revision="refs/pr/2")
    assert raised.value.response.status_code == 403
    with pytest.raises(HfHubHTTPError) as raised:
        commit(stranger, dataset, {"y.txt": b"y"})
    assert "create_pr=1" in str(raised.value)


def test_requests_opened_without_changes_are_drafts_that_open_lists_leave_out(api, dataset):
    draft = api.create_pull_request(dataset, title="later", repo_type="dataset")
    assert draft.status == "draft"
    talk = api.create_discussion(dataset, "a question", description="?", repo_type="dataset")
    assert talk.status == "open"
    assert not talk.is_pull_request

    def listed(**filters):
        found = api.get_repo_discussions(dataset, repo_type="dataset", **filters)
        return [discussion.num for discussion in found]

    assert listed() == [2, 1]
    assert listed(discussion_status="open") == [2]
    assert listed(discussion_type="pull_request") == [1]
    assert listed(discussion_type="discussion") == [2]
    assert listed(discussion_type="pull_request", discussion_status="open") == []
    api.change_discussion_status(dataset, 1, "open", repo_type="dataset")
    assert listed(discussion_type="pull_request", discussion_status="open") == [1]


def test_lists_are_paged_and_filtered_by_author(api, stranger, dataset, faults):
    for number in range(21):
        api.create_discussion(dataset, f"topic {number}", repo_type="dataset")
    stranger.create_discussion(dataset, "from outside", repo_type="dataset")
    faults.clear_requests()
    found = list(api.get_repo_discussions(dataset, repo_type="dataset"))
    assert [item.num for item in found] == list(range(22, 0, -1))
    assert len(faults.requests(path="/discussions$")) == 2
    theirs = list(api.get_repo_discussions(dataset, repo_type="dataset", author="passer-by"))
    assert [item.title for item in theirs] == ["from outside"]


def test_comments_titles_and_status_leave_events(api, dataset):
    commit(api, dataset, {"x.txt": b"x"}, create_pr=True)
    said = api.comment_discussion(dataset, 1, "hello", repo_type="dataset")
    assert said.content == "hello"
    renamed = api.rename_discussion(dataset, 1, "better", repo_type="dataset")
    assert renamed.new_title == "better"
    closed = api.change_discussion_status(dataset, 1, "closed", comment="dup", repo_type="dataset")
    assert closed.new_status == "closed"
    found = details(api, dataset, 1)
    assert found.title == "better"
    assert [event.type for event in found.events] == [
        "comment",
        "commit",
        "comment",
        "title-change",
        "comment",
        "status-change",
    ]
    with pytest.raises(HfHubHTTPError):
        api.merge_pull_request(dataset, 1, repo_type="dataset")


def test_a_conflict_is_shown_and_not_merged(api, dataset):
    commit(api, dataset, {"x.txt": b"theirs"}, create_pr=True)
    commit(api, dataset, {"x.txt": b"ours"})
    assert details(api, dataset, 1).conflicting_files == ["x.txt"]
    with pytest.raises(HfHubHTTPError) as raised:
        api.merge_pull_request(dataset, 1, repo_type="dataset")
    assert raised.value.response.status_code == 409
    assert fetch(api, dataset, "x.txt") == b"ours"


def test_a_request_based_on_an_older_commit_keeps_what_came_since(api, dataset):
    old = commit(api, dataset, {"a.txt": b"a"})
    commit(api, dataset, {"b.txt": b"b"})
    commit(api, dataset, {"c.txt": b"c"}, create_pr=True, parent_commit=old.oid)
    api.merge_pull_request(dataset, 1, repo_type="dataset")
    paths = api.list_repo_files(dataset, repo_type="dataset")
    assert paths == [".gitattributes", "a.txt", "b.txt", "c.txt"]


def test_an_unknown_discussion_is_not_found(api, dataset):
    with pytest.raises(HfHubHTTPError) as raised:
        details(api, dataset, 99)
    assert raised.value.response.status_code == 404


def test_the_module_level_helper_opens_a_request_under_the_sandbox_environment(api, sandbox):
    model = "HuggingFaceTB/SmolLM2-135M-Instruct"
    # It ignores HfApi's endpoint: only the environment at import counts.
    script = (
        "from huggingface_hub import metadata_update\n"
        f"print(metadata_update({model!r}, {{'x-checked': ['yes']}}, create_pr=True).pr_num)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | sandbox.environ,
        check=True,
        capture_output=True,
        text=True,
    )
    number = int(answer.stdout)
    assert api.get_discussion_details(model, number).is_pull_request
    card = request(api, "GET", f"/{model}/resolve/refs%2Fpr%2F{number}/README.md").text
    assert "x-checked" in card
    assert "x-checked" not in request(api, "GET", f"/{model}/resolve/main/README.md").text
