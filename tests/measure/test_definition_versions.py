"""Definitions by version: a record keeps the meaning that its numbers were published with."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from inferencebench_pipeline.measure.definition_versions import (
    NEWEST_DEFINITIONS,
    Definitions,
    definitions_of,
    known_definitions,
    newest_of,
)
from inferencebench_pipeline.measure.earlier_definitions import EARLIER_DEFINITIONS
from inferencebench_pipeline.measure.metric_definitions import (
    DEFINITIONS,
    DEFINITIONS_HISTORY,
    DISTRIBUTIONS,
    METRIC_DEFINITIONS_VERSION,
    SAMPLE_FLOORS,
)
from inferencebench_pipeline.measure.metrics.compute import compute_metrics
from inferencebench_pipeline.measure.spec.stated_parts import Slo
from inferencebench_pipeline.measure.traces.schema import SCHEMAS, TRACES_SCHEMA_VERSION
from tests.measure.metrics import reference
from tests.measure.metrics.rows import many_rows, table
from tests.paths import REPOSITORY
from tests.records import published_meanings
from tools.golden_records import words_of


def definitions(version: str) -> Definitions:
    found = definitions_of(version)
    assert found is not None
    return found


@pytest.mark.parametrize("version", [str(each.number) for each in DEFINITIONS_HISTORY])
def test_a_published_definition_never_changes(version: str) -> None:
    published = published_meanings("definitions").get(version)
    assert published is not None, "python -m tools.golden_records keeps what this version means"
    assert words_of(definitions(version)) == published, (
        f"the definitions of version {version} are not those that were published. A new meaning "
        "needs a further line of DEFINITIONS_HISTORY, `since` on the new definition, and the old "
        "one in earlier_definitions.py with `until`"
    )


def test_versions_count_from_one_and_the_newest_is_what_new_records_say() -> None:
    numbers = [each.number for each in DEFINITIONS_HISTORY]
    assert numbers == list(range(1, len(numbers) + 1))
    assert str(numbers[-1]) == METRIC_DEFINITIONS_VERSION == NEWEST_DEFINITIONS.version
    assert dict(NEWEST_DEFINITIONS.metrics) == DEFINITIONS
    assert list(NEWEST_DEFINITIONS.metrics) == list(DEFINITIONS)
    assert NEWEST_DEFINITIONS.distributions == DISTRIBUTIONS
    assert [each.version for each in known_definitions()] == [str(number) for number in numbers]


def test_every_version_is_one_that_something_began_or_ended_with() -> None:
    rows = (*DEFINITIONS.values(), *EARLIER_DEFINITIONS)
    known = {each.number for each in DEFINITIONS_HISTORY}
    assert {row.since for row in rows} <= known
    assert {row.until for row in EARLIER_DEFINITIONS} <= known - {max(known)}
    assert all(row.until is None for row in DEFINITIONS.values())
    assert all(each.began_with.endswith(".") for each in DEFINITIONS_HISTORY)


@pytest.mark.parametrize("version", [each.number for each in DEFINITIONS_HISTORY])
def test_a_key_has_one_meaning_in_a_version(version: int) -> None:
    holding = [
        row.key
        for row in (*DEFINITIONS.values(), *EARLIER_DEFINITIONS)
        if row.since <= version and (row.until is None or version <= row.until)
    ]
    assert set(Counter(holding).values()) == {1}


def test_new_records_are_computed_from_the_traces_that_are_written_now() -> None:
    assert TRACES_SCHEMA_VERSION in NEWEST_DEFINITIONS.traces_schemas
    assert all(each.traces_schemas <= SCHEMAS.keys() for each in DEFINITIONS_HISTORY)


@pytest.mark.parametrize("version", ["0", "99", "", "two", None])
def test_an_unknown_version_has_no_definitions(version: str | None) -> None:
    assert definitions_of(version) is None


def test_the_newest_of_some_versions_is_the_newest_that_is_known() -> None:
    assert newest_of(["1", None, "99", "2", "1"]) is definitions("2")
    assert newest_of(["not stated", None]) is None


def test_numbers_agree_where_their_definition_did_not_change() -> None:
    first, second = definitions("1"), definitions("2")
    shared = first.agreeing_with(second)
    assert shared == second.agreeing_with(first)
    assert {"ttft_p50_ms", "itl_p99_ms", "e2e_mean_ms", "slo_attainment", "error_rate"} <= shared
    # Over one window in the first version, and over the windows of all repeats in the second.
    assert not {"output_tok_per_s", "request_per_s", "goodput_request_per_s"} & shared
    assert not {"ttft_p99_9_ms", "fluidity", "error_rate_timeout"} & shared
    assert second.agreeing_with(second) == second.metrics.keys()


def test_definitions_1_are_those_of_the_first_records() -> None:
    first = definitions("1")
    assert first.traces_schemas == {"1"}
    assert len(first.metrics) == 34
    assert {row.since for row in first.metrics.values()} == {1}
    assert not any("p99_9" in key for key in first.metrics)


@pytest.mark.parametrize("seed", range(6))
def test_definitions_1_give_the_values_of_their_time_and_no_interval(seed: int) -> None:
    rows = [each | {"chunks": untold(each)} for each in many_rows(seed, (80,), uncounted=seed % 2)]
    slo = Slo(ttft_ms=1.5, tpot_ms=0.7) if seed % 3 else Slo()
    found = compute_metrics(table(rows), slo, definitions("1"))
    # Of one repeat whose chunks the engine did not count, both versions give the same values.
    expected = reference.values(rows, slo)
    assert list(found) == [key for key in DEFINITIONS if key in definitions("1").metrics]
    assert {key: (each.value, each.n) for key, each in found.items()} == {
        key: expected[key] for key in found
    }
    assert all(metric.interval is None for metric in found.values())
    assert all((each.value is None) == (each.null_reason is not None) for each in found.values())
    assert any(metric.interval for metric in compute_metrics(table(rows), slo).values())


def untold(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [chunk | {"tokens": None} for chunk in row["chunks"]]


def test_the_documentation_keeps_the_words_of_every_version() -> None:
    text = " ".join((REPOSITORY / "docs/metrics.md").read_text().split())
    for row in EARLIER_DEFINITIONS:
        assert f"`{row.key}`" in text
        assert row.definition in text, f"{row.key} until version {row.until}"
    for each in DEFINITIONS_HISTORY:
        assert f"| {each.number} | {each.began_with} |" in text
    assert all(f"needs {floor}" in text for floor in SAMPLE_FLOORS.values())
