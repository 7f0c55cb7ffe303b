"""A takedown removes what is ours from other people's cards, and nothing brings it back."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import HfApi

from inferencebench_pipeline.hub.client.client import Repo
from inferencebench_pipeline.hub.client.errors import HubIntegrityError, HubUnavailableError
from inferencebench_pipeline.hub.dataset.listing import list_published
from inferencebench_pipeline.hub.model_card.backlink_edit import (
    KEY,
    PROPOSAL,
    LinkPolicy,
    backlink,
)
from inferencebench_pipeline.hub.model_card.front_matter import get_key
from inferencebench_pipeline.hub.takedowns.public_register import index_repo, known_takedowns
from inferencebench_pipeline.hub.takedowns.register import (
    REGISTER_FILE,
    Takedown,
    TakedownError,
    Takedowns,
    load_takedowns,
)
from inferencebench_pipeline.runs.run_directory import new_run_id
from inferencebench_pipeline.takedown.takedown import REMOVAL, take_down
from tests.hub.conftest import ORGANISATION, World
from tests.hub.model_card.test_backlink_edit import ALLOWED, CARD, card_of, published


def asked(world: World, root: Path, target: str, stages: list[str] | None = None) -> Takedown:
    return take_down(
        world.hub(),
        root,
        target=target,
        reason="we do not want third-party metadata",
        requested_by="the author",
        organisation=ORGANISATION,
        on_stage=(lambda _: None) if stages is None else stages.append,
    )


def own_model(world: World, card: bytes = CARD) -> Repo:
    return world.put_model(world.hub(), f"{ORGANISATION}/m-{new_run_id()}", card)


def test_our_item_goes_and_the_card_is_what_it_was(world: World, store: Path) -> None:
    model = own_model(world)
    for _ in range(2):
        backlink(world.hub(), published(world, store, model), ALLOWED)
    assert len(get_key(card_of(world.hub(), model), KEY)) == 2
    done = asked(world, store, model.id)
    assert card_of(world.hub(), model) == CARD
    assert done.carried_out_at is not None
    assert "2 links removed in commit" in done.outcome[0]


def test_items_of_others_stay_as_they_wrote_them(world: World, store: Path) -> None:
    theirs = b"inferencebench-verified:\n- url: https://elsewhere/x   # theirs\n  note: 1.10\n"
    card = CARD.replace(b"---\n# A", theirs + b"---\n# A")
    model = own_model(world, card)
    backlink(world.hub(), published(world, store, model), ALLOWED)
    asked(world, store, model.id)
    assert card_of(world.hub(), model) == card


def test_our_open_pull_request_is_closed_with_a_word(world: World, store: Path) -> None:
    model = world.put_model(world.user("somebody"), f"somebody/m-{new_run_id()}", CARD)
    backlink(world.hub(), published(world, store, model), ALLOWED)
    world.user("stranger").open_draft(model, title=PROPOSAL.title, description="not ours")
    asked(world, store, model.id)
    status = {pull.author: pull.status for pull in world.hub().pull_requests(model)}
    assert status == {"sandbox-publisher": "closed", "stranger": "draft"}
    number = min(pull.number for pull in world.hub().pull_requests(model))
    hub = world.hub()
    events = (
        HfApi(endpoint=hub.endpoint)
        .get_discussion_details(model.id, number, token=hub._token())
        .events
    )
    assert any("asked not to link" in str(getattr(event, "content", "")) for event in events)
    assert card_of(world.hub(), model) == CARD


def test_nothing_links_again(world: World, store: Path) -> None:
    model = own_model(world)
    run = published(world, store, model)
    backlink(world.hub(), run, ALLOWED)
    asked(world, store, model.id)
    world.faults.clear_requests()
    policy = LinkPolicy(pull_requests=True, takedowns=load_takedowns(store))
    for again in (run, published(world, store, model)):
        world.faults.clear_requests()
        receipt = backlink(world.hub(), again, policy)
        assert receipt.mode == "skipped"
        assert "taken down" in (receipt.reason or "")
        assert not world.faults.requests()
    assert card_of(world.hub(), model) == CARD


def test_an_organisation_is_taken_down_with_all_its_models(world: World, store: Path) -> None:
    name = f"org-{new_run_id()[-12:]}"
    owner = world.user("owner-of-many", **{name: "write"})
    models = [world.put_model(owner, f"{name}/m{index}", CARD) for index in range(3)]
    for model in models:
        backlink(world.hub(), published(world, store, model), ALLOWED)
    merged = world.hub().pull_requests(models[0])[0]
    HfApi(endpoint=owner.endpoint).merge_pull_request(
        models[0].id, merged.number, token=owner._token()
    )
    done = asked(world, store, name)
    assert any(f"{models[0].id}: pull request 2 removes 1 link;" in line for line in done.outcome)
    assert done.carried_out_at is None
    removal = world.hub().pull_requests(models[0])[0]
    assert (removal.title, removal.status) == (REMOVAL.title, "open")
    assert card_of(world.hub(), models[0], removal.ref) == CARD
    assert load_takedowns(store).covering(models[0].id) is not None
    HfApi(endpoint=owner.endpoint).merge_pull_request(
        models[0].id, removal.number, token=owner._token()
    )
    assert asked(world, store, name).carried_out_at is not None
    for model in models[1:]:
        assert [pull.status for pull in world.hub().pull_requests(model)] == ["closed"]
    assert load_takedowns(store).covering(f"{name}/never-seen") is not None
    assert load_takedowns(store).covering(f"{name}-other/model") is None


def test_asking_twice_changes_nothing_and_keeps_the_first_date(world: World, store: Path) -> None:
    model = own_model(world)
    backlink(world.hub(), published(world, store, model), ALLOWED)
    first = asked(world, store, model.id)
    world.faults.clear_requests()
    second = asked(world, store, model.id.upper())
    assert not world.faults.requests(method="POST|PUT|DELETE")
    assert second.requested_at == first.requested_at
    assert len(load_takedowns(store).takedowns) == 1


def test_another_machine_of_ours_reads_the_public_register(
    world: World, store: Path, tmp_path: Path
) -> None:
    model = own_model(world)
    asked(world, store, model.id)
    elsewhere = tmp_path / "elsewhere"
    takedowns = known_takedowns(world.hub(), elsewhere, ORGANISATION)
    listed = takedowns.covering(model.id)
    assert listed == load_takedowns(store).of(model.id)
    receipt = backlink(
        world.hub(), published(world, elsewhere, model), LinkPolicy(takedowns=takedowns)
    )
    assert receipt.mode == "skipped"


def test_anyone_may_read_who_asked_and_what_was_done(world: World, store: Path) -> None:
    done = asked(world, store, "nobody/gone")
    stranger = world.hub(None)
    head = stranger.head(index_repo(ORGANISATION))
    public = Takedowns.model_validate_json(
        stranger.read(index_repo(ORGANISATION), head, REGISTER_FILE)
    )
    assert public.of("nobody/gone") == done
    assert index_repo(ORGANISATION).id not in {
        repo.repo_id for repo in list_published(stranger, ORGANISATION)
    }


def test_a_public_register_that_cannot_be_read_links_nothing(world: World, store: Path) -> None:
    model = own_model(world)
    asked(world, store, model.id)
    world.faults.add("corrupt", path=f"/resolve/.*{REGISTER_FILE}", times=None)
    with pytest.raises(HubIntegrityError, match="lists another"):
        known_takedowns(world.hub(), store, ORGANISATION)


@pytest.mark.parametrize("path", ["/discussions", "whoami", "/resolve/", "/commit/"])
def test_a_takedown_cut_off_is_in_force_and_finished_by_the_next(
    world: World, store: Path, path: str
) -> None:
    model = own_model(world)
    backlink(world.hub(), published(world, store, model), ALLOWED)
    world.faults.add("status", path=path, status=503, times=None)
    with pytest.raises(HubUnavailableError):
        take_down(
            world.hub(attempts=2),
            store,
            target=model.id,
            reason="r",
            requested_by="x",
            organisation=ORGANISATION,
            on_stage=lambda _: None,
        )
    recorded = load_takedowns(store).of(model.id)
    assert recorded is not None
    assert recorded.carried_out_at is None
    world.faults.clear()
    assert asked(world, store, model.id).carried_out_at is not None
    assert card_of(world.hub(), model) == CARD


def test_a_model_that_is_gone_is_recorded_all_the_same(world: World, store: Path) -> None:
    done = asked(world, store, "nobody/gone")
    assert "not on the Hub" in done.outcome[0]
    assert load_takedowns(store).covering("nobody/gone") is not None


@pytest.mark.parametrize("target", ["", "a/b/c", "-x", "a b", "../etc"])
def test_a_target_that_is_none_is_refused_before_anything_is_done(
    world: World, store: Path, target: str
) -> None:
    with pytest.raises(TakedownError, match="target"):
        asked(world, store, target)
    assert not (store / REGISTER_FILE).exists()
    assert not world.faults.requests()


def test_a_damaged_register_links_nothing(store: Path) -> None:
    store.mkdir(parents=True, exist_ok=True)
    (store / REGISTER_FILE).write_text("{")
    with pytest.raises(TakedownError, match="restore it"):
        load_takedowns(store)


def test_a_card_of_another_organisation_that_we_may_write_in_is_cleared_by_commit(
    world: World, store: Path
) -> None:
    other = f"second-{new_run_id()[-12:]}"
    ours = world.user(f"both-{other}", **{ORGANISATION: "write", other: "write"})
    model = world.put_model(ours, f"{other}/m", CARD)
    run = published(world, store, model)
    assert backlink(ours, run, LinkPolicy()).mode == "commit"
    done = take_down(
        ours,
        store,
        target=model.id,
        reason="no more",
        requested_by="them",
        organisation=ORGANISATION,
        on_stage=lambda _: None,
    )
    assert "1 link removed in commit" in done.outcome[0]
    assert done.carried_out_at is not None
    assert card_of(world.hub(), model) == CARD
    assert list(world.hub().pull_requests(model)) == []
    # Asked again, nothing is left to do, and the register keeps what was done and when.
    again = take_down(
        ours,
        store,
        target=model.id,
        reason="no more",
        requested_by="them",
        organisation=ORGANISATION,
        on_stage=lambda _: None,
    )
    assert (again.outcome, again.carried_out_at) == (done.outcome, done.carried_out_at)
