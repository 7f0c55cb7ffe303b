"""A takedown takes our evaluation results along, out of files that may hold others' as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferencebench_pipeline.community_results.audit import Assessment, State
from inferencebench_pipeline.community_results.client import EvaluationHub
from inferencebench_pipeline.community_results.read import ModelResult, read_results
from inferencebench_pipeline.community_results.register import load_evaluations
from inferencebench_pipeline.community_results.removal import without_entries
from inferencebench_pipeline.community_results.results_file import EvaluationEntry, render_entries
from inferencebench_pipeline.community_results.watcher import watch
from inferencebench_pipeline.community_results.yaml import EvaluationFileError
from inferencebench_pipeline.hub.model_card.backlink_edit import LinkPolicy, backlink
from inferencebench_pipeline.hub.takedowns.register import Takedown, load_takedowns
from inferencebench_pipeline.takedown.takedown import REMOVAL, take_down
from tests.hub.conftest import ORGANISATION, World
from tests.hub.evaluations import Place, a_place, evaluation_hub
from tests.hub.flow import published_run
from tests.hub.model_card.test_backlink_edit import card_of

OURS = b"""\
- dataset: {id: a/b, task_id: sums}
  value: 0.5
  source: {url: "https://hub/datasets/us/run"}
"""
THEIRS = b"""\
-   dataset:   # theirs, in their own hand
      id: a/b
      task_id: products
    value: 1.10
"""


@pytest.fixture
def place(world: World, store: Path) -> Place:
    return a_place(world, store)


def asked(
    place: Place,
    *,
    root: Path | None = None,
    hub: EvaluationHub | None = None,
    organisation: str | None = None,
) -> Takedown:
    us = hub or place.us
    return take_down(
        us,
        root or place.root,
        target=place.model_id,
        reason="no third-party results",
        requested_by="the author",
        organisation=organisation or us.account().name,
        on_stage=lambda _: None,
    )


def shown(place: Place) -> list[float]:
    """Return the values that the model's main branch holds."""
    results = read_results(place.us, place.model_id)
    assert all(isinstance(item, ModelResult) for item in results)
    return [
        item.entry.value
        for item in results
        if isinstance(item, ModelResult) and item.pull_request is None
    ]


def test_a_merged_result_is_removed_by_one_pull_request_and_never_comes_back(place: Place) -> None:
    place.propose()
    place.merge(1)
    watch(place.us, place.root)
    done = asked(place)
    assert done.carried_out_at is None
    assert "pull request 2 removes 1 result" in done.outcome[-1]
    asked(place)
    assert place.numbers() == [(1, "merged"), (2, "open")]
    (removal,) = (pull for pull in place.us.pull_requests(place.model) if pull.number == 2)
    assert removal.title == REMOVAL.title
    assert shown(place) == [0.5]
    place.merge(2)
    assert shown(place) == []
    assert asked(place).carried_out_at is not None
    assert place.numbers() == [(1, "merged"), (2, "merged")]
    found = place.propose(takedowns=load_takedowns(place.root))
    assert isinstance(found, Assessment)
    assert found.state is State.TAKEN_DOWN


def test_a_result_taken_down_is_not_said_to_be_withheld(place: Place) -> None:
    place.propose()
    place.merge(1)
    watch(place.us, place.root)
    asked(place)
    place.merge(2)
    for _ in range(2):
        assert watch(place.us, place.root).withheld == ()
        assert load_evaluations(place.root).results[0].state == "withdrawn"


def test_link_and_result_go_in_one_pull_request(world: World, place: Place) -> None:
    before = card_of(place.model_owner, place.model)
    us = EvaluationHub(world.url, lambda: world.sandbox.token("write"))
    place.propose(hub=us)
    place.merge(1)
    run = published_run(world, place.root, place.model)
    backlink(us, run, LinkPolicy(pull_requests=True))
    place.merge(2)
    assert card_of(place.model_owner, place.model) != before
    done = asked(place, hub=us, organisation=ORGANISATION)
    assert "pull request 3 removes 1 link and 1 result" in done.outcome[-1]
    place.merge(3)
    assert place.numbers() == [(1, "merged"), (2, "merged"), (3, "merged")]
    assert card_of(place.model_owner, place.model) == before
    assert shown(place) == []


def test_results_of_others_in_the_same_file_keep_every_byte(place: Place) -> None:
    place.propose()
    path = place.submission().path
    place.merge(1)
    head = place.model_owner.head(place.model)
    ours = place.model_owner.read(place.model, head, path)
    theirs = render_entries([place.entry(0.25, task="products")]).replace(
        b"0.25", b"0.250  # twice"
    )
    place.model_owner.commit(
        place.model, {path: ours + b"\n# mine\n" + theirs}, message="x", parent=head.commit
    )
    asked(place)
    place.merge(2)
    head = place.model_owner.head(place.model)
    assert place.model_owner.read(place.model, head, path) == b"\n# mine\n" + theirs


def test_another_deployment_of_ours_knows_them_by_their_source(
    place: Place, tmp_path: Path
) -> None:
    cited = f"{place.world.url}/datasets/{place.us.account().name}/run"
    place.propose(place.entry(source=cited))
    place.propose(place.entry(0.7, task="products"))
    place.merge(1)
    place.merge(2)
    asked(place, root=tmp_path / "elsewhere")
    place.merge(3)
    assert shown(place) == [0.7]


def test_on_a_model_of_ours_the_file_is_removed_by_a_commit(world: World, place: Place) -> None:
    author = evaluation_hub(world, place.model_id.partition("/")[0])
    cited = f"{world.url}/datasets/{author.account().name}/run"
    place.propose(place.entry(source=cited), hub=author, confirmation=None)
    assert shown(place) == [0.5]
    done = asked(place, hub=author)
    assert "1 result removed in commit" in done.outcome[0]
    assert done.carried_out_at is not None
    assert shown(place) == []
    assert place.numbers() == []


def test_a_removal_that_the_owner_closed_is_left_to_them(place: Place) -> None:
    place.propose()
    place.merge(1)
    asked(place)
    place.model_owner.close_pull_request(place.model, 2, comment="I shall do it myself")
    done = asked(place)
    assert done.carried_out_at is None
    assert "still there: 1 result" in done.outcome[-1]
    assert place.numbers() == [(1, "merged"), (2, "closed")]


def test_a_file_that_names_us_and_cannot_be_read_is_left_to_its_owner(place: Place) -> None:
    head = place.model_owner.head(place.model)
    cited = f"{place.world.url}/datasets/{place.us.account().name}/run".encode()
    broken = {".eval_results/a.yaml": b"- value: " + cited, ".eval_results/b.yaml": b"- x"}
    place.model_owner.commit(place.model, broken, message="x", parent=head.commit)
    done = asked(place)
    assert done.carried_out_at is None
    assert len(done.outcome) == 1
    assert "remove our entries by hand" in done.outcome[0]
    assert ".eval_results/a.yaml" in done.outcome[0]
    assert place.numbers() == []


def cites_us(entry: EvaluationEntry) -> bool:
    return entry.source is not None and entry.source.url.startswith("https://hub/datasets/us/")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (OURS, None),
        (OURS + OURS, None),
        (THEIRS, THEIRS),
        (THEIRS + OURS, THEIRS),
        (OURS + THEIRS, THEIRS),
        (
            b"# head\n\n" + OURS + b"\n# about theirs\n" + THEIRS + b"# end",
            b"# head\n\n\n# about theirs\n" + THEIRS + b"# end",
        ),
        (THEIRS + OURS + b"\n# end\n", THEIRS + b"\n# end\n"),
        (OURS.replace(b"\n", b"\r\n") + THEIRS, THEIRS),
        (b"---\n" + THEIRS + OURS.rstrip(b"\n"), b"---\n" + THEIRS),
    ],
)
def test_entries_are_cut_out_by_lines(before: bytes, after: bytes | None) -> None:
    assert without_entries(before, cites_us, filename="f") == after


@pytest.mark.parametrize(
    "data",
    [
        b"[{dataset: {id: a/b, task_id: t}, value: 1},\n"
        b" {dataset: {id: a/b, task_id: s}, value: 1, source: {url: https://hub/datasets/us/r}}]",
        THEIRS + b"-\n  # ours\n  " + OURS[2:],
        b"-\n  # ours\n  " + OURS[2:] + THEIRS,
    ],
    ids=["flow", "dash alone, last", "dash alone, first"],
)
def test_what_cannot_be_cut_safely_is_refused(data: bytes) -> None:
    with pytest.raises(EvaluationFileError):
        without_entries(data, cites_us, filename="f")
