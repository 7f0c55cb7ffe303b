"""Entering results into models: once, where they belong, and never against their author."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest

from inferencebench_pipeline.community_results.audit import (
    Assessment,
    ProposalError,
    State,
    Submission,
    examine,
)
from inferencebench_pipeline.community_results.benchmark import register_benchmark
from inferencebench_pipeline.community_results.proposal import Proposed, propose
from inferencebench_pipeline.community_results.read import (
    ModelResult,
    Tier,
    UnreadableResult,
    read_leaderboard,
    read_results,
)
from inferencebench_pipeline.community_results.register import load_evaluations
from inferencebench_pipeline.community_results.watcher import watch
from inferencebench_pipeline.community_results.yaml import EvaluationFileError
from inferencebench_pipeline.hub.client.client import HubPermissionError, HubUnavailableError
from inferencebench_pipeline.hub.client.repo import Repo
from inferencebench_pipeline.hub.takedowns.register import Takedown, Takedowns, load_takedowns
from inferencebench_pipeline.takedown.takedown import take_down
from tests.hub.conftest import World
from tests.hub.evaluations import SPEC, Place, a_place, evaluation_hub


@pytest.fixture
def place(world: World, store: Path) -> Place:
    return a_place(world, store)


def test_a_result_goes_to_somebody_else_s_model_as_one_pull_request(place: Place) -> None:
    done = place.propose()
    assert isinstance(done, Proposed)
    assert done.url == f"{place.world.url}/{place.model_id}/discussions/1"
    assert place.numbers() == [(1, "open")]
    (shown,) = read_results(place.us, place.model_id)
    assert isinstance(shown, ModelResult)
    assert (shown.tier, shown.pull_request, shown.entry) == (Tier.COMMUNITY, 1, place.entry())
    (row,) = read_leaderboard(place.us, place.benchmark)
    assert (row.tier, row.pull_request, row.value) == (Tier.COMMUNITY, 1, 0.5)
    assert row.source_url == "https://example.org/record"
    (noted,) = load_evaluations(place.root).results
    assert (noted.ours, noted.state, noted.url) == (True, "open", done.url)


def test_proposing_again_changes_nothing(place: Place) -> None:
    place.propose()
    again = place.propose()
    assert isinstance(again, Assessment)
    assert again.state is State.PRESENT
    assert place.numbers() == [(1, "open")]


def test_other_configurations_of_a_task_join_the_pull_request_and_other_tasks_do_not(
    place: Place,
) -> None:
    place.propose()
    place.propose(place.entry(0.6, provider="fireworks"))
    place.propose(place.entry(0.7, task="products"))
    shown = read_results(place.us, place.model_id)
    assert sorted((item.pull_request, item.entry.value) for item in shown) == [  # type: ignore[union-attr]
        (1, 0.5),
        (1, 0.6),
        (2, 0.7),
    ]


def test_our_own_earlier_value_is_replaced_in_place(place: Place) -> None:
    place.propose()
    done = place.propose(place.entry(0.55))
    assert isinstance(done, Proposed)
    assert "0.5" in done.assessment.reason
    (shown,) = read_results(place.us, place.model_id)
    assert isinstance(shown, ModelResult)
    assert (shown.pull_request, shown.entry.value) == (1, 0.55)


def test_a_model_of_ours_gets_a_commit_and_needs_no_confirmation(
    world: World, place: Place
) -> None:
    author = evaluation_hub(world, place.model_id.partition("/")[0])
    done = place.propose(hub=author, confirmation=None)
    assert isinstance(done, Proposed)
    assert done.assessment.mode == "commit"
    assert place.numbers() == []
    (shown,) = read_results(place.us, place.model_id)
    assert isinstance(shown, ModelResult)
    assert shown.tier is Tier.MERGED


@pytest.mark.parametrize("confirmation", [None, "yes", "author/other"])
def test_without_the_model_s_name_typed_nothing_is_sent(
    place: Place, confirmation: str | None
) -> None:
    with pytest.raises(ProposalError, match="confirmation"):
        place.propose(confirmation=confirmation)
    assert place.numbers() == []


def test_a_closed_pull_request_is_not_opened_again(place: Place) -> None:
    place.propose()
    place.model_owner.close_pull_request(place.model, 1, comment="no")
    for entry in (place.entry(), place.entry(0.9), place.entry(0.6, provider="fireworks")):
        found = place.propose(entry)
        assert isinstance(found, Assessment)
        assert found.state is State.WITHHELD
        assert found.url == f"{place.world.url}/{place.model_id}/discussions/1"
    assert place.numbers() == [(1, "closed")]


def test_what_somebody_else_reported_is_not_reported_twice(world: World, place: Place) -> None:
    stranger = evaluation_hub(world, "stranger")
    number = stranger.open_draft(place.model, title="theirs", description="")
    place.put(stranger, ".eval_results/theirs.yaml", place.entry(), revision=f"refs/pr/{number}")
    stranger.submit_draft(place.model, number)
    found = place.propose()
    assert isinstance(found, Assessment)
    assert (found.state, found.url) == (
        State.PRESENT,
        f"{world.url}/{place.model_id}/discussions/1",
    )
    other = place.propose(place.entry(0.8))
    assert isinstance(other, Assessment)
    assert other.state is State.CONFLICT
    assert place.numbers() == [(1, "open")]


def test_an_unreadable_file_where_ours_would_lie_is_a_conflict(place: Place) -> None:
    head = place.model_owner.head(place.model)
    path = place.submission().path
    place.model_owner.commit(place.model, {path: b"- value: 1\n"}, message="x", parent=head.commit)
    (shown,) = read_results(place.us, place.model_id)
    assert isinstance(shown, UnreadableResult)
    found = place.propose()
    assert isinstance(found, Assessment)
    assert found.state is State.CONFLICT


def test_whoever_asked_to_be_left_alone_is_not_even_looked_at(place: Place) -> None:
    asked = Takedown(
        target=place.model_id.partition("/")[0],
        reason="no",
        requested_by="them",
        requested_at=datetime(2026, 11, 1, tzinfo=UTC),
    )
    place.world.faults.clear_requests()
    found = place.propose(takedowns=Takedowns(takedowns=(asked,)))
    assert isinstance(found, Assessment)
    assert found.state is State.TAKEN_DOWN
    assert place.world.faults.requests() == []


def test_a_model_that_is_not_there_is_a_finding(place: Place) -> None:
    submission = Submission("nobody/nothing", place.entry())
    found = examine(place.us, place.root, submission, takedowns=Takedowns())
    assert found.state is State.MISSING


def test_results_go_to_tasks_of_benchmarks_only(place: Place) -> None:
    def examined(entry: object) -> None:
        submission = Submission(place.model_id, entry)  # type: ignore[arg-type]
        examine(place.us, place.root, submission, takedowns=Takedowns())

    with pytest.raises(ProposalError, match="its tasks are sums, products"):
        examined(place.entry(task="quotients"))
    plain = Repo("dataset", f"{place.benchmark.partition('/')[0]}/plain")
    place.world.user(plain.namespace).create(plain)
    entry = place.entry()
    elsewhere = entry.dataset.model_copy(update={"id": plain.id})
    with pytest.raises(ProposalError, match=r"no eval\.yaml"):
        examined(entry.model_copy(update={"dataset": elsewhere}))
    nowhere = entry.dataset.model_copy(update={"id": "nobody/nothing"})
    with pytest.raises(ProposalError, match="no dataset"):
        examined(entry.model_copy(update={"dataset": nowhere}))


def test_a_list_of_pull_requests_that_cannot_be_read_stops_everything(place: Place) -> None:
    place.world.faults.add("status", path="/discussions$", method="GET", status=502, times=None)
    with pytest.raises(HubUnavailableError):
        place.propose()
    place.world.faults.clear()
    assert place.numbers() == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["drop", "lost_response"])
def test_any_cut_is_survived_with_one_pull_request_and_one_result(
    world: World, store: Path, kind: Literal["drop", "lost_response"]
) -> None:
    """Cut before or after the server acted, at each request in turn, until we gave up once."""
    probe = a_place(world, store / "probe")
    world.faults.clear_requests()
    probe.propose()
    requests = len(world.faults.requests())
    assert requests > 8
    for skip in range(requests):
        place = a_place(world, store / f"{skip}")
        world.faults.add(kind, path="^/(?!_sandbox)", skip=skip, times=3)
        with contextlib.suppress(HubUnavailableError):
            place.propose()
        world.faults.clear()
        place.propose()
        assert place.numbers() == [(1, "open")], skip
        (shown,) = read_results(place.us, place.model_id)
        assert isinstance(shown, ModelResult), skip
        assert shown.entry == place.entry(), skip


def test_a_benchmark_is_registered_with_its_exact_bytes(world: World, place: Place) -> None:
    owner = evaluation_hub(world, place.benchmark.partition("/")[0])
    again = register_benchmark(owner, place.benchmark, SPEC, filename="eval.yaml")
    assert again.listed
    repo = Repo("dataset", f"{place.benchmark.partition('/')[0]}/new")
    owner.create(repo)
    made = register_benchmark(owner, repo.id, SPEC, filename="eval.yaml")
    assert not made.listed
    assert owner.fetch(repo, made.commit, "eval.yaml") == SPEC
    with pytest.raises(EvaluationFileError, match="name is missing"):
        register_benchmark(owner, repo.id, b"tasks: [{id: a}]\n", filename="eval.yaml")
    with pytest.raises(HubPermissionError, match="no write access"):
        register_benchmark(place.us, place.benchmark, SPEC, filename="eval.yaml")


def test_two_processes_of_ours_open_one_pull_request(place: Place) -> None:
    """Without the lock of a common store, the later of two pull requests is closed again."""
    title = place.submission().title
    for _ in range(2):
        place.us.open_draft(place.model, title=title, description="")
    done = propose(
        place.us,
        place.root,
        place.submission(),
        takedowns=Takedowns(),
        confirmation=place.model_id,
    )
    assert isinstance(done, Proposed)
    assert place.numbers() == [(1, "open"), (2, "closed")]


def test_a_takedown_closes_our_pull_request_which_is_not_called_withheld(place: Place) -> None:
    place.propose()
    owner = place.model_id.partition("/")[0]
    take_down(
        place.us,
        place.root,
        target=owner,
        reason="no third-party results",
        requested_by="the author",
        organisation=place.us.account().name,
        on_stage=lambda _: None,
    )
    assert place.numbers() == [(1, "closed")]
    assert watch(place.us, place.root).withheld == ()
    assert load_evaluations(place.root).results[0].state == "withdrawn"
    found = place.propose(takedowns=load_takedowns(place.root))
    assert isinstance(found, Assessment)
    assert found.state is State.TAKEN_DOWN
