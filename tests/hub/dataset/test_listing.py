"""Reading back what is published: every record, pinned to its commit, or an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inferencebench_pipeline.corpus.source import HubSource
from inferencebench_pipeline.hub.client.client import (
    HubIntegrityError,
    HubNotFoundError,
    HubUnavailableError,
    Repo,
)
from inferencebench_pipeline.hub.dataset.listing import fetch_file, list_published
from inferencebench_pipeline.hub.dataset.publication import publish
from inferencebench_pipeline.runs.run_directory import RunFile
from tests.hub.conftest import World
from tests.hub.records import accept, recorded_run


def test_published_runs_are_listed_with_commit_and_card(world: World, store: Path) -> None:
    # An organisation of its own: the sandbox keeps what other tests of the session publish.
    hub = world.user("exact-owner", exact="write")
    receipts = {}
    for _ in range(2):
        run = recorded_run(store)
        receipt = publish(hub, run, organisation="exact", verify=accept, on_stage=lambda _: None)
        receipts[receipt.repo_id] = receipt
    untagged = Repo("dataset", "exact/something-else")
    hub.create(untagged)
    listed = {repo.repo_id: repo for repo in list_published(world.hub(None), "exact")}
    assert listed.keys() == receipts.keys()
    for repo_id, repo in listed.items():
        assert repo.revision == receipts[repo_id].commit
        assert repo.card["inferencebench"]["signature_verified"] is True
        assert repo.created_at <= repo.last_modified


def test_a_file_is_read_at_its_commit_and_nowhere_else(world: World, store: Path) -> None:
    hub = world.user("crawled-owner", crawled="write")
    run = recorded_run(store)
    receipt = publish(hub, run, organisation="crawled", verify=accept, on_stage=lambda _: None)
    reader = world.hub(None)
    data = fetch_file(reader, receipt.repo_id, receipt.commit, "envelope.json")
    assert data == run.read(RunFile.ENVELOPE)
    with pytest.raises(HubNotFoundError):
        fetch_file(reader, receipt.repo_id, receipt.commit, "absent.json")
    with pytest.raises(HubNotFoundError):
        fetch_file(reader, receipt.repo_id, "0" * 40, "envelope.json")
    with pytest.raises(HubIntegrityError, match="full commit id"):
        fetch_file(reader, receipt.repo_id, "main", "envelope.json")


def test_an_unknown_organisation_has_published_nothing(world: World) -> None:
    assert list(list_published(world.hub(), "nobody-at-all")) == []


def test_a_list_that_breaks_off_is_an_error(world: World) -> None:
    world.faults.add("status", path="/api/datasets$", status=502, times=None)
    with pytest.raises(HubUnavailableError):
        list(list_published(world.hub(attempts=2), "crawled"))


@pytest.mark.parametrize(
    "answer",
    [
        {"error": "x"},
        ["text"],
        [{"id": "a/b"}],
        [{"id": "a/b", "sha": "main", "createdAt": "2026-01-01T00:00:00Z"}],
        [{"id": "../../x", "sha": "0" * 40}],
    ],
)
def test_an_answer_that_is_no_list_of_repositories_is_an_error(
    world: World, answer: object
) -> None:
    world.faults.add("status", path="/api/datasets$", status=200, body=json.dumps(answer))
    with pytest.raises(HubIntegrityError):
        list(list_published(world.hub(), "crawled"))


def test_a_list_that_continues_at_another_host_does_not_get_the_token(world: World) -> None:
    link = {"Link": '<http://127.0.0.1:9/steal>; rel="next"'}
    world.faults.add("status", path="/api/datasets$", status=200, body="[]", headers=link)
    with pytest.raises(HubIntegrityError, match="another host"):
        list(list_published(world.hub(), "crawled"))


def test_a_file_that_the_list_does_not_name_costs_no_request(world: World, store: Path) -> None:
    hub = world.user("crawled-owner", crawled="write")
    run = recorded_run(store)
    receipt = publish(hub, run, organisation="crawled", verify=accept, on_stage=lambda _: None)
    source = HubSource(world.hub(None))
    listed = {repo.repo_id: repo for repo in source.listed("crawled")}
    assert listed[receipt.repo_id].files is not None
    world.faults.clear_requests()
    assert source.fetch(receipt.repo_id, receipt.commit, "telemetry.parquet") is None
    assert world.faults.requests() == []
    assert source.fetch(receipt.repo_id, receipt.commit, "traces.parquet") == run.read(
        RunFile.TRACES
    )
