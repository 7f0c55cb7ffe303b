"""Repositories: creating, naming, hiding, deleting, and who may."""

from __future__ import annotations

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from tests.sandbox.calls import commit, request
from tests.sandbox.conftest import ORGANISATION


def test_whoami_names_the_user_the_organisations_and_the_scope(api, reader):
    me = api.whoami()
    assert me["name"] == "sandbox-publisher"
    assert {org["name"] for org in me["orgs"]} == {ORGANISATION, "HuggingFaceTB"}
    assert me["auth"]["accessToken"]["role"] == "write"
    assert reader.whoami()["auth"]["accessToken"]["role"] == "read"


def test_a_created_repository_exists_until_it_is_deleted(api, new_name):
    name = new_name()
    assert not api.repo_exists(name, repo_type="dataset")
    url = api.create_repo(name, repo_type="dataset")
    assert url == f"{api.endpoint}/datasets/{name}"
    assert api.repo_exists(name, repo_type="dataset")
    assert not api.repo_exists(name, repo_type="model")
    api.delete_repo(name, repo_type="dataset")
    assert not api.repo_exists(name, repo_type="dataset")
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo(name, repo_type="dataset")


def test_creating_an_existing_repository_is_a_conflict_that_exist_ok_forgives(api, dataset):
    with pytest.raises(HfHubHTTPError) as raised:
        api.create_repo(dataset, repo_type="dataset")
    assert raised.value.response.status_code == 409
    assert "You already created this dataset repo" in str(raised.value)
    url = api.create_repo(dataset, repo_type="dataset", exist_ok=True)
    assert url.repo_id == dataset


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_every_kind_can_be_created_and_described(api, new_name, kind):
    name = new_name()
    api.create_repo(name, repo_type=kind, space_sdk="static" if kind == "space" else None)
    info = api.repo_info(name, repo_type=kind)
    assert info.id == name
    assert info.author == ORGANISATION
    assert [file.rfilename for file in info.siblings] == [".gitattributes"]


@pytest.mark.parametrize(
    "name",
    ["a--b", "a..b", "-a", "a.", ".a", "a:b", "a.git", "a b", "x" * 97, ""],
)
def test_names_the_hub_forbids_are_refused(api, name):
    body = {"name": name, "organization": ORGANISATION, "type": "dataset"}
    response = request(api, "POST", "/api/repos/create", json=body)
    assert response.status_code == 400
    assert response.headers["x-error-message"]


def test_double_underscores_and_96_characters_are_allowed(api):
    name = "model__suite__".ljust(96, "x")
    api.create_repo(f"{ORGANISATION}/{name}", repo_type="dataset")
    assert api.repo_exists(f"{ORGANISATION}/{name}", repo_type="dataset")


def test_a_private_repository_is_absent_to_strangers(api, reader, anonymous, new_name):
    name = new_name()
    api.create_repo(name, repo_type="dataset", private=True)
    assert reader.dataset_info(name).private is True
    with pytest.raises(RepositoryNotFoundError):
        anonymous.dataset_info(name)
    listed = [item.id for item in anonymous.list_datasets(author=ORGANISATION)]
    assert name not in listed
    assert name in [item.id for item in reader.list_datasets(author=ORGANISATION)]


def test_a_repository_can_be_hidden_and_shown_again(api, reader, anonymous, dataset):
    api.update_repo_settings(dataset, repo_type="dataset", visibility="private")
    assert not anonymous.repo_exists(dataset, repo_type="dataset")
    with pytest.raises(HfHubHTTPError):
        reader.update_repo_settings(dataset, repo_type="dataset", visibility="public")
    api.update_repo_settings(dataset, repo_type="dataset", visibility="public")
    assert anonymous.repo_exists(dataset, repo_type="dataset")


def test_a_read_token_cannot_write(api, reader, dataset, new_name):
    for attempt in (
        lambda: reader.create_repo(new_name(), repo_type="dataset"),
        lambda: commit(reader, dataset, {"a.txt": b"a"}),
        lambda: reader.delete_repo(dataset, repo_type="dataset"),
        lambda: reader.create_discussion(dataset, "t", repo_type="dataset"),
    ):
        with pytest.raises(HfHubHTTPError) as raised:
            attempt()
        assert raised.value.response.status_code == 403
        assert "write token" in str(raised.value)
    assert api.repo_exists(dataset, repo_type="dataset")


def test_a_foreign_namespace_cannot_be_written_to(api):
    with pytest.raises(HfHubHTTPError) as raised:
        api.create_repo("somebody-else/x", repo_type="dataset")
    assert raised.value.response.status_code == 403
    assert 'under the namespace "somebody-else"' in str(raised.value)


def test_a_bad_token_is_refused_everywhere(sandbox):
    api = HfApi(endpoint=sandbox.hub_url, token="hf_wrong")
    for attempt in (api.whoami, lambda: api.model_info("HuggingFaceTB/SmolLM2-135M-Instruct")):
        with pytest.raises(HfHubHTTPError) as raised:
            attempt()
        assert raised.value.response.status_code == 401


def test_without_a_token_nothing_can_be_written(anonymous, dataset):
    with pytest.raises(HfHubHTTPError) as raised:
        commit(anonymous, dataset, {"a.txt": b"a"})
    assert raised.value.response.status_code == 401


def test_a_new_user_gets_a_token_for_exactly_their_namespaces(sandbox, api, dataset):
    user = {"name": "stranger", "organisations": {"their-org": "write", ORGANISATION: "read"}}
    assert request(api, "POST", "/_sandbox/users", json=user).status_code == 200
    issued = request(api, "POST", "/_sandbox/tokens", json={"user": "stranger", "role": "write"})
    stranger = HfApi(endpoint=sandbox.hub_url, token=issued.json()["token"])
    stranger.create_repo("their-org/own", repo_type="dataset", exist_ok=True)
    with pytest.raises(HfHubHTTPError) as raised:
        commit(stranger, dataset, {"a.txt": b"a"})
    assert raised.value.response.status_code == 403
    assert "create_pr=1" in str(raised.value)


def test_token_files_are_private(sandbox):
    for role in ("read", "write"):
        mode = (sandbox.state / "hub/tokens" / role).stat().st_mode
        assert mode & 0o777 == 0o600
        assert sandbox.token(role) not in (sandbox.state / "hub/identities.json").read_text()


def test_the_seeded_model_has_a_card_with_awkward_yaml(api):
    info = api.model_info("HuggingFaceTB/SmolLM2-135M-Instruct")
    assert info.card_data["language"] == ["en", "no"]
    assert info.card_data["trained_at"] == "12:30:45"
    assert "language:no" in info.tags
