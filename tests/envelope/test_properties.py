"""What must hold for every envelope, not only for the ones we thought of."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from inferencebench_pipeline.envelope.canonical import (
    EnvelopeError,
    content_hash,
    parse_envelope,
    serialise,
)
from tests.chance import examples
from tests.envelope.vectors import our_vectors

MINIMAL: dict[str, Any] = json.loads(our_vectors()[0]["input_text"])

text = st.text(max_size=12)
scalars = st.none() | st.booleans() | st.integers() | text | st.floats(allow_nan=False, width=64)
finite = scalars.filter(lambda value: value not in (float("inf"), float("-inf")))
json_values = st.recursive(
    finite,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
metrics = st.dictionaries(
    text, st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False), min_size=1
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    document = copy.deepcopy(MINIMAL)
    document["metrics"] = draw(metrics)
    document["driver_options"] = draw(st.dictionaries(text, json_values, max_size=4))
    document["distributions"] = draw(st.dictionaries(text, text, max_size=3))
    document["warnings"] = draw(st.lists(text, max_size=3))
    document["seed"] = draw(st.integers())
    document["x_extra"] = draw(json_values)
    return document


def encode(document: object) -> bytes:
    return json.dumps(document).encode()


def shuffled(value: object, draw: st.DrawFn) -> object:
    if isinstance(value, dict):
        keys = draw(st.permutations(list(value)))
        return {key: shuffled(value[key], draw) for key in keys}
    return [shuffled(item, draw) for item in value] if isinstance(value, list) else value


@settings(max_examples=examples(150), deadline=None)
@given(documents())
def test_writing_and_reading_keeps_the_content_hash(document: dict[str, Any]) -> None:
    envelope = parse_envelope(encode(document))
    written = serialise(envelope)
    assert content_hash(parse_envelope(written)) == content_hash(envelope)
    assert serialise(parse_envelope(written)) == written


@settings(max_examples=examples(80), deadline=None)
@given(documents(), st.data())
def test_the_order_of_keys_does_not_matter(document: dict[str, Any], data: st.DataObject) -> None:
    # First-level keys that collide after trimming depend on order; that is the format's rule.
    for field in ("metrics", "driver_options", "distributions"):
        document[field] = {key.strip() or "k": value for key, value in document[field].items()}
        document[field] = {f"k{key}": value for key, value in document[field].items()}
    other = shuffled(document, data.draw)
    assert content_hash(parse_envelope(encode(other))) == content_hash(
        parse_envelope(encode(document))
    )


def hashed_values(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(value, dict):
        return [leaf for key in value for leaf in hashed_values(value[key], (*path, key))]
    if isinstance(value, list):
        return [leaf for i, item in enumerate(value) for leaf in hashed_values(item, (*path, i))]
    return [path]


@settings(max_examples=examples(150), deadline=None)
@given(documents(), st.data())
def test_changing_any_hashed_value_changes_the_hash_or_is_refused(
    document: dict[str, Any], data: st.DataObject
) -> None:
    original = parse_envelope(encode(document))
    stored = json.loads(serialise(original))
    del stored["signature"]
    path = data.draw(st.sampled_from(hashed_values(stored)))
    parent: Any = stored
    for part in path[:-1]:
        parent = parent[part]
    parent[path[-1]] = changed(parent[path[-1]])
    try:
        tampered = parse_envelope(encode(stored))
    except EnvelopeError:
        return
    assert content_hash(tampered) != content_hash(original)


def changed(value: object) -> object:
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return -value if value else 1.5
        case str():
            return value + "x"
    return "x"


@settings(max_examples=examples(200), deadline=None)
@given(st.binary(max_size=400) | text.map(str.encode) | json_values.map(encode))
def test_any_bytes_are_read_or_refused_with_our_error(data: bytes) -> None:
    with contextlib.suppress(EnvelopeError):
        parse_envelope(data)
