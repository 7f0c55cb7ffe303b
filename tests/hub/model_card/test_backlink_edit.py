"""The model-card backlink: one key, nothing else, by commit or by one polite pull request."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from huggingface_hub import HfApi

from inferencebench_pipeline.hub.client.client import (
    Hub,
    HubPermissionError,
    HubUnavailableError,
    Repo,
)
from inferencebench_pipeline.hub.dataset.publication import publish
from inferencebench_pipeline.hub.dataset.receipt import Receipt
from inferencebench_pipeline.hub.model_card.backlink_edit import (
    KEY,
    PROPOSAL,
    BacklinkReceipt,
    LinkPolicy,
    backlink,
    check_backlink,
    compare_cards,
    skip_backlink,
)
from inferencebench_pipeline.hub.model_card.front_matter import get_key, remove_key
from inferencebench_pipeline.runs.run_directory import (
    MissingRunFileError,
    RunDirectory,
    RunFile,
    new_run_id,
)
from tests.hub.conftest import ORGANISATION, World
from tests.hub.records import MODEL, accept, recorded_run

ALLOWED = LinkPolicy(pull_requests=True)
CARD = b"""---
license: other
# languages; `no` is Norwegian
language: [en, no]
version: 1.10
---
# A model

Visible text.
"""


@pytest.fixture
def ours(world: World) -> Repo:
    """A model of an organisation that our account may write in."""
    return world.put_model(world.hub(), f"{ORGANISATION}/m-{new_run_id()}", CARD)


@pytest.fixture
def theirs(world: World) -> Repo:
    """A model of somebody else."""
    return world.put_model(world.user("somebody"), f"somebody/m-{new_run_id()}", CARD)


def published(world: World, store: Path, model: Repo) -> RunDirectory:
    """Return the directory of a published run of that model."""
    run = recorded_run(store, model=model.id)
    publish(world.hub(), run, organisation=ORGANISATION, verify=accept, on_stage=lambda _: None)
    world.faults.clear_requests()
    return run


def card_of(hub: Hub, model: Repo, revision: str = "main") -> bytes:
    head = hub.head(model, revision)
    assert head.commit is not None
    return hub.fetch(model, head.commit, "README.md")


def our_pull_requests(world: World, model: Repo) -> list[str]:
    return [
        pull.status for pull in world.hub().pull_requests(model) if pull.title == PROPOSAL.title
    ]


def test_our_own_card_gets_the_key_and_no_other_byte(world: World, store: Path, ours: Repo) -> None:
    run = published(world, store, ours)
    receipt = backlink(world.hub(), run, ALLOWED)
    card = card_of(world.hub(), ours)
    assert receipt.mode == "commit"
    assert receipt.url == f"{world.url}/{ours.id}"
    assert BacklinkReceipt.model_validate_json(run.read(RunFile.BACKLINK)) == receipt
    url = Receipt.model_validate_json(run.read(RunFile.PUBLICATION)).url
    (entry,) = get_key(card, KEY)
    assert set(entry) == {"url", "suite", "date", "fingerprint_sha256"}
    assert (entry["url"], str(entry["date"])) == (url, "2026-05-15")
    added = card[card.index(KEY.encode()) : card.index(b"---\n# A model")]
    assert card.replace(added, b"") == CARD
    assert check_backlink(world.hub(), receipt) is None


def test_the_delicate_card_every_sandbox_starts_with_keeps_its_bytes(
    world: World, store: Path
) -> None:
    model = Repo("model", MODEL)
    before = card_of(world.hub(), model)
    receipt = backlink(world.hub(), published(world, store, model), ALLOWED)
    after = card_of(world.hub(), model)
    assert receipt.mode == "commit"
    assert remove_key(after, KEY) == remove_key(before, KEY)
    assert check_backlink(world.hub(), receipt) is None


def test_linking_twice_lists_once(world: World, store: Path, ours: Repo) -> None:
    run = published(world, store, ours)
    backlink(world.hub(), run, ALLOWED)
    card = card_of(world.hub(), ours)
    again = backlink(world.hub(), run, ALLOWED)
    assert again.reason == "the entry is in the card already"
    assert card_of(world.hub(), ours) == card
    assert check_backlink(world.hub(), again) is None


def test_a_second_run_is_added_below_the_first(world: World, store: Path, ours: Repo) -> None:
    first, second = published(world, store, ours), published(world, store, ours)
    backlink(world.hub(), first, ALLOWED)
    receipt = backlink(world.hub(), second, ALLOWED)
    urls = [
        Receipt.model_validate_json(run.read(RunFile.PUBLICATION)).url for run in (first, second)
    ]
    assert [item["url"] for item in get_key(card_of(world.hub(), ours), KEY)] == urls
    assert check_backlink(world.hub(), receipt) is None


def test_a_card_that_moves_meanwhile_keeps_both_changes(
    world: World, store: Path, ours: Repo
) -> None:
    run = published(world, store, ours)
    world.faults.add(
        "status", method="POST", path="/commit/", status=412, body="The branch was updated"
    )
    receipt = backlink(world.hub(), run, ALLOWED)
    assert receipt.mode == "commit"
    assert check_backlink(world.hub(), receipt) is None


def test_a_lost_response_links_once(world: World, store: Path, ours: Repo) -> None:
    run = published(world, store, ours)
    world.faults.add("lost_response", method="POST", path="/commit/", times=1)
    receipt = backlink(world.hub(), run, ALLOWED)
    assert len(get_key(card_of(world.hub(), ours), KEY)) == 1
    assert check_backlink(world.hub(), receipt) is None


def test_somebody_elses_card_gets_a_pull_request(world: World, store: Path, theirs: Repo) -> None:
    run = published(world, store, theirs)
    receipt = backlink(world.hub(), run, ALLOWED)
    (pull,) = world.hub().pull_requests(theirs)
    assert (receipt.mode, pull.status) == ("pull_request", "open")
    assert receipt.url == f"{world.url}/{theirs.id}/discussions/{pull.number}"
    assert card_of(world.hub(), theirs) == CARD
    assert len(get_key(card_of(world.hub(), theirs, pull.ref), KEY)) == 1
    assert check_backlink(world.hub(), receipt) is None


def test_further_runs_go_into_the_open_pull_request(
    world: World, store: Path, theirs: Repo
) -> None:
    for _ in range(3):
        backlink(world.hub(), published(world, store, theirs), ALLOWED)
    (pull,) = world.hub().pull_requests(theirs)
    assert len(get_key(card_of(world.hub(), theirs, pull.ref), KEY)) == 3


def test_repeating_a_pull_request_changes_nothing(world: World, store: Path, theirs: Repo) -> None:
    run = published(world, store, theirs)
    first, second = backlink(world.hub(), run, ALLOWED), backlink(world.hub(), run, ALLOWED)
    assert first.url == second.url
    assert second.commit == first.commit
    assert our_pull_requests(world, theirs) == ["open"]


@pytest.mark.parametrize("kind", ["lost_response", "drop"])
@pytest.mark.parametrize("path", ["/discussions$", "/commit/", "/status$"])
def test_a_lost_response_opens_one_pull_request(
    world: World, store: Path, theirs: Repo, kind: str, path: str
) -> None:
    run = published(world, store, theirs)
    fault = world.faults.add(kind, method="POST", path=path, times=1)
    receipt = backlink(world.hub(), run, ALLOWED)
    assert world.faults.fired(fault) == 1
    assert our_pull_requests(world, theirs) == ["open"]
    assert check_backlink(world.hub(), receipt) is None


def test_a_draft_left_by_a_crash_is_finished(world: World, store: Path, theirs: Repo) -> None:
    run = published(world, store, theirs)
    world.hub().open_draft(theirs, title=PROPOSAL.title, description="left behind")
    backlink(world.hub(), run, ALLOWED)
    assert our_pull_requests(world, theirs) == ["open"]


def test_a_list_that_cannot_be_read_opens_nothing(world: World, store: Path, theirs: Repo) -> None:
    run = published(world, store, theirs)
    world.faults.add("status", method="GET", path="/discussions", status=503, times=None)
    with pytest.raises(HubUnavailableError):
        backlink(world.hub(attempts=2), run, ALLOWED)
    assert not world.faults.requests(method="POST", path="/discussions")
    assert not run.has(RunFile.BACKLINK)


def test_an_owner_who_closed_it_is_not_asked_again(world: World, store: Path, theirs: Repo) -> None:
    backlink(world.hub(), published(world, store, theirs), ALLOWED)
    (pull,) = world.hub().pull_requests(theirs)
    owner = world.user("somebody")
    HfApi(endpoint=owner.endpoint).change_discussion_status(
        theirs.id, pull.number, "closed", token=owner._token()
    )
    receipt = backlink(world.hub(), published(world, store, theirs), ALLOWED)
    assert receipt.mode == "skipped"
    assert "closed our pull request" in (receipt.reason or "")
    assert our_pull_requests(world, theirs) == ["closed"]


def test_a_merged_entry_is_not_proposed_again(world: World, store: Path, theirs: Repo) -> None:
    run = published(world, store, theirs)
    backlink(world.hub(), run, ALLOWED)
    (pull,) = world.hub().pull_requests(theirs)
    owner = world.user("somebody")
    HfApi(endpoint=owner.endpoint).merge_pull_request(theirs.id, pull.number, token=owner._token())
    receipt = backlink(world.hub(), run, ALLOWED)
    assert receipt.reason == "the entry is in the card already"
    assert our_pull_requests(world, theirs) == ["merged"]
    assert check_backlink(world.hub(), receipt) is None


def test_a_strangers_pull_request_of_the_same_title_is_not_ours(
    world: World, store: Path, theirs: Repo
) -> None:
    world.user("impostor").open_draft(theirs, title=PROPOSAL.title, description="x")
    backlink(world.hub(), published(world, store, theirs), ALLOWED)
    authors = {pull.author for pull in world.hub().pull_requests(theirs)}
    assert authors == {"impostor", "sandbox-publisher"}


def test_what_others_listed_stays_as_they_wrote_it(world: World, store: Path) -> None:
    card = CARD.replace(
        b"version: 1.10\n",
        b"inferencebench-verified:\n  - url: https://elsewhere/x   # theirs\n    note: 1.10\n"
        b"version: 1.10\n",
    )
    model = world.put_model(world.hub(), f"{ORGANISATION}/m-{new_run_id()}", card)
    receipt = backlink(world.hub(), published(world, store, model), ALLOWED)
    after = card_of(world.hub(), model)
    assert b"  - url: https://elsewhere/x   # theirs\n    note: 1.10\n  - url: http" in after
    assert len(get_key(after, KEY)) == 2
    assert check_backlink(world.hub(), receipt) is None


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("nobody/has-this", "no such model"),
        ("gpt-4", "not that of a repository"),
        ("ollama:llama3:70b", "not that of a repository"),
        ("/models/local.gguf", "not that of a repository"),
    ],
)
def test_a_model_that_is_not_on_the_hub_is_skipped(
    world: World, store: Path, model: str, reason: str
) -> None:
    receipt = backlink(world.hub(), published(world, store, Repo("model", model)), ALLOWED)
    assert receipt.mode == "skipped"
    assert reason in (receipt.reason or "")
    assert check_backlink(world.hub(), receipt) is None


def test_a_model_without_a_card_is_skipped(world: World, store: Path) -> None:
    model = world.put_model(world.hub(), f"{ORGANISATION}/m-{new_run_id()}", None)
    assert "no card" in (
        backlink(world.hub(), published(world, store, model), ALLOWED).reason or ""
    )


def test_a_card_that_cannot_be_edited_is_skipped_without_a_pull_request(
    world: World, store: Path
) -> None:
    model = world.put_model(
        world.user("somebody"),
        f"somebody/m-{new_run_id()}",
        b"---\n{license: mit, tags: [x]}\n---\n# flow\n",
    )
    receipt = backlink(world.hub(), published(world, store, model), ALLOWED)
    assert receipt.mode == "skipped"
    assert "one 'key: value' per line" in (receipt.reason or "")
    assert not world.hub().pull_requests(model)


def test_a_card_without_front_matter_gets_one(world: World, store: Path) -> None:
    model = world.put_model(world.hub(), f"{ORGANISATION}/m-{new_run_id()}", b"# Only text\n")
    receipt = backlink(world.hub(), published(world, store, model), ALLOWED)
    assert card_of(world.hub(), model).endswith(b"---\n# Only text\n")
    assert check_backlink(world.hub(), receipt) is None


def test_a_read_token_links_nothing(world: World, store: Path, ours: Repo) -> None:
    run = published(world, store, ours)
    with pytest.raises(HubPermissionError, match="write access"):
        backlink(world.hub("read"), run, ALLOWED)
    assert card_of(world.hub(), ours) == CARD


def test_an_unpublished_run_cannot_be_linked(world: World, store: Path) -> None:
    with pytest.raises(MissingRunFileError):
        backlink(world.hub(), recorded_run(store), ALLOWED)


def test_skipping_is_recorded_with_its_reason(world: World, store: Path) -> None:
    run = recorded_run(store)
    receipt = skip_backlink(run, "not asked for")
    assert (receipt.mode, receipt.reason) == ("skipped", "not asked for")
    assert BacklinkReceipt.model_validate_json(run.read(RunFile.BACKLINK)) == receipt
    assert check_backlink(world.hub(), receipt) is None


URL = "https://hub/datasets/a/b"
LINKED = CARD.replace(b"---\n# A", f"{KEY}:\n- url: {URL}\n---\n# A".encode())


@pytest.mark.parametrize(
    ("after", "problem"),
    [
        (LINKED, None),
        (CARD, "0 times"),
        (LINKED.replace(b"Visible", b"visible"), "outside the lines"),
        (LINKED.replace(b"1.10", b"1.1"), "outside the lines"),
        (LINKED.replace(b"# languages", b"# Languages"), "outside the lines"),
        (LINKED.replace(b"\n---\n# A", f"\n- url: {URL}\n---\n# A".encode()), "2 times"),
        (LINKED.replace(b"license", b"\xff"), "cannot be read"),
        (LINKED + b"\n", "outside the lines"),
    ],
)
def test_the_check_finds_every_other_change(after: bytes, problem: str | None) -> None:
    found = compare_cards(CARD, after, URL)
    assert found is None if problem is None else found is not None and problem in found


def test_the_check_finds_a_lost_entry_of_others() -> None:
    before = CARD.replace(b"---\n# A", f"{KEY}:\n- url: x\n---\n# A".encode())
    assert "changed or lost" in (compare_cards(before, LINKED, URL) or "")


def test_the_linked_card_is_yaml_with_the_same_other_values() -> None:
    front = yaml.safe_load(LINKED.split(b"---\n")[1])
    assert front.pop(KEY) == [{"url": URL}]
    assert front == yaml.safe_load(CARD.split(b"---\n")[1])
