"""Everything that commits on a head it read, while others commit first again and again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inferencebench_pipeline.community_results.client import EvaluationHub
from inferencebench_pipeline.community_results.publish import publish_register
from inferencebench_pipeline.errors import RetryableError
from inferencebench_pipeline.hub.client.edit import ROUNDS, RemoteRepo
from inferencebench_pipeline.hub.client.errors import HubUnavailableError
from inferencebench_pipeline.hub.client.pull_request import Proposal, one_pull_request
from inferencebench_pipeline.hub.client.repo import Repo
from inferencebench_pipeline.hub.client.retry import RetryPolicy
from inferencebench_pipeline.hub.dataset.publication import publish
from inferencebench_pipeline.hub.index_dataset import publish_corpus
from inferencebench_pipeline.hub.takedowns.public_register import publish_takedown
from inferencebench_pipeline.hub.takedowns.register import Takedown
from inferencebench_pipeline.runs.run_directory import new_run_id
from tests.hub.conftest import World
from tests.hub.evaluations import evaluation_hub
from tests.hub.records import accept, recorded_run

MOVED = {"status": 412, "body": "The branch was updated since you opened this page."}

Writer = Callable[[EvaluationHub, str, Path], object]


def _publish_run(us: EvaluationHub, organisation: str, store: Path) -> object:
    run = recorded_run(store)
    return publish(us, run, organisation=organisation, verify=accept, on_stage=lambda _: None)


def _publish_takedown(us: EvaluationHub, organisation: str, _store: Path) -> object:
    return publish_takedown(
        us,
        organisation,
        Takedown.model_validate(
            {
                "target": "somebody/model",
                "reason": "asked",
                "requested_by": "them",
                "requested_at": "2026-05-15T00:00:00Z",
            }
        ),
    )


def _edit_file(us: EvaluationHub, organisation: str, _store: Path) -> object:
    repo = Repo("dataset", f"{organisation}/edited")
    us.create(repo)
    return RemoteRepo(us, repo).edit_file(
        "a.txt", lambda before: (before or b"") + b"x", message="one more x"
    )


WRITERS: dict[str, Writer] = {
    "a run": _publish_run,
    "the index dataset": lambda us, name, _: publish_corpus(us, name, {"corpus.txt": b"x"}),
    "the community results": lambda us, name, store: publish_register(us, store, name),
    "a takedown": _publish_takedown,
    "one file": _edit_file,
}


@pytest.fixture
def organisation() -> str:
    return f"us-{new_run_id()[-12:]}"


@pytest.mark.parametrize("moves", [1, ROUNDS - 1])
@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_a_head_that_moves_a_few_times_is_read_again(
    world: World, store: Path, organisation: str, writer: Writer, moves: int
) -> None:
    us = evaluation_hub(world, organisation)
    moved = world.faults.add("status", method="POST", path="/commit/", times=moves, **MOVED)
    assert writer(us, organisation, store)
    assert world.faults.fired(moved) == moves


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_a_head_that_never_rests_is_an_outage_with_one_sentence(
    world: World, store: Path, organisation: str, writer: Writer
) -> None:
    us = evaluation_hub(world, organisation)
    moved = world.faults.add("status", method="POST", path="/commit/", times=None, **MOVED)
    sentence = rf"was changed {ROUNDS} times meanwhile; look who writes there, or try again later$"
    with pytest.raises(HubUnavailableError, match=sentence):
        writer(us, organisation, store)
    assert world.faults.fired(moved) == ROUNDS


def test_writers_that_collide_wait_between_their_attempts(world: World, organisation: str) -> None:
    waits: list[float] = []
    patient = EvaluationHub(
        world.url,
        lambda: world.sandbox.token("write"),
        retry=RetryPolicy(first_wait_s=0.01, sleep=waits.append),
    )
    evaluation_hub(world, organisation)
    world.faults.add("status", method="POST", path="/commit/", times=None, **MOVED)
    repo = Repo("dataset", f"inferencebench-sandbox/{organisation}")
    patient.create(repo)
    with pytest.raises(HubUnavailableError, match="meanwhile"):
        RemoteRepo(patient, repo).edit_file("a.txt", lambda _: b"x", message="m")
    assert len(waits) == ROUNDS - 1
    assert waits == sorted(waits)


@pytest.mark.parametrize("failures", [1, ROUNDS - 1])
def test_a_pull_request_that_fails_to_open_is_looked_for_and_opened_once(
    world: World, organisation: str, failures: int
) -> None:
    us, model = _model(world, organisation)
    world.faults.add("status", method="POST", path="/discussions$", status=503, times=failures)
    found = one_pull_request(us, model, us.account().name, Proposal("t", "d"))
    assert not isinstance(found, str)
    assert [pull.number for pull in us.pull_requests(model)] == [found.number]


def test_a_pull_request_that_never_opens_is_an_outage(world: World, organisation: str) -> None:
    us, model = _model(world, organisation)
    refused = world.faults.add(
        "status", method="POST", path="/discussions$", status=503, times=None
    )
    with pytest.raises(RetryableError):
        one_pull_request(us, model, us.account().name, Proposal("t", "d"))
    assert world.faults.fired(refused) == ROUNDS
    assert us.pull_requests(model) == []


def _model(world: World, organisation: str) -> tuple[EvaluationHub, Repo]:
    us = evaluation_hub(world, organisation)
    return us, world.put_model(world.user("somebody"), f"somebody/m-{organisation}", b"# A model\n")
