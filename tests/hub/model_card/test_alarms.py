"""Alarms about somebody else's card: each one shown to ring alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inferencebench_pipeline.hub.client.repo import Repo
from inferencebench_pipeline.hub.model_card import backlink_edit, front_matter
from inferencebench_pipeline.hub.model_card.backlink_edit import (
    KEY,
    BacklinkReceipt,
    LinkPolicy,
    backlink,
    check_backlink,
    compare_cards,
    preview_backlink,
)
from inferencebench_pipeline.hub.model_card.front_matter import (
    FrontMatterError,
    append_item,
    get_key,
    remove_items,
    set_key,
)
from inferencebench_pipeline.hub.takedowns.register import Takedown, Takedowns
from inferencebench_pipeline.runs.run_directory import RunDirectory, new_run_id
from tests.hub.conftest import ORGANISATION, World
from tests.hub.model_card.test_backlink_edit import CARD, card_of, published

OTHER = {"url": "https://elsewhere.example/x"}


@pytest.fixture
def model(world: World) -> Repo:
    card = append_item(CARD, KEY, OTHER)
    return world.put_model(world.hub(), f"{ORGANISATION}/m-{new_run_id()}", card)


@pytest.fixture
def linked(
    world: World, store: Path, model: Repo
) -> tuple[RunDirectory, BacklinkReceipt, Callable[[bytes], BacklinkReceipt]]:
    """A linked run, its receipt, and what a receipt says that another card was committed after."""
    run = published(world, store, model)
    receipt = backlink(world.hub(), run, LinkPolicy())
    assert receipt.commit is not None

    def then(card: bytes) -> BacklinkReceipt:
        commit = world.hub().commit(
            model, {"README.md": card}, message="somebody else", parent=receipt.commit
        )
        return receipt.model_copy(update={"commit": commit})

    return run, receipt, then


def test_a_commit_that_changed_more_than_the_list_is_told(world, model, linked) -> None:
    _, _, then = linked
    card = card_of(world.hub(), model)
    changed = then(card.replace(b"Visible text.", b"Visible text, changed."))
    assert check_backlink(world.hub(), changed) == f"bytes outside the lines of {KEY!r} changed"


def test_a_commit_that_does_not_list_the_record_is_told(world, linked) -> None:
    _, receipt, _ = linked
    other = receipt.model_copy(update={"dataset_url": f"{world.url}/datasets/a/b"})
    said = f"{world.url}/datasets/a/b is listed 0 times under {KEY!r}, not once"
    assert check_backlink(world.hub(), other) == said


def test_a_commit_that_lists_the_record_twice_is_told(world, model, linked) -> None:
    _, receipt, then = linked
    card = card_of(world.hub(), model)
    twice = then(append_item(card, KEY, {"url": receipt.dataset_url}))
    assert "is listed 2 times" in (check_backlink(world.hub(), twice) or "")


def test_a_commit_that_lost_what_others_listed_is_told(world, model, linked) -> None:
    _, _, then = linked
    card = card_of(world.hub(), model)
    lost = then(remove_items(card, KEY, lambda item: item == OTHER))
    assert "was changed or lost" in (check_backlink(world.hub(), lost) or "")


def test_a_commit_after_which_the_card_cannot_be_read_is_told(world, linked) -> None:
    _, _, then = linked
    assert "cannot be read" in (
        check_backlink(world.hub(), then(b"---\n{license: mit}\n---\n")) or ""
    )


def test_both_versions_are_those_of_the_commits_in_the_receipt(world, model, linked) -> None:
    _, receipt, then = linked
    then(b"---\nlicense: mit\n---\nAll new.\n")
    assert check_backlink(world.hub(), receipt) is None
    swapped = receipt.model_copy(update={"parent": receipt.commit, "commit": receipt.parent})
    assert check_backlink(world.hub(), swapped) is not None


@pytest.mark.parametrize("field", ["parent", "commit", "dataset_url"])
def test_a_receipt_that_names_no_change_has_none_to_check(world, linked, field: str) -> None:
    _, receipt, _ = linked
    assert check_backlink(world.hub(), receipt.model_copy(update={field: None})) is None


def edits_carelessly(data: bytes, key: str, item: object) -> bytes:
    return append_item(data, key, item).replace(b"Visible", b"Invisible")


def test_an_edit_that_touches_another_byte_is_never_sent(
    world: World, store: Path, model: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = published(world, store, model)
    monkeypatch.setattr(backlink_edit, "append_item", edits_carelessly)
    before = card_of(world.hub(), model)
    preview = preview_backlink(world.hub(), run, Repo("dataset", "a/b"), LinkPolicy())
    assert preview.mode == "skipped"
    assert "cannot be edited safely: bytes outside" in (preview.reason or "")
    receipt = backlink(world.hub(), run, LinkPolicy())
    assert receipt.mode == "skipped"
    assert "cannot be edited safely: bytes outside" in (receipt.reason or "")
    assert card_of(world.hub(), model) == before


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (f"{KEY}: 1\nlicense: mit\n", "a second key"),
        (f"{KEY}: 1\nzzz: 2\n", "a key at the end"),
        ("zzz: 2\n", "another key"),
        ("# nothing\n", "no key at all"),
    ],
)
def test_a_splice_that_changes_another_key_is_refused(
    lines: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_matter, "_lines", lambda *_: lines)
    with pytest.raises(FrontMatterError, match="would change another key"):
        set_key(CARD, KEY, "value")


def test_a_splice_that_swallows_the_next_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # An open block scalar takes the lines below into its text.
    monkeypatch.setattr(front_matter, "_lines", lambda *_: f"{KEY}: |2\n")
    card = CARD.replace(b"license: other\n", f"{KEY}: 1\n  license: other\n".encode())
    with pytest.raises(FrontMatterError):
        set_key(card, KEY, "value")


def test_items_are_cut_from_their_own_list_beside_other_lists() -> None:
    card = b"---\ntags:\n- a\n- b\n- c\nlanguage:\n- en\n- de\n---\n# A model\n"
    one = append_item(card, KEY, {"url": "https://x/1"})
    both = append_item(one, KEY, {"url": "https://x/2"})
    assert remove_items(both, KEY, lambda item: item == {"url": "https://x/2"}) == one
    first = remove_items(both, KEY, lambda item: item == {"url": "https://x/1"})
    assert get_key(first, KEY) == [{"url": "https://x/2"}]
    assert first.replace(f"{KEY}:\n- url: https://x/2\n".encode(), b"") == card
    after = both.replace(b"---\n# A", b"datasets:\n- x/y\n- z/w\n---\n# A")
    assert get_key(remove_items(after, KEY, lambda _: True), "datasets") == ["x/y", "z/w"]
    assert get_key(remove_items(after, KEY, lambda i: i["url"][-1] == "1"), "tags") == list("abc")


def test_a_cut_that_would_change_another_item_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    both = append_item(append_item(CARD, KEY, {"url": "1"}), KEY, {"url": "2"})
    real = front_matter._item_lines

    def too_much(block: str, entry: object, index: int) -> tuple[int, int]:
        start, end = real(block, entry, index)  # type: ignore[arg-type]
        return start - 1, end

    monkeypatch.setattr(front_matter, "_item_lines", too_much)
    with pytest.raises(FrontMatterError, match="cannot be cut out cleanly"):
        remove_items(both, KEY, lambda item: item == {"url": "1"})


def test_previews_say_why_nothing_would_be_changed(world: World, store: Path, model: Repo) -> None:
    run = published(world, store, model)
    dataset = Repo("dataset", "a/b")
    wanted = preview_backlink(world.hub(), run, dataset, LinkPolicy())
    assert (wanted.mode, wanted.reason) == ("commit", None)
    url = world.hub().page_url(dataset)
    assert compare_cards(wanted.before, wanted.after, url) is None
    head = world.hub().head(model)
    world.hub().commit(model, {"README.md": wanted.after}, message="x", parent=head.commit)
    listed = preview_backlink(world.hub(), run, dataset, LinkPolicy())
    assert (listed.mode, listed.reason) == ("skipped", "the entry is in the card already")
    asked = Takedown(
        target=model.id, reason="r", requested_by="them", requested_at="2026-11-01T00:00:00Z"
    )
    refused = preview_backlink(
        world.hub(), run, dataset, LinkPolicy(takedowns=Takedowns(takedowns=(asked,)))
    )
    assert refused.mode == "skipped"
    assert "taken down" in (refused.reason or "")
