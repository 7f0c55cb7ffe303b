"""The short way of reading comes to the same envelope and hash as the long one, or is not taken."""

from __future__ import annotations

import collections
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferencebench_pipeline.envelope.build import build_envelope
from inferencebench_pipeline.envelope.canonical import (
    EnvelopeError,
    content_hash,
    parse_envelope,
    parse_unambiguous,
    serialise,
)
from inferencebench_pipeline.envelope.reading import read_unambiguous
from inferencebench_pipeline.runs.run_directory import new_run_id
from tests.chance import dice, examples
from tests.envelope.measured import measurement_of, traces_bytes
from tests.envelope.test_properties import documents
from tests.envelope.vectors import our_vectors
from tests.trust.mutations import noisy, restructure

SHARDS = 5
PER_SHARD = 2000


def indented(document: object) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


WRITERS: list[Callable[[Any], bytes]] = [
    lambda document: json.dumps(document, indent=2).encode(),
    lambda document: json.dumps(document, indent=2, ensure_ascii=False).encode(),
    lambda document: json.dumps(document).encode(),
    lambda document: indented(document) if fits(document) else json.dumps(document).encode(),
]


def fits(document: object) -> bool:
    """Whether orjson can write it: no integer beyond 64 bits, no lone surrogate."""
    try:
        orjson.dumps(document)
    except TypeError:
        return False
    return True


def same_by_both(data: bytes) -> bool | None:
    """Compare both ways; return whether the short one was taken, None when both refuse."""
    try:
        long = parse_unambiguous(data)
    except EnvelopeError as error:
        with pytest.raises(EnvelopeError) as refused:
            read_unambiguous(data)
        assert str(refused.value) == str(error)
        return None
    read = read_unambiguous(data)
    assert read.envelope == long
    assert read.content_hash == content_hash(long)
    return read.body is not None


@pytest.fixture(scope="module")
def written() -> bytes:
    run_id = new_run_id()
    return serialise(build_envelope(measurement_of(run_id, traces_bytes(run_id))))


def test_what_this_pipeline_writes_is_read_by_the_short_way(written: bytes) -> None:
    assert same_by_both(written)
    assert same_by_both(written.rstrip())


@pytest.mark.parametrize("shard", range(len(WRITERS)))
def test_the_formats_vectors_agree_however_they_are_written(shared_data: Path, shard: int) -> None:
    folder = shared_data / "envelope-vectors"
    names = [item["file"] for item in json.loads((folder / "manifest.json").read_text())["vectors"]]
    vectors = [json.loads((folder / name).read_text()) for name in names]
    texts = [item["input_text"] for item in [*vectors, *our_vectors()] if "input_text" in item]
    assert len(texts) > 50
    ways: collections.Counter[bool | None] = collections.Counter()
    for text in texts:
        same_by_both(text.encode("utf-8", "surrogatepass"))
        try:
            again = WRITERS[shard](json.loads(text))
        except (ValueError, UnicodeEncodeError):
            continue
        ways[same_by_both(again)] += 1
    assert ways.total() > 50


def test_every_published_envelope_agrees_and_rewritten_takes_the_short_way(
    shared_data: Path,
) -> None:
    folder = shared_data / "corpus"
    listed = json.loads((folder / "manifest.json").read_text())["envelopes"]
    assert len(listed) == 50
    for item in listed:
        data = (folder / item["path"]).read_bytes()
        same_by_both(data)
        rewritten = serialise(parse_envelope(data))
        assert same_by_both(rewritten)
        assert read_unambiguous(rewritten).content_hash == item["content_hash"]


@settings(max_examples=examples(200), deadline=None)
@given(documents(), st.sampled_from(WRITERS))
def test_any_document_agrees_however_it_is_written(
    document: dict[str, Any], write: Callable[[Any], bytes]
) -> None:
    try:
        data = write(document)
    except UnicodeEncodeError:
        return
    same_by_both(data)


@settings(max_examples=examples(300), deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 3))
def test_any_number_agrees(written: bytes, value: float, writer: int) -> None:
    """Python and the short way's writer spell small and large numbers differently."""
    document = json.loads(written)
    document["x_numbers"] = [value, {"value": value}]
    document["metrics"]["x_number"] = value
    same_by_both(WRITERS[writer](document))


@pytest.mark.parametrize(
    "value",
    [1e-4, 9.9e-5, 1.234e-5, 1e-7, 1e-10, 5e-324, 1e15, 1e16, 1.5e16, 1e22, 1.7e308, -1e-9, -0.0],
)
def test_numbers_at_the_edges_agree(written: bytes, value: float) -> None:
    for write in WRITERS:
        document = json.loads(written)
        document["x_numbers"] = [value]
        document["driver_options"]["nested"] = {"value": [value, 1, value]}
        assert same_by_both(write(document)) is not None


@pytest.mark.parametrize("code", [*range(0x20), 0x22, 0x2F, 0x5C, 0x7E, 0x7F, 0x80, 0x2028])
def test_every_character_that_is_written_specially_agrees(written: bytes, code: int) -> None:
    for write in WRITERS:
        document = json.loads(written)
        document["x_text"] = f"a{chr(code)}b"
        document["warnings"] = [f"a{chr(code)}", chr(code)]
        assert same_by_both(write(document)) is not None


def test_what_only_the_long_way_may_judge_is_left_to_it(written: bytes) -> None:
    document = json.loads(written)
    again = {**document, "metrics": {"a": 1, "b": 2}}
    repeated = written.replace(b'"seed"', b'"suite_id": "x",\n  "seed"', 1)
    twice_inside = json.dumps(again, indent=2).replace('"b": 2', '"a": 2').encode()
    for data in (repeated, twice_inside):
        assert same_by_both(data) is None
    for field, value in (("suite_id", " padded "), ("seed", "42"), ("slo_template", "a\t")):
        assert same_by_both(indented({**document, field: value})) is False
    padded_key = {**document["distributions"], " key ": "value"}
    assert same_by_both(indented({**document, "distributions": padded_key})) is False
    without = {name: value for name, value in document.items() if name != "warnings"}
    assert same_by_both(indented(without)) is False
    assert same_by_both(indented(dict(sorted(document.items())))) is False


@pytest.mark.parametrize("levels", [60, 61, 62, 63, 64, 65, 300])
@pytest.mark.parametrize("inner", ['"x"', "[]", "{}"])
def test_nesting_is_bounded_by_both(written: bytes, levels: int, inner: str) -> None:
    document = json.loads(written)
    document["x_deep"] = json.loads("[" * levels + inner + "]" * levels)

    for write in WRITERS[:3]:
        same_by_both(write(document))


@pytest.mark.drawn
@pytest.mark.parametrize(
    "shard", [0, *(pytest.param(n, marks=pytest.mark.nightly) for n in range(1, SHARDS))]
)
def test_ten_thousand_mutations_agree(written: bytes, shard: int) -> None:
    chance = dice(f"reading {shard}")
    ways: collections.Counter[bool | None] = collections.Counter()
    for _ in range(PER_SHARD):
        document = json.loads(written)
        hits = [restructure(document, chance) for _ in range(chance.choice([0, 1, 1, 2]))]
        data = chance.choice(WRITERS)(document)
        if not hits or chance.random() < 0.2:
            _, data = noisy(data, chance)
        ways[same_by_both(data)] += 1
    assert min(ways[True], ways[False], ways[None]) > PER_SHARD // 50, ways
