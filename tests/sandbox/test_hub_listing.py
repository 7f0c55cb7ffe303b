"""Listing repositories: filters, order, pages."""

from __future__ import annotations

import pytest
from huggingface_hub.utils import build_hf_headers, paginate

from tests.sandbox.calls import commit, request


def card(*tags: str) -> bytes:
    return f"---\ntags: [{', '.join(tags)}]\ninferencebench: {{n: 1}}\n---\n".encode()


@pytest.fixture
def three(api, new_name) -> list[str]:
    """Three datasets that share a tag nobody else has."""
    names = [new_name() for _ in range(3)]
    tag = f"shelf-{names[0].rsplit('-', 1)[1]}"
    for number, name in enumerate(names):
        api.create_repo(name, repo_type="dataset")
        commit(api, name, {"README.md": card(tag, f"n{number}")})
    return [tag, *names]


def test_every_filter_must_hold(api, three):
    tag, *names = three
    both = [item.id for item in api.list_datasets(filter=[tag, "n1"])]
    assert both == [names[1]]
    assert {item.id for item in api.list_datasets(filter=tag)} == set(names)
    assert list(api.list_datasets(filter=[tag, "n1", "n2"])) == []


def test_author_and_search_narrow_the_list(api, three):
    tag, *names = three
    short = names[0].split("/")[1]
    assert names[0] in [item.id for item in api.list_datasets(filter=tag, search=short)]
    assert list(api.list_datasets(filter=tag, author="nobody")) == []
    models = [item.id for item in api.list_models(author="HuggingFaceTB")]
    assert "HuggingFaceTB/SmolLM2-135M-Instruct" in models


def test_lists_hold_card_and_commit_only_when_asked(api, three):
    tag = three[0]
    plain = next(iter(api.list_datasets(filter=tag)))
    assert plain.card_data is None
    assert plain.sha is None
    assert plain.last_modified is not None
    full = next(iter(api.list_datasets(filter=tag, full=True)))
    assert full.card_data["inferencebench"] == {"n": 1}
    assert [file.rfilename for file in full.siblings] == [".gitattributes", "README.md"]
    expanded = next(iter(api.list_datasets(filter=tag, expand=["cardData", "sha", "lastModified"])))
    assert expanded.sha == full.sha
    assert expanded.card_data["inferencebench"] == {"n": 1}
    assert expanded.tags is None


def test_newest_comes_first_by_creation_or_by_change(api, three):
    tag, *names = three
    created = [item.id for item in api.list_datasets(filter=tag, sort="created_at")]
    assert created == names[::-1]
    commit(api, names[0], {"x": b"x"})
    changed = [item.id for item in api.list_datasets(filter=tag, sort="last_modified")]
    assert changed[0] == names[0]
    url = f"/api/datasets?filter={tag}&sort=createdAt&direction=1"
    assert [item["id"] for item in request(api, "GET", url).json()] == names


def test_an_unknown_order_is_refused(api):
    assert request(api, "GET", "/api/datasets?sort=color").status_code == 400


def test_pages_are_linked_and_stable_while_repositories_appear(api, three, new_name):
    tag, *names = three
    pages = paginate(
        f"{api.endpoint}/api/datasets",
        params={"filter": [tag], "limit": 2, "sort": "createdAt"},
        headers=build_hf_headers(token=api.token),
    )
    seen = [next(pages)["id"]]
    latecomer = new_name()
    api.create_repo(latecomer, repo_type="dataset")
    commit(api, latecomer, {"README.md": card(tag)})
    seen += [item["id"] for item in pages]
    assert seen == names[::-1]


def test_following_pages_keeps_every_filter(api, three):
    tag = three[0]
    url = f"/api/datasets?filter={tag}&filter=inferencebench&limit=1&expand=sha"
    response = request(api, "GET", url)
    assert response.json() == []
    response = request(api, "GET", f"/api/datasets?filter={tag}&limit=1&expand=sha&expand=tags")
    link = response.headers["link"]
    assert link.count("expand=") == 2
    assert f"filter={tag}" in link
    assert 'rel="next"' in link
