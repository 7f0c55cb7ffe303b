"""Whatever happens to whichever request: nothing lost, doubled or half done after another go.

On a fresh scene for each request of it, until a go ends undisturbed, the accident happens to that
one request of a client that does not try again. What it leaves must be a result or an error of
ours, and the next go must end in exactly one of everything. In a usual run each accident strikes
every twelfth request of two scenes, which the run's seed draws; ``make nightly`` strikes every
request of every scene.
"""

from __future__ import annotations

import itertools
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from inferencebench_pipeline.errors import PipelineError
from inferencebench_pipeline.hub.client.client import Hub
from inferencebench_pipeline.hub.model_card.backlink_edit import PROPOSAL, LinkPolicy, backlink
from tests.chance import dice, drawn
from tests.hub.conftest import World
from tests.hub.flow import (
    BY_PULL_REQUEST,
    SCENES,
    LinkingOurModel,
    LinkingTheirModel,
    ProposingResult,
    Publishing,
    Scene,
    TakingDown,
    TakingDownTheirs,
    published_run,
)

STEP = 12
"""The number of requests from one that is struck to the next, in a usual run."""
ACTED = ["hang", "delay"]
"""The fault after which the request has been acted upon, and the one before."""
HURRIED_READ_S = 0.5
_LATE: dict[str, object] = {"delay_s": 1.0}
ACCIDENTS: dict[str, dict[str, object]] = {
    "cut-before": {"kind": "drop"},
    "cut-after": {"kind": "lost_response"},
    "cut-inside": {"kind": "truncate"},
    "hang-before": {"kind": "delay", **_LATE},
    "hang-after": {"kind": "hang", **_LATE},
    "corrupt": {"kind": "corrupt"},
    "401": {"status": 401},
    "403": {"status": 403},
    "404": {"status": 404, "headers": {"X-Error-Code": "RepoNotFound"}},
    "409": {"status": 409, "body": "Another commit operation is in progress for this repository."},
    "409-taken": {"status": 409, "body": '{"url": "https://elsewhere"}'},
    "412": {"status": 412, "body": "The branch was updated since you opened this page."},
    "413": {"status": 413, "body": "Payload too large"},
    "429": {"status": 429, "headers": {"RateLimit": '"api";r=0;t=0'}},
    "429-quota": {"status": 429, "body": "You can retry this action in about 1 hour."},
    "500": {"status": 500},
    "503": {"status": 503},
    "html": {"status": 200, "body": "<html>sign in to the hotel's network</html>"},
    "redirect": {"status": 307, "headers": {"Location": "http://127.0.0.1:9/elsewhere"}},
}
"""What can happen to one request; a hang outlasts the hurried client's patience."""
FEWEST_REQUESTS: dict[type[Scene], int] = {
    Publishing: 9,
    LinkingOurModel: 7,
    LinkingTheirModel: 12,
    TakingDown: 7,
    TakingDownTheirs: 15,
    ProposingResult: 14,
}
"""So many requests each scene sends at least: a loop that ends earlier did not cut them all."""
PAIRS = [
    (accident, kind) for accident in ACCIDENTS for kind in drawn(f"scenes of {accident}", SCENES, 2)
]


def _name(value: object) -> str:
    return value.__name__ if isinstance(value, type) else str(value)


def without_a_second_try(world: World, accident: dict[str, object]) -> Hub:
    """Return a client that tries once; impatient only where the accident is that nobody answers."""
    return world.hub(attempts=1, read_s=HURRIED_READ_S if "delay_s" in accident else 10.0)


def strike(world: World, at: int, accident: dict[str, object]) -> int:
    """Arm the accident for request number ``at`` from now on."""
    world.faults.clear_requests()
    return world.faults.add(**{"kind": "status", "skip": at, "times": 1, **accident})


def cut_and_continue(
    world: World, kind: type[Scene], store: Path, at: int, accident: dict[str, object]
) -> bool:
    """Let ``accident`` happen to request ``at``, go again, check; return whether it came to it.

    On a busy machine an impatient client may give up on an earlier request: then it is repeated.
    """
    scene = kind.new(world, store)
    fault = strike(world, at, accident)
    failed = False
    try:
        scene.go(without_a_second_try(world, accident))
    except PipelineError as error:
        failed = True
        assert str(error)
    struck = world.faults.fired(fault) == 1
    _let_the_server_finish(world, at, accident)
    world.faults.clear()
    if failed:
        scene.go(world.hub())
    scene.check()
    assert len(world.hub().pull_requests(scene.model)) == isinstance(scene, BY_PULL_REQUEST)
    return struck or (failed and cut_and_continue(world, kind, store, at, accident))


def _let_the_server_finish(world: World, at: int, accident: dict[str, object]) -> None:
    """Wait until a request that was held up has been acted upon: its answer has a status."""
    deadline_s = time.monotonic() + 20
    held_up = accident.get("kind") == "delay" and len(world.faults.requests()) > at
    while held_up and world.faults.requests()[at].status is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def cut_each(
    world: World, kind: type[Scene], store: Path, accident: str, requests: Iterable[int]
) -> int:
    """Cut one request after the other until a scene has fewer; return the number of cuts."""
    cuts = 0
    for at in requests:
        if not cut_and_continue(world, kind, store, at, ACCIDENTS[accident]):
            break
        cuts += 1
    assert cuts > 0
    assert at >= FEWEST_REQUESTS[kind]
    return cuts


@pytest.mark.slow
@pytest.mark.parametrize(("accident", "kind"), PAIRS, ids=_name)
def test_a_request_cut_leaves_nothing_lost_doubled_or_half_done(
    world: World, store: Path, accident: str, kind: type[Scene]
) -> None:
    # It begins within the shortest such scene, so that every accident strikes at least once.
    earliest = min(STEP, FEWEST_REQUESTS[kind])
    first = dice(f"{accident} of {kind.__name__}").randrange(earliest)
    cut_each(world, kind, store, accident, itertools.count(first, STEP))


@pytest.mark.nightly
@pytest.mark.parametrize("kind", SCENES, ids=_name)
@pytest.mark.parametrize("accident", ACCIDENTS)
def test_every_request_cut_leaves_nothing_lost_doubled_or_half_done(
    world: World,
    store: Path,
    accident: str,
    kind: type[Scene],
    record_property: Callable[[str, object], None],
) -> None:
    record_property("cuts", cut_each(world, kind, store, accident, itertools.count()))


@pytest.mark.parametrize("accident", ["cut-after", "hang-after", "500", "429", "corrupt"])
@pytest.mark.parametrize("at", [0, 3, 6, 8, 9])
def test_a_patient_client_gets_through_by_itself(
    world: World, store: Path, at: int, accident: str
) -> None:
    scene = Publishing.new(world, store)
    fault = strike(world, at, ACCIDENTS[accident])
    scene.go(world.hub(read_s=HURRIED_READ_S))
    assert world.faults.fired(fault) == 1
    scene.check()


def _go_in_child(scene: Scene) -> None:
    scene.go(scene.world.hub())


@pytest.fixture(scope="module")
def forks() -> Iterator[Any]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.hub.flow"])
    yield context


def kill_each(
    world: World, kind: type[Scene], store: Path, acted: str, requests: Iterable[int], forks: Any
) -> int:
    """Kill at one request after the other until a scene has fewer; return the number of kills."""
    kills = 0
    for at in requests:
        if not kill_and_continue(world, kind.new(world, store), at, acted, forks):
            break
        kills += 1
    assert at >= FEWEST_REQUESTS[kind]
    return kills


@pytest.mark.slow
@pytest.mark.parametrize("kind", drawn("scenes with a kill", SCENES, 3), ids=_name)
def test_a_kill_at_a_request_is_finished_by_the_next_go(
    world: World, store: Path, forks: Any, kind: type[Scene]
) -> None:
    first = dice(f"kills in {kind.__name__}").randrange(FEWEST_REQUESTS[kind])
    acted = dice(f"acted in {kind.__name__}").choice(ACTED)
    assert kill_each(world, kind, store, acted, itertools.count(first, STEP), forks) > 0


@pytest.mark.nightly
@pytest.mark.parametrize("acted", ACTED, ids=["after-acting", "before-acting"])
@pytest.mark.parametrize("kind", SCENES, ids=_name)
def test_a_kill_at_every_request_is_finished_by_the_next_go(
    world: World,
    store: Path,
    forks: Any,
    kind: type[Scene],
    acted: str,
    record_property: Callable[[str, object], None],
) -> None:
    kills = kill_each(world, kind, store, acted, itertools.count(), forks)
    record_property("kills", kills)


def kill_and_continue(world: World, scene: Scene, at: int, acted: str, forks: Any) -> bool:
    """Kill a child while it waits for answer ``at``, go again; return whether it came to it."""
    accident: dict[str, object] = {"kind": acted, "delay_s": 0.5}
    fault = strike(world, at, accident)
    child = forks.Process(target=_go_in_child, args=(scene,))
    child.start()
    deadline_s = time.monotonic() + 60
    while (struck := world.faults.fired(fault) == 1) is False and child.is_alive():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
    child.kill()
    child.join()
    assert child.exitcode == (-signal.SIGKILL if struck else 0)
    _let_the_server_finish(world, at, accident if struck else {})
    world.faults.clear()
    scene.go(world.hub())
    scene.check()
    assert len(world.hub().pull_requests(scene.model)) == isinstance(scene, BY_PULL_REQUEST)
    return struck


@pytest.mark.parametrize("kind", SCENES, ids=_name)
def test_several_at_once_end_in_one_of_each(world: World, store: Path, kind: type[Scene]) -> None:
    scene = kind.new(world, store)
    failures: list[BaseException] = []

    def go() -> None:
        try:
            scene.go(world.hub())
        except PipelineError:
            pass
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    scene.go(world.hub())
    scene.check()


def test_a_pull_request_that_another_publisher_opened_as_well_is_withdrawn(
    world: World, store: Path
) -> None:
    scene = LinkingTheirModel.new(world, store)
    for _ in range(2):
        world.hub().open_draft(scene.model, title=PROPOSAL.title, description="left by a race")
    scene.go(world.hub())
    scene.check()
    doubled, kept = world.hub().pull_requests(scene.model)
    assert (kept.number, kept.status) == (1, "open")
    assert (doubled.number, doubled.status) == (2, "closed")
    owner = world.user("somebody")
    HfApi(endpoint=owner.endpoint).merge_pull_request(scene.model.id, 1, token=owner._token())
    again = backlink(
        world.hub(), published_run(world, store, scene.model), LinkPolicy(pull_requests=True)
    )
    assert again.mode == "pull_request"
