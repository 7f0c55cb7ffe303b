"""YAML that is written here, read by parsers of both versions and by eye."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from inferencebench_pipeline.untrusted.text import controls
from inferencebench_pipeline.untrusted.yaml_writer import Quoted, write_yaml

TEXTS = st.text(max_size=40)
DOCUMENTS = st.dictionaries(TEXTS, TEXTS | st.integers() | st.lists(TEXTS, max_size=3), max_size=4)


@given(DOCUMENTS, st.booleans())
def test_property_what_is_written_is_read_as_it_was(
    document: dict[str, object], quoting: bool
) -> None:
    assert yaml.safe_load(write_yaml(document, quoting=quoting)) == document


@given(TEXTS)
def test_property_a_text_stays_on_one_line_and_nothing_in_it_acts(text: str) -> None:
    written = write_yaml({"key": text})
    assert written.count("\n") == 1
    assert not controls(written.removesuffix("\n"))


@pytest.mark.parametrize("quoting", [False, True])
@pytest.mark.parametrize("text", ["1e3", "0o17", "0x1F", ".5", "12e34", "no", "~", "2026-01-01"])
def test_a_text_that_a_parser_would_take_for_something_else_is_quoted(
    text: str, quoting: bool
) -> None:
    assert write_yaml({"key": text}, quoting=quoting) in {f"key: '{text}'\n", f'key: "{text}"\n'}


def test_the_keys_stay_in_their_order_and_what_occurs_twice_is_written_twice() -> None:
    same = {"b": 1, "a": 2}
    assert write_yaml({"z": same, "y": same}) == "z:\n  b: 1\n  a: 2\ny:\n  b: 1\n  a: 2\n"


def test_a_plain_word_needs_no_quotes_unless_they_are_asked_for() -> None:
    assert write_yaml(["word", Quoted("word")], quoting=True) == '- word\n- "word"\n'
