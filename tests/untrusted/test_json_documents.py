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
    parse_unambiguous_json,
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


# Text that UTF-8 can hold, and integers of 64 bits: what the unambiguous form is made of.
_PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


@given(_PLAIN, st.booleans())
def test_an_unambiguous_document_is_what_json_makes_of_it(document, ascii_only):
    data = json.dumps(document, ensure_ascii=ascii_only).encode()
    assert parse_unambiguous_json(data, what="it", max_bytes=10**6) == json.loads(data)


@given(
    st.dictionaries(st.text(st.characters(codec="utf-8")), _PLAIN, min_size=1),
    st.booleans(),
    st.data(),
)
def test_a_repeated_key_is_refused_wherever_and_however_it_is_spelt(document, ascii_only, data):
    key = data.draw(st.sampled_from(sorted(document)))
    pair = f"{json.dumps(key, ensure_ascii=ascii_only)}:{json.dumps(data.draw(_PLAIN))}"
    text = json.dumps(document, ensure_ascii=not ascii_only)
    for whole in (text[:-1] + f",{pair}}}", f"[1,{{{pair},{text[1:]}]"):
        with pytest.raises(JsonDocumentError, match="twice"):
            parse_unambiguous_json(whole.encode(), what="it", max_bytes=10**6)


@given(st.binary(max_size=200))
def test_bytes_are_read_without_ambiguity_or_refused_and_nothing_else(data):
    try:
        parse_unambiguous_json(data, what="it", max_bytes=100)
    except JsonDocumentError as error:
        assert str(error).startswith("it ")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"[" * 100_000, "is not JSON"),
        (b"[" * 65 + b"]" * 65, "nested more than 64 levels deep"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested more than 64 levels deep"),
        (b"[NaN]", "is not JSON"),
        (b"[-Infinity]", "is not JSON"),
        (b'"\\ud800"', "is not JSON"),
        (b'"\xed\xa0\x80"', "is not JSON"),
        (b"\xff\xfe[\x00]\x00", "is not JSON"),
        (b"", "is not JSON"),
        (b'"' + b"x" * 20_000 + b'"', "larger than 10000 bytes"),
        (b"[" + b"1," * 3000 + b"1]", "more than 3000 values"),
        (b'{"a":1,"a":1}', "holds the key 'a' twice"),
        (b'{"a":1,"\\u0061":1}', "holds the key 'a' twice"),
        (b'[{"b":{"\\"":1,"\\u0022":2}}]', "twice"),
    ],
)
def test_what_is_ambiguous_or_out_of_bounds_is_refused_with_the_reason(data, said):
    with pytest.raises(JsonDocumentError, match=said):
        parse_unambiguous_json(
            data,
            what="the answer",
            max_bytes=10_000 if b"x" in data else 10**6,
            max_values=3000 if b"," in data else 10**6,
        )


def test_the_same_key_in_two_objects_is_no_repetition():
    text = b'{"a":{"a":"\\""},"b":[{"a":1},{"a":2}]}'
    assert parse_unambiguous_json(text, what="it", max_bytes=100)["b"] == [{"a": 1}, {"a": 2}]


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
