"""Bounds of the reader, its messages, and the writer's refusals."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from inferencebench_pipeline.envelope.build import build_envelope
from inferencebench_pipeline.envelope.canonical import (
    MAX_ENVELOPE_BYTES,
    MAX_NESTING,
    EnvelopeError,
    parse_any_version,
    parse_envelope,
    parse_unambiguous,
    serialise,
)
from tests.envelope.measured import measurement_of, traces_bytes

RUN_ID = "01997b2e-8c00-7000-8000-000000000001"


def encode(document: object) -> bytes:
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("model", "revision"), "abc", r"model\.revision: .* at least 7 .*'abc'"),
        (("seed",), 4.5, r"seed: .*integer.* 4\.5"),
        (("metrics",), {"ttft": [1]}, r"metrics\.ttft.* \[1\]"),
        (("timestamp",), "2026-05-15T10:30:00", r"timestamp .* no time zone; write UTC"),
        (("hardware_fingerprint", "memory", "channels"), 0, r"channels: .* greater .*got 0"),
        (("dataset", "hash"), "z" * 500, r"dataset\.hash: .*zzz…"),
    ],
)
def test_a_refusal_names_the_field_and_the_value(
    minimal: dict[str, Any], path: tuple[str, ...], value: object, message: str
) -> None:
    document = copy.deepcopy(minimal)
    parent = document
    for part in path[:-1]:
        parent = parent[part]
    parent[path[-1]] = value
    with pytest.raises(EnvelopeError, match=message):
        parse_envelope(encode(document))


def test_changed_hardware_no_longer_matches_its_fingerprint(minimal: dict[str, Any]) -> None:
    document = copy.deepcopy(minimal)
    document["hardware_fingerprint"]["cpu"]["model"] = "A faster CPU"
    with pytest.raises(EnvelopeError, match="changed after the fingerprint was taken"):
        parse_envelope(encode(document))


def test_many_wrong_fields_give_a_short_message(minimal: dict[str, Any]) -> None:
    document = minimal | {"warnings": list(range(10_000))}
    with pytest.raises(EnvelopeError, match="and 9995 more") as caught:
        parse_envelope(encode(document))
    assert len(str(caught.value)) < 2_000


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'"' + b'\\"' * 500_000,
        b'{"seed": ' + b"9" * 10_000 + b"}",
        b"null",
        b"[]",
        b" " * (MAX_ENVELOPE_BYTES + 1),
    ],
    ids=lambda data: repr(data[:6]),
)
def test_hostile_input_is_refused_with_our_error(data: bytes) -> None:
    with pytest.raises(EnvelopeError):
        parse_envelope(data)


def test_nesting_inside_strings_does_not_count(minimal: dict[str, Any]) -> None:
    document = minimal | {"warnings": ["[{" * 200 + '"\\']}
    assert parse_envelope(encode(document)).warnings == document["warnings"]


def test_nesting_is_read_up_to_the_limit(minimal: dict[str, Any]) -> None:
    def nested(levels: int) -> object:
        return [] if levels == 1 else [nested(levels - 1)]

    parse_envelope(encode(minimal | {"x": nested(MAX_NESTING - 1)}))
    with pytest.raises(EnvelopeError, match="deeper than"):
        parse_envelope(encode(minimal | {"x": nested(MAX_NESTING)}))


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every value in a document."""
    inner: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


EXTREMES = (
    "1" + "0" * 400,
    "1e999",
    "NaN",
    "9223372036854775808",
    '"' + "9" * 5000 + '"',
    '"\\ud800"',
    "[" * 50 + "]" * 50,
    '{"x":' * 50 + "1" + "}" * 50,
)
"""JSON that is hard on whoever holds it in a number, a date or a string of another language."""


def test_an_extreme_value_anywhere_is_read_or_refused_as_any_other() -> None:
    measured = build_envelope(measurement_of(RUN_ID, traces_bytes(RUN_ID)))
    whole = json.loads(serialise(measured))
    # The format looks into neither of them, so one place in each stands for all.
    whole |= {"driver_options": {"x": 1}, "inferencebench_pipeline": {"x": 1}}
    refused = 0
    for *parents, last in places(whole)[1:]:
        document = copy.deepcopy(whole)
        place = document
        for key in parents:
            place = place[key]
        place[last] = "(here)"
        for text in EXTREMES:
            try:
                parse_unambiguous(encode(document).replace(b'"(here)"', text.encode()))
            except EnvelopeError:
                refused += 1
    assert refused > len(EXTREMES)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_json_cannot_hold_is_never_written(minimal: dict[str, Any], value: float) -> None:
    for change, field in (
        ({"metrics": {"tpot_p50_ms": value}}, "metrics.tpot_p50_ms"),
        ({"driver_options": {"load": {"rates": [1.0, value]}}}, r"driver_options.load.rates\[1\]"),
    ):
        envelope = parse_envelope(encode(minimal | change))
        with pytest.raises(EnvelopeError, match=f"{field} is .*JSON cannot hold"):
            serialise(envelope)


def test_the_written_form_is_ascii_json_with_a_final_newline(minimal: dict[str, Any]) -> None:
    written = serialise(parse_envelope(encode(minimal | {"warnings": ["Zürich 😀"]})))
    assert written.isascii()
    assert written.endswith(b"}\n")
    assert json.loads(written)["warnings"] == ["Zürich 😀"]


def test_an_envelope_built_around_validation_is_not_written(minimal: dict[str, Any]) -> None:
    envelope = parse_envelope(encode(minimal))
    sneaked = envelope.model_copy(update={"slo_template": " untrimmed "})
    with pytest.raises(EnvelopeError, match="changes its content hash"):
        serialise(sneaked)


@pytest.mark.parametrize("version", ["v2", "v31"])
def test_a_later_version_is_taken_in_and_is_no_v1(minimal: dict[str, Any], version: str) -> None:
    data = encode(minimal | {"envelope_version": version})
    assert parse_any_version(data).envelope_version == version
    with pytest.raises(EnvelopeError, match="not a v1 envelope"):
        parse_envelope(data)


def test_a_v1_is_taken_in_as_it_is_read(minimal: dict[str, Any]) -> None:
    assert parse_any_version(encode(minimal)) == parse_envelope(encode(minimal))


@pytest.mark.parametrize("version", ["v0", "2", "", "v2 or v3"])
def test_a_version_that_is_none_is_taken_in_by_nobody(
    minimal: dict[str, Any], version: str
) -> None:
    with pytest.raises(EnvelopeError, match="not a v1 envelope: envelope_version"):
        parse_any_version(encode(minimal | {"envelope_version": version}))
