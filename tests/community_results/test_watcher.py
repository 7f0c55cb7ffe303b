"""What was withheld is remembered: from us and from others, with date and link, and publicly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inferencebench_pipeline.community_results.audit import Assessment, State
from inferencebench_pipeline.community_results.client import EvaluationHub
from inferencebench_pipeline.community_results.publish import publish_register
from inferencebench_pipeline.community_results.register import (
    REGISTER_FILE,
    CommunityResult,
    EvaluationRegisterError,
    load_evaluations,
)
from inferencebench_pipeline.community_results.watcher import Watched, watch
from inferencebench_pipeline.hub.client.client import HubIntegrityError, HubUnavailableError
from inferencebench_pipeline.hub.client.repo import Repo
from tests.hub.conftest import World
from tests.hub.evaluations import Place, a_place, evaluation_hub


@pytest.fixture
def place(world: World, store: Path) -> Place:
    return a_place(world, store)


def look(place: Place) -> Watched:
    return watch(place.us, place.root, benchmarks=[place.benchmark])


def only(place: Place) -> CommunityResult:
    (result,) = load_evaluations(place.root).results
    return result


def strangers_result(place: Place, value: float = 0.4) -> tuple[EvaluationHub, int]:
    stranger = evaluation_hub(place.world, "somebody")
    number = stranger.open_draft(place.model, title="theirs", description="")
    path = ".eval_results/theirs.yaml"
    place.put(stranger, path, place.entry(value), revision=f"refs/pr/{number}")
    stranger.submit_draft(place.model, number)
    return stranger, number


UNREADABLE = {
    "a bomb of merged keys": b"- &a0 {x: 1}\n"
    + b"".join(
        b"- &a%d {<<: [%s]}\n" % (i, b",".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 10)
    ),
    "deep": b"[" * 100_000,
    "no date": b"- value: 2001-99-99\n",
    "a number of 5,000 digits": b"- value: " + b"9" * 5000 + b"\n",
    "five thousand keys": b"".join(b"k%d: 1\n" % i for i in range(5000)),
    "no UTF-8": b"\xff\xfe",
    "half a surrogate pair": b'- value: "\\ud800"\n',
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE)
def test_what_one_stranger_proposes_hides_nothing_of_the_others(place: Place, data: bytes) -> None:
    hostile = evaluation_hub(place.world, "hostile")
    number = hostile.open_draft(place.model, title="theirs", description="")
    hostile.commit(
        place.model,
        {".eval_results/bomb.yaml": data},
        message="theirs",
        parent=hostile.head(place.model, f"refs/pr/{number}").commit,
        revision=f"refs/pr/{number}",
    )
    hostile.submit_draft(place.model, number)
    strangers_result(place)
    look(place)
    assert only(place).state == "open"


def test_a_result_whose_pull_request_its_author_closed_is_withheld(place: Place) -> None:
    place.propose()
    assert look(place).withheld == ()
    place.model_owner.close_pull_request(place.model, 1, comment="not this one")
    (gone,) = look(place).withheld
    assert (gone.state, gone.ours) == ("withheld", True)
    (when,) = gone.withheld
    assert when.by == place.model_id.partition("/")[0]
    assert when.url == f"{place.world.url}/{place.model_id}/discussions/1"
    assert when.at >= gone.first_seen_at
    assert look(place).withheld == ()
    assert only(place) == gone


def test_somebody_else_s_result_is_remembered_too_once_it_was_seen(place: Place) -> None:
    strangers_result(place)
    (new,) = look(place).new
    assert (new.ours, new.proposed_by, new.state) == (False, "somebody", "open")
    place.model_owner.close_pull_request(place.model, 1, comment="no")
    (gone,) = look(place).withheld
    assert gone.entry.value == 0.4


def test_a_proposer_who_changed_their_mind_is_no_withholding(place: Place) -> None:
    stranger, number = strangers_result(place)
    look(place)
    stranger.close_pull_request(place.model, number, comment="mistake")
    assert look(place).withheld == ()
    assert only(place).state == "withdrawn"


def test_a_merged_result_stands_until_it_is_taken_off_the_main_branch(place: Place) -> None:
    place.propose()
    place.merge(1)
    assert look(place).withheld == ()
    assert only(place).state == "merged"
    place.put(place.model_owner, only(place).filename, place.entry(0.99))
    (gone,) = look(place).withheld
    assert gone.withheld[0].url == f"{place.world.url}/{place.model_id}/commits/main"
    assert gone.withheld[0].by is None
    found = place.propose()
    assert isinstance(found, Assessment)
    assert found.state is State.WITHHELD


def test_a_result_that_comes_back_keeps_its_history(place: Place) -> None:
    place.propose()
    place.model_owner.close_pull_request(place.model, 1, comment="no")
    look(place)
    place.reopen(1)
    assert look(place).withheld == ()
    again = only(place)
    assert again.state == "open"
    assert again.withheld[0].ended_at is not None
    place.model_owner.close_pull_request(place.model, 1, comment="no")
    look(place)
    assert [item.ended_at is None for item in only(place).withheld] == [False, True]


def test_a_model_that_is_gone_is_not_called_withheld(place: Place) -> None:
    place.propose()
    place.delete_model()
    assert look(place).withheld == ()
    assert only(place).state == "gone"


def test_an_outage_is_never_taken_for_a_withholding(place: Place) -> None:
    place.propose()
    before = load_evaluations(place.root)
    place.model_owner.close_pull_request(place.model, 1, comment="no")
    for path in ("/leaderboard$", "^/api/models/[^/]+/[^/]+$", "/discussions/1$"):
        place.world.faults.add("status", path=path, status=503, times=None)
        with pytest.raises(HubUnavailableError):
            look(place)
        place.world.faults.clear()
        assert load_evaluations(place.root) == before
    assert len(look(place).withheld) == 1


def test_the_register_is_published_and_a_lost_one_is_restored_from_there(
    place: Place, tmp_path: Path
) -> None:
    place.propose()
    place.model_owner.close_pull_request(place.model, 1, comment="no")
    look(place)
    organisation = place.us.account().name
    commit = publish_register(place.us, place.root, organisation)
    assert publish_register(place.us, place.root, organisation) == commit
    repo = Repo("dataset", f"{organisation}/community-results")
    (row,) = [
        json.loads(line)
        for line in place.us.fetch(repo, commit, "results.jsonl").decode().splitlines()
    ]
    assert (row["state"], row["value"], row["withheld_by"]) == (
        "withheld",
        0.5,
        place.model_id.partition("/")[0],
    )
    assert row["withheld_url"] == only(place).url
    assert publish_register(place.us, tmp_path / "new", organisation) == commit
    assert load_evaluations(tmp_path / "new") == load_evaluations(place.root)


def test_a_published_register_that_cannot_be_read_is_not_overwritten(place: Place) -> None:
    organisation = place.us.account().name
    repo = Repo("dataset", f"{organisation}/community-results")
    place.us.create(repo)
    head = place.us.commit(repo, {REGISTER_FILE: b"{"}, message="x", parent=None)
    with pytest.raises(HubIntegrityError, match="not a register"):
        publish_register(place.us, place.root, organisation)
    assert place.us.head(repo).commit == head


def test_a_damaged_register_stops_proposals(place: Place) -> None:
    place.root.mkdir(parents=True)
    (place.root / REGISTER_FILE).write_text("{")
    with pytest.raises(EvaluationRegisterError, match="restore it"):
        place.propose()
    assert place.numbers() == []
