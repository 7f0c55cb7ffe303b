"""A Hub whose replicas lag behind what was just written, as the real one's do now and then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inferencebench_pipeline.community_results.client import EvaluationHub
from inferencebench_pipeline.community_results.publish import publish_register
from inferencebench_pipeline.hub.client.errors import HubUnavailableError
from inferencebench_pipeline.hub.index_dataset import publish_corpus
from inferencebench_pipeline.hub.model_card.backlink_edit import LinkPolicy, backlink
from inferencebench_pipeline.hub.takedowns.register import Takedown, load_takedowns
from inferencebench_pipeline.runs.run_directory import RunFile, new_run_id
from inferencebench_pipeline.takedown.takedown import take_down
from tests.hub.conftest import World
from tests.hub.evaluations import evaluation_hub
from tests.hub.flow import LinkingOurModel, LinkingTheirModel, Publishing, Scene

HEAD = r"/api/(datasets|models)/[^/]+/[^/]+/revision/main$"
NOT_YET = {"status": 404, "headers": {"X-Error-Code": "RevisionNotFound"}}


@pytest.mark.parametrize("lag", [1, 3])
def test_a_repository_that_is_made_and_not_shown_yet_is_waited_for(
    world: World, store: Path, lag: int
) -> None:
    scene = Publishing.new(world, store)
    world.faults.add("lost_response", path="/repos/create")
    stale = world.faults.add("stale", method="GET", path=HEAD, skip=1, times=lag)
    scene.go(world.hub())
    assert world.faults.fired(stale) == lag
    world.faults.clear()
    scene.check()


def test_a_repository_that_stays_hidden_is_an_outage_and_finished_later(
    world: World, store: Path
) -> None:
    scene = Publishing.new(world, store)
    world.faults.add("lost_response", path="/repos/create")
    world.faults.add("stale", method="GET", path=HEAD, skip=1, times=None)
    with pytest.raises(HubUnavailableError, match="not shown"):
        scene.go(world.hub())
    world.faults.clear()
    scene.go(world.hub())
    scene.check()


@pytest.mark.parametrize("path", ["/resolve/", "/revision/[0-9a-f]{40}$"])
def test_a_commit_that_is_not_shown_yet_is_an_outage_and_read_back_later(
    world: World, store: Path, path: str
) -> None:
    scene = Publishing.new(world, store)
    world.faults.add("status", method="GET", path=path, times=None, **NOT_YET)
    with pytest.raises(HubUnavailableError, match="not shown"):
        scene.go(world.hub())
    assert not scene.run.has(RunFile.PUBLICATION)
    world.faults.clear()
    scene.go(world.hub())
    scene.check()


@pytest.mark.parametrize("kind", [Publishing, LinkingOurModel])
@pytest.mark.parametrize("lag", [1, 3])
def test_a_head_of_before_somebodys_commit_is_read_again(
    world: World, store: Path, kind: type[Scene], lag: int
) -> None:
    scene = kind.new(world, store)
    world.faults.add("stale", method="GET", path=HEAD, skip=1, times=lag)
    scene.go(world.hub())
    scene.go(world.hub())
    world.faults.clear()
    scene.check()


@pytest.mark.parametrize("lag", [1, 3])
def test_a_card_changed_behind_a_lagging_head_keeps_both_changes(
    world: World, store: Path, lag: int
) -> None:
    scene = LinkingOurModel.new(world, store)
    hub = world.hub()
    stale = world.faults.add("stale", method="GET", path=HEAD, skip=2, times=lag)
    head = hub.head(scene.model)
    hub.find(scene.model)
    hub.commit(scene.model, {"other.txt": b"x"}, message="meanwhile", parent=head.commit)
    scene.go(hub)
    assert world.faults.fired(stale) == lag
    world.faults.clear()
    scene.check()
    assert "other.txt" in hub.head(scene.model).files


@pytest.mark.parametrize("lag", [1, 4, None])
def test_a_list_without_the_pull_request_just_opened_does_not_open_a_second(
    world: World, store: Path, lag: int | None
) -> None:
    scene = LinkingTheirModel.new(world, store)
    world.faults.add("stale", method="GET", path="/discussions$", skip=1, times=lag)
    backlink(world.hub(), scene.run, LinkPolicy(pull_requests=True))
    world.faults.clear()
    scene.check()
    assert len(world.hub().pull_requests(scene.model)) == 1


def test_an_index_that_is_made_and_not_shown_yet_leaves_the_takedown_in_force(
    world: World, store: Path
) -> None:
    organisation = f"org-{new_run_id()[-12:]}"
    hub = world.user(f"user-{organisation}", **{organisation: "write"})

    def ask() -> Takedown:
        return take_down(
            hub,
            store,
            target="nobody/gone",
            reason="r",
            requested_by="x",
            organisation=organisation,
            on_stage=lambda _: None,
        )

    # The look before it is made passes, and is what is shown afterwards too.
    stale = world.faults.add("stale", method="GET", path=HEAD, skip=1, times=None)
    with pytest.raises(HubUnavailableError, match="not shown"):
        ask()
    assert world.faults.fired(stale) > 0
    assert load_takedowns(store).covering("nobody/gone") is not None
    world.faults.clear()
    assert ask().carried_out_at is not None


@pytest.mark.parametrize(
    "publish",
    [
        lambda us, store: publish_register(us, store, us.account().name),
        lambda us, store: publish_corpus(us, us.account().name, {"corpus.txt": b"x"}).commit,
    ],
    ids=["community results", "corpus statement"],
)
def test_a_dataset_that_is_made_and_not_shown_yet_is_filled_all_the_same(
    world: World, store: Path, publish: Callable[[EvaluationHub, Path], str]
) -> None:
    us = evaluation_hub(world, f"us-{new_run_id()[-12:]}")
    # The look before it is made passes, and is what is shown afterwards too.
    world.faults.add("stale", method="GET", path=HEAD, skip=1, times=None)
    commit = publish(us, store)
    world.faults.clear()
    assert publish(us, store) == commit
