"""A stranger's text is shown, and never acts."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferencebench_pipeline.untrusted.text import printable

_ANY_CHARACTER = st.characters(codec=None)


@given(st.text(_ANY_CHARACTER), st.integers(1, 300))
def test_no_character_can_move_the_cursor_or_reorder_the_line(text, limit):
    for character in printable(text, limit):
        assert unicodedata.category(character)[0] != "C"
        assert character not in "\u2028\u2029"


@given(st.text(_ANY_CHARACTER, max_size=2000), st.integers(1, 300))
def test_the_length_is_bounded(text, limit):
    assert len(printable(text, limit)) <= limit + len("… (2000 characters)")


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=100))
def test_plain_text_is_shown_as_it_is(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07\x1b[2J", "\\x1b]0;owned\\x07\\x1b[2J"),
        ("a\u202eb", "a\\u202eb"),
        ("a\r\nb\tc", "a b c"),
        ("\ud800", "\\ud800"),
        ("Zürich 東京", "Zürich 東京"),
        (17, "17"),
        ("a\u3164b\u2800c\ufe0f", "a\\u3164b\\u2800c\\ufe0f"),
        ("e\u0301\u0302\u0303 n\u0303", "e\u0301\u0302\u0303 n\u0303"),
        ("e\u0301\u0302\u0303\u0304\u0305", "e\u0301\u0302\u0303\\u0304\\u0305"),
    ],
)
def test_what_is_hidden_becomes_its_escape(text, shown):
    assert printable(text) == shown


def test_what_is_cut_says_how_long_it_was():
    assert printable("x" * 100_000, 10) == "xxxxxxxxxx… (100000 characters)"
