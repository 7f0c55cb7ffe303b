"""Front matter as the Hub reads it."""

from __future__ import annotations

import pytest

from inferencebench_pipeline.sandbox.hub.attributes import DEFAULT_GITATTRIBUTES, goes_to_lfs
from inferencebench_pipeline.sandbox.hub.cards import (
    card_errors,
    card_tags,
    card_warnings,
    parse_card,
)


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("12:30:45", "12:30:45"),
        ("2024-10-31", "2024-10-31"),
        ("1.10", 1.1),
        ("010", 10),
        ("0o10", 8),
        ("0x1f", 31),
        ("1e3", 1000.0),
        ("1_000", "1_000"),
        (".inf", None),
        ("~", None),
        ("", None),
        ("'1'", "1"),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(scalar, value):
    assert parse_card(f"---\nkey: {scalar}\n---\n".encode()).data == {"key": value}


@pytest.mark.parametrize(
    "readme",
    [
        b"",
        b"# no front matter",
        b"---\nunclosed: 1\n",
        b"---\n- a list\n---\n",
        b"---\na: [\n---\n",
    ],
)
def test_a_card_without_readable_front_matter_has_none(readme):
    assert parse_card(readme).data is None


def test_the_body_is_what_follows_also_with_other_line_ends():
    card = parse_card(b"\xef\xbb\xbf---\r\na: 1\r\n---\r\n# Title\r\n---\r\n")
    assert card.data == {"a": 1}
    assert card.body == "# Title\r\n---\r\n"


def test_tags_cannot_run_code_and_anchors_merge():
    assert card_errors("---\na: !!python/object/apply:os.system ['true']\n---\n")
    assert parse_card(b"---\na: &x {k: 1}\nb: {<<: *x, l: 2}\n---\n").data == {
        "a": {"k": 1},
        "b": {"k": 1, "l": 2},
    }


@pytest.mark.parametrize(
    ("front_matter", "message"),
    [
        ("license: bogus", '"license" must be one of'),
        ("tags: [1, 2]", '"tags" must be an array of strings'),
        ("tags: {a: b}", '"tags" must be an array'),
        ("- a", "must be a mapping"),
        ("a: 1\na: 2", "duplicated mapping key"),
    ],
)
def test_what_the_hub_refuses_is_named(front_matter, message):
    (error,) = card_errors(f"---\n{front_matter}\n---\n")
    assert message in error


def test_a_card_without_front_matter_is_only_warned_about():
    assert card_errors("# hi") == []
    assert card_warnings("# hi") == ["empty or missing yaml metadata in repo card"]
    assert card_warnings("---\na: 1\n---\n") == []


def test_tags_come_from_the_keys_the_hub_indexes():
    tags = card_tags(
        {"tags": ["a", "a"], "license": "mit", "language": ["en", False], "inferencebench": {}}
    )
    assert tags == ["a", "license:mit", "language:en", "region:us"]


@pytest.mark.parametrize(
    ("path", "size_bytes", "lfs"),
    [
        ("traces.parquet", 1, True),
        ("deep/down/t.parquet", 1, True),
        ("traces.parquet", 0, False),
        ("envelope.json", 1000, False),
        ("envelope.json", 11 * 1024 * 1024, True),
        ("README.md", 10, False),
    ],
)
def test_large_and_binary_files_go_to_lfs(path, size_bytes, lfs):
    assert goes_to_lfs(path, size_bytes, DEFAULT_GITATTRIBUTES) is lfs
