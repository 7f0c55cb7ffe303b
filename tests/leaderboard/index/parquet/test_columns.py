"""Facts read straight from the bytes are those that the full parser gives, or are left to it."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferencebench_pipeline.envelope.canonical import EnvelopeError, parse_envelope
from inferencebench_pipeline.leaderboard.envelope_source import EnvelopeSource
from inferencebench_pipeline.leaderboard.facts import (
    METRIC_FIELDS,
    column_values,
    metric_values,
)
from inferencebench_pipeline.leaderboard.index.parquet.columns import FactColumns, headlines
from inferencebench_pipeline.leaderboard.index.parquet.fast_facts import read_fast
from inferencebench_pipeline.runs.run_directory import new_run_id
from tests.corpus.world import record

SHA256 = "ab" * 32
PLAIN: dict[str, Any] = json.loads(record(new_run_id(), "example-org/one")["envelope.json"])
NOTES = "inferencebench_pipeline"
_FIRST_METRIC = next(iter(PLAIN["metrics"]))

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=8),
    st.sampled_from(
        ["", " padded ", "\u00a0x", "\x1cx", "1", "2026-05-15T10:30:00+02:00", "x" * 64]
    ),
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(st.sampled_from(["gpus", "kind", "n", " n "]), st.integers(0, 3), max_size=2),
)


def _places(part: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = (
        part.items()
        if isinstance(part, dict)
        else enumerate(part)
        if isinstance(part, list)
        else ()
    )
    for key, value in items:
        found.extend(_places(value, (*path, key)))
    return found


PLACES = sorted(
    (path for path in _places(PLAIN) if path[0] != "signature"),
    key=lambda path: (len(path), str(path)),
)


def _edited(place: tuple[Any, ...], value: Any, *, remove: bool) -> dict[str, Any]:
    document = copy.deepcopy(PLAIN)
    *above, last = place
    part: Any = document
    for key in above:
        part = part[key]
    if remove:
        del part[last]
    else:
        part[last] = value
    return document


def _full(data: bytes) -> tuple[dict[str, Any], list[tuple[Any, ...]]] | None:
    try:
        envelope = parse_envelope(data)
    except EnvelopeError:
        return None
    source = EnvelopeSource.of(envelope, SHA256)
    return column_values(source), list(metric_values(source))


def _agree(data: bytes) -> bool:
    """Whether the bytes were read without the full parser, which then says the same."""
    full = _full(data)
    if full is None:
        return False
    plain = read_fast(data, SHA256, full[0]["content_hash"])
    if plain is not None:
        assert plain == full
    return plain is not None


def test_an_envelope_as_writers_make_it_is_read_without_the_full_parser():
    assert _agree(json.dumps(PLAIN).encode())


@given(place=st.sampled_from(PLACES), value=ODD, remove=st.booleans())
def test_whatever_one_value_is_both_say_the_same(place, value, remove):
    _agree(json.dumps(_edited(place, value, remove=remove)).encode())


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("model", "id"), " padded "),
        (("metrics", _FIRST_METRIC), True),
        (("metrics", " padded "), 1.0),
        (("seed",), "42"),
        (("timestamp",), "2026-05-15T10:30:00+02:00"),
        ((NOTES, "metric_notes", _FIRST_METRIC, "n"), "12"),
        ((NOTES, "validity", 0, "ok"), "yes"),
    ],
)
def test_what_only_the_lax_rules_understand_is_left_to_them(place, value):
    data = json.dumps(_edited(place, value, remove=False)).encode()

    assert _full(data) is not None
    assert read_fast(data, SHA256, "0" * 64) is None


def test_an_interval_of_another_confidence_is_not_taken_for_95_percent():
    note = PLAIN[NOTES]["metric_notes"][_FIRST_METRIC]
    interval = {"low": 1.0, "high": 2.0, "confidence": 0.5, "method": "repeats", "n": 5.0}
    document = _edited(
        (NOTES, "metric_notes", _FIRST_METRIC), note | {"interval": interval}, remove=False
    )
    data = json.dumps(document).encode()

    assert _agree(data)
    (values, *_) = metric_values(EnvelopeSource.of(parse_envelope(data), SHA256))
    fact = dict(zip(METRIC_FIELDS, values, strict=True))
    assert (fact["low"], fact["high"]) == (None, None)


def test_a_row_holds_the_metrics_that_tables_and_fronts_use_and_nothing_of_what_cannot_be_read():
    columns = FactColumns()
    data = json.dumps(PLAIN).encode()
    columns.add("org/a", data, SHA256, _full(data)[0]["content_hash"])
    columns.add("org/broken", b"{", SHA256, None)
    facts, metrics = columns.tables()

    (row,) = headlines(metrics).to_pylist()

    assert facts["repo_id"].to_pylist() == ["org/a"]
    assert len(metrics) == len(PLAIN["metrics"])
    keys = [cell["key"] for cell in row["headline"]]
    assert "output_tok_per_s" in keys
    assert "requests_measured" not in keys
    assert {cell["key"]: cell["value"] for cell in row["headline"]} == {
        key: PLAIN["metrics"][key] for key in keys
    }
