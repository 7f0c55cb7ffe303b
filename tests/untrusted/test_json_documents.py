"""A stranger's JSON is read within bounds, or refused as what it is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferencebench_pipeline.untrusted.json_documents import (
    MAX_VALUES,
    JsonDocumentError,
    parse_json,
)

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_JSON)
def test_what_json_writes_is_read(document):
    data = json.dumps(document)
    assert parse_json(data, what="it", max_bytes=10**6) == json.loads(data)
    assert parse_json(data.encode(), what="it", max_bytes=10**6) == json.loads(data)


@given(st.binary(max_size=200))
def test_bytes_are_read_or_refused_and_nothing_else(data):
    try:
        parse_json(data, what="it", max_bytes=100)
    except JsonDocumentError as error:
        assert str(error).startswith("it is ")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"[" * 100_000, "nested more than 64 levels deep"),
        (b"[" * 65 + b"]" * 65, "nested more than 64 levels deep"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested more than 64 levels deep"),
        (b"9" * 5000, "is not JSON"),
        (b"NaN", "NaN is no JSON number"),
        (b"[-Infinity]", "no JSON number"),
        (b"\xff", "is not JSON"),
        (b"", "is not JSON"),
        (b'"' + b"x" * 20_000 + b'"', "larger than 10000 bytes"),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_the_reason(data, said):
    with pytest.raises(JsonDocumentError, match=said):
        parse_json(data, what="the answer", max_bytes=10_000 if b"x" in data else 10**6)


def test_the_deepest_allowed_document_is_read():
    assert parse_json(b"[" * 64 + b"]" * 64, what="it", max_bytes=1000)


def test_a_document_of_very_many_values_is_refused_before_it_is_parsed() -> None:
    text = b"[" + b"[]," * MAX_VALUES + b"[]]"
    with pytest.raises(JsonDocumentError, match="more than 2097152 values"):
        parse_json(text, what="it", max_bytes=len(text))
