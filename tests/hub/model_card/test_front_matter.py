"""The one-key front-matter edit: on a foreign card, nothing else may move."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from inferencebench_pipeline.hub.model_card.front_matter import (
    FrontMatterError,
    append_item,
    get_key,
    remove_items,
    remove_key,
    set_key,
)

KEY = "inferencebench-verified"
ENTRY = {"url": "https://hub/datasets/org/name", "suite": "llm.inference", "date": "2026-11-15"}

DELICATE = b"""---
license: other
language: [en, no]  # Norwegian, not false
# a comment of the author
version: 1.10
started: 12:30:45
empty:
quoted: 'a: b'
folded: >-
  two
  lines
anchors: &one
  - x
again: *one
literal: |+
  kept

# last words
---
# Model

Visible body with a rule

---

and trailing spaces  \t
"""


def test_adding_a_key_only_adds_its_lines() -> None:
    edited = set_key(DELICATE, KEY, [ENTRY])
    added = (
        b"inferencebench-verified:\n- url: https://hub/datasets/org/name\n"
        b"  suite: llm.inference\n  date: '2026-11-15'\n"
    )
    assert edited == DELICATE.replace(b"# last words\n", b"# last words\n" + added)


def test_removing_restores_every_byte() -> None:
    assert remove_key(set_key(DELICATE, KEY, [ENTRY]), KEY) == DELICATE
    assert remove_key(DELICATE, KEY) == DELICATE


def test_replacing_leaves_the_comment_before_the_next_key() -> None:
    card = b"---\nmine: 1 # ours\n\n# theirs\nother: 2\n---\n"
    assert set_key(card, "mine", 3) == b"---\nmine: 3\n\n# theirs\nother: 2\n---\n"
    assert remove_key(card, "mine") == b"---\n\n# theirs\nother: 2\n---\n"


@pytest.mark.parametrize(
    "value", [b"|\n  text\n\n", b">+\n  text\n\n\n", b"\n  - a\n  - b: c\n", b"[a,\n  b]\n", b"\n"]
)
def test_every_style_of_value_can_be_replaced(value: bytes) -> None:
    card = b"---\nfirst: 1\nmine: " + value + b"# note\nlast: 2\n---\nbody\n"
    edited = set_key(card, "mine", "x")
    assert edited.startswith(b"---\nfirst: 1\nmine: x\n")
    assert edited.endswith(b"# note\nlast: 2\n---\nbody\n")


@pytest.mark.parametrize("body", [b"", b"# Title\n", b"no newline at the end", b"\n\n# Title\n"])
def test_a_card_without_front_matter_gets_a_block_and_loses_it_again(body: bytes) -> None:
    for prefix in (b"", b"\xef\xbb\xbf"):
        edited = set_key(prefix + body, KEY, [ENTRY])
        assert edited.startswith(prefix + b"---\ninferencebench-verified:\n")
        assert edited.endswith(b"---\n" + body)
        assert remove_key(edited, KEY) == prefix + body


def test_line_ends_of_the_file_are_kept() -> None:
    card = DELICATE.replace(b"\n", b"\r\n")
    edited = set_key(card, KEY, [ENTRY])
    assert edited.count(b"\n") == edited.count(b"\r\n")
    assert remove_key(edited, KEY) == card


def test_a_byte_order_mark_stays_first() -> None:
    card = b"\xef\xbb\xbf" + DELICATE
    assert set_key(card, KEY, 1).startswith(b"\xef\xbb\xbf---\nlicense")


def test_an_indented_root_keeps_its_indent() -> None:
    card = b"---\n  a: 1\n  b:\n  - x\n---\n"
    assert set_key(card, "c", [1]) == b"---\n  a: 1\n  b:\n  - x\n  c:\n  - 1\n---\n"


def test_an_empty_or_commented_block_is_filled() -> None:
    assert set_key(b"---\n---\nbody", "a", 1) == b"---\na: 1\n---\nbody"
    assert set_key(b"---\n# nothing yet\n---\n", "a", 1) == b"---\n# nothing yet\na: 1\n---\n"


def test_appending_leaves_the_items_of_others_untouched() -> None:
    card = (
        b"---\ninferencebench-verified:  # by us\n  - url: a\n    version: 1.10   # odd\n"
        b"  # between\n  -   url:  b\n\n# next\nlicense: mit\n---\n"
    )
    edited = append_item(card, KEY, {"url": "c", "suite": "s"})
    assert edited == card.replace(b"url:  b\n", b"url:  b\n  - url: c\n    suite: s\n")
    assert [item["url"] for item in get_key(edited, KEY)] == ["a", "b", "c"]


@pytest.mark.parametrize("nothing", [b"", b" []", b" ~", b" null"])
def test_appending_to_an_empty_value_makes_the_list(nothing: bytes) -> None:
    card = b"---\ninferencebench-verified:" + nothing + b"\nlicense: mit\n---\n"
    edited = append_item(card, KEY, {"url": "a"})
    assert edited == b"---\ninferencebench-verified:\n- url: a\nlicense: mit\n---\n"


@pytest.mark.parametrize("value", [b"text", b"{url: a}", b"[a]", b"\n  url: a"])
def test_appending_to_something_else_is_refused(value: bytes) -> None:
    with pytest.raises(FrontMatterError, match="something else than a list"):
        append_item(b"---\ninferencebench-verified: " + value + b"\n---\n", KEY, {"url": "b"})


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        (b"---\n{a: 1, b: 2}\n---\n", "one mapping"),
        (b"---\n- a\n---\n", "one mapping"),
        (b"---\na: [\n---\n", "not YAML"),
        (b"---\na: 1\n", "no closing"),
        (b"---  \na: 1\n---\n", "trailing spaces"),
        (b"---\nk: 1\nk: 2\n---\n", "2 times"),
        (b"---\na: \xff\n---\n", "not UTF-8"),
        (b"---\na: \x07\n---\n", "not YAML"),
        (b"---\na: 1\n...\n---\n", "one mapping"),
        (b"---\nk: &x 1\nother: *x\n---\n", "an anchor"),
    ],
)
def test_what_cannot_be_edited_safely_is_refused(card: bytes, reason: str) -> None:
    with pytest.raises(FrontMatterError, match=reason):
        set_key(card, "k", "new")


def test_a_long_unclosed_card_is_refused_quickly() -> None:
    with pytest.raises(FrontMatterError):
        set_key(b"---\r\n" + b"a\r\n" * 100_000, "k", 1)


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True), inner, max_size=3),
    ),
    max_leaves=8,
)


@dataclass(frozen=True)
class Card:
    """A card, and what its front matter was made from."""

    data: bytes
    front: dict[str, object]
    comment: bytes


@st.composite
def _cards(draw: st.DrawFn) -> Card:
    front = draw(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), _VALUES, max_size=4))
    comment = draw(st.sampled_from([b"# a comment", b"", b"  # indented"]))
    newline = draw(st.sampled_from([b"\n", b"\r\n"]))
    mark = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    body = draw(st.sampled_from([b"", b"# Title", b"---", b"text\n\n---\n"]))
    dumped = yaml.safe_dump(front, allow_unicode=True, sort_keys=False) if front else ""
    lines = [b"---", *dumped.encode().splitlines(), comment, b"---", body]
    return Card(mark + newline.join(lines), front, comment)


@given(card=_cards(), value=_VALUES)
def test_property_set_then_remove_is_the_identity(card: Card, value: object) -> None:
    edited = set_key(card.data, KEY, value)
    assert get_key(edited, KEY) == value
    assert set_key(edited, KEY, value) == edited
    if card.front or card.comment:  # an empty block goes with its last key
        assert remove_key(edited, KEY) == card.data


@given(card=_cards(), first=_VALUES, second=_VALUES)
def test_property_every_other_key_reads_the_same(card: Card, first: object, second: object) -> None:
    edited = set_key(set_key(card.data, KEY, first), KEY, second)
    for key, value in card.front.items():
        assert get_key(edited, key) == value
    assert get_key(edited, KEY) == second


@given(card=_cards())
def test_property_an_ordinary_card_is_never_refused(card: Card) -> None:
    assert get_key(append_item(card.data, KEY, ENTRY), KEY) == [ENTRY]


@given(data=st.binary(max_size=60) | st.text("-\n a:#[]&*'|x\r", max_size=40).map(str.encode))
def test_property_arbitrary_bytes_are_edited_or_refused(data: bytes) -> None:
    try:
        edited = set_key(data, KEY, [ENTRY])
    except FrontMatterError:
        return
    assert get_key(edited, KEY) == [ENTRY]


LISTED = b"""---
license: mit
k:
  # first
  - url: theirs   # as they wrote it
    note: 1.10
  # about ours
  - url: ours/1
    text: |
      a block

      # inside the block
  -
    url: ours/2

  # tail
  - url: other
tags: [no, on]
---
# M
"""


def _is_ours(item: object) -> bool:
    return isinstance(item, dict) and str(item.get("url")).startswith("ours/")


def test_items_are_cut_out_and_all_other_lines_stay() -> None:
    ours = b"""  - url: ours/1
    text: |
      a block

      # inside the block
  -
    url: ours/2
"""
    assert remove_items(LISTED, "k", _is_ours) == LISTED.replace(ours, b"")


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("card", [b"# text\n", b"---\nlicense: mit\n---\n# text\n"])
def test_removing_undoes_appending_to_the_byte(card: bytes, newline: bytes) -> None:
    card = card.replace(b"\n", newline)
    once = append_item(card, "k", {"url": "theirs", "note": "1"})
    twice = append_item(once, "k", {"url": "ours/1"})
    assert remove_items(twice, "k", _is_ours) == once
    assert remove_items(once, "k", _is_ours) == once
    assert remove_items(append_item(card, "k", {"url": "ours/1"}), "k", _is_ours) == card


def test_a_list_in_one_line_is_only_removed_whole() -> None:
    flow = b"---\nk: [{url: ours/1}, {url: theirs}]\n---\n"
    with pytest.raises(FrontMatterError, match="one line"):
        remove_items(flow, "k", _is_ours)
    assert (
        remove_items(b"---\na: 1\nk: [{url: ours/1}]\n---\n", "k", _is_ours) == b"---\na: 1\n---\n"
    )


@pytest.mark.parametrize("card", [b"", b"# x\n", b"---\nk: text\n---\n", b"---\nk:\n---\n"])
def test_where_no_such_list_is_nothing_is_removed(card: bytes) -> None:
    assert remove_items(card, "k", _is_ours) == card


def test_a_value_that_refers_to_an_anchor_elsewhere_is_not_guessed_at() -> None:
    card = b"---\nlicense: &l mit\nother: *l\n---\n"
    with pytest.raises(FrontMatterError, match=r"on its own .line 2 of the front"):
        get_key(card, "other")
    assert get_key(card, "license") == "mit"
