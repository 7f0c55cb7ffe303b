"""Metrics: equal to a slow, obvious reference on any traces, to the last digit."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from inferencebench_pipeline.measure.errors import TracesError
from inferencebench_pipeline.measure.metric_definitions import (
    DISTRIBUTIONS,
    METRIC_DEFINITIONS_VERSION,
    Distribution,
    Span,
    is_tested,
)
from inferencebench_pipeline.measure.metrics import arrays
from inferencebench_pipeline.measure.metrics.arrays import TraceArrays
from inferencebench_pipeline.measure.metrics.compute import DEFINITIONS, compute_metrics
from inferencebench_pipeline.measure.metrics.estimators import percentile
from inferencebench_pipeline.measure.metrics.samples import latencies_ms, samples_of
from inferencebench_pipeline.measure.metrics.window_energy import WindowEnergy
from inferencebench_pipeline.measure.spec.stated_parts import Slo
from inferencebench_pipeline.measure.traces.reader import Traces
from inferencebench_pipeline.measure.traces.schema import PHASES
from tests.chance import examples
from tests.measure.metrics import reference
from tests.measure.metrics.rows import answered, row, table
from tests.paths import REPOSITORY

SLO = Slo(ttft_ms=1.5, tpot_ms=0.7)


@st.composite
def any_rows(draw, repeats: int = 3) -> list[dict[str, Any]]:
    rows = []
    for repeat in range(1, draw(st.integers(1, repeats)) + 1):
        for index in range(draw(st.integers(0, 20))):
            rows.append(draw(any_row(index)) | {"repeat": repeat})
    return rows


@st.composite
def any_row(draw, index: int) -> dict[str, Any]:
    phase = draw(st.sampled_from(PHASES))
    scheduled = draw(st.integers(0, 5_000_000))
    sent = scheduled + draw(st.integers(0, 100_000))
    if draw(st.integers(0, 5)) == 0:
        end = sent + draw(st.integers(0, 10**6))
        error = draw(st.sampled_from(["timeout", "http_5xx", "surprise"]))
        return row(index, phase=phase, scheduled_ns=scheduled, end_ns=end, error_class=error)
    steps = draw(st.lists(st.integers(0, 1_000_000), min_size=1, max_size=20))
    times = [sent + sum(steps[: position + 1]) for position in range(len(steps))]
    told = draw(st.none() | st.lists(st.integers(0, 4), min_size=len(times), max_size=len(times)))
    tokens = draw(
        st.sampled_from([len(times), len(times), 1, 3 * len(times), sum(told or []), None])
    )
    return answered(
        index,
        times,
        sent=sent,
        tokens=tokens,
        told_tokens=told,
        phase=phase,
        scheduled_ns=scheduled,
    )


@given(any_rows())
def test_metrics_equal_the_obvious_reference_to_the_last_digit(rows) -> None:
    found = compute_metrics(table(rows), SLO)
    expected = reference.values(rows, SLO)
    assert {key: (metric.value, metric.n) for key, metric in found.items()} == expected


@given(any_rows())
@settings(max_examples=examples(40))
def test_a_missing_value_always_has_a_reason_and_a_present_one_never(rows) -> None:
    metrics = compute_metrics(table(rows), Slo())
    assert list(metrics) == list(DEFINITIONS)
    for key, metric in metrics.items():
        assert (metric.value is None) == (metric.null_reason is not None), key
        assert metric.unit == DEFINITIONS[key].unit


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=50), st.integers(0, 1000))
def test_percentiles_are_numpys_linear_ones(values, permille) -> None:
    ordered = np.sort(np.array(values, dtype=np.int64))
    expected = float(np.percentile(ordered, permille / 10))
    assert percentile(ordered, permille, 1) == pytest.approx(expected, rel=1e-12, abs=1e-6)


@given(any_rows(), st.integers(1, 10))
@settings(max_examples=examples(40))
def test_the_order_and_the_chunking_of_the_table_do_not_matter(rows, pieces) -> None:
    whole = table(rows)
    size = max(1, len(rows) // pieces)
    split = pa.concat_tables(
        [whole.slice(start, size) for start in range(0, max(len(rows), 1), size)]
    )
    assert compute_metrics(split, SLO) == compute_metrics(whole, SLO)
    assert compute_metrics(table(rows[::-1]), SLO) == compute_metrics(whole, SLO)


def test_p99_needs_662_samples() -> None:
    rows = [answered(index, [1000, 2000], tokens=2) for index in range(662)]
    assert compute_metrics(table(rows), SLO)["ttft_p99_ms"].value == 0.001
    short = compute_metrics(table(rows[:661]), SLO)["ttft_p99_ms"]
    assert short.value is None
    assert short.null_reason == "661 samples, at least 662 needed"


def test_warmup_and_drained_requests_leave_the_latencies_alone_but_count_in_the_rates() -> None:
    rows = [
        answered(0, [500, 1500], sent=0, tokens=2, phase="warmup"),
        answered(1, [2000, 3000], sent=1000, tokens=2),
        answered(2, [2500, 9000], sent=1500, tokens=2, phase="drained"),
    ]
    metrics = compute_metrics(table(rows), SLO)
    assert metrics["ttft_p50_ms"].n == 1
    assert metrics["requests_measured"].value == 1
    # The window is 1000..3000 ns: one warm-up token, two measured ones and one drained one.
    assert metrics["output_tok_per_s"].value == 4 / 2e-6
    assert metrics["request_per_s"].value == 2 / 2e-6


def test_attainment_counts_failures_as_misses() -> None:
    rows = [
        answered(0, [1_000_000, 1_100_000], tokens=2),
        row(1, end_ns=5_000_000, error_class="http_5xx"),
        answered(2, [2_000_000, 2_100_000], tokens=2),
        answered(3, [1_000_000], tokens=1),
    ]
    metrics = compute_metrics(table(rows), SLO)
    assert metrics["slo_attainment"].value == 0.5
    assert metrics["error_rate"].value == 0.25
    assert compute_metrics(table(rows), Slo())["slo_attainment"].null_reason == "no SLO given"


def test_the_documentation_gives_every_definition_in_the_same_words() -> None:
    text = " ".join((REPOSITORY / "docs/metrics.md").read_text().split())
    assert f"version {METRIC_DEFINITIONS_VERSION}" in text
    for distribution in DISTRIBUTIONS:
        assert distribution.definition in text, distribution.name
    per_distribution = {f"{each.name}_" for each in DISTRIBUTIONS}
    for key, definition in DEFINITIONS.items():
        if not key.endswith("_ms") or not any(key.startswith(name) for name in per_distribution):
            assert f"`{key}`" in text
            assert definition.definition in text or key.startswith("error_rate_"), key


def test_showing_a_metric_and_testing_it_are_two_decisions() -> None:
    shown = {key for key, item in DEFINITIONS.items() if item.shown_on}
    tested = {key for key, item in DEFINITIONS.items() if item.tested_in}
    assert shown - tested
    assert tested - shown
    assert not is_tested("itl_p50_ms", "compare")
    assert is_tested("fluidity", "compare")
    assert not is_tested("fluidity", "history")
    assert not is_tested("another_record_states_this", "compare")


def test_a_span_that_is_only_declared_has_its_samples() -> None:
    rows = [answered(index, [900 + index, 1500], sent=100, tokens=2) for index in range(3)]
    rows.append(row(3, end_ns=5_000, error_class="timeout"))
    arrays = TraceArrays.of(Traces.of(table(rows)), SLO)
    declared = Distribution("decode", "Decode", "Words", samples=Span("first_token", "last_token"))
    samples = samples_of(declared, arrays)
    assert samples.values.array().tolist() == [600, 599, 598]
    assert samples.chosen.tolist() == [True, True, True, False]


def test_the_curves_are_drawn_from_the_samples_of_the_values() -> None:
    rows = table([answered(index, [900, 1500, 1800], tokens=3) for index in range(3)])
    drawn = latencies_ms(Traces.of(rows), most_tokens=9)
    assert list(drawn) == [each.name for each in DISTRIBUTIONS if each.drawn]
    metrics = compute_metrics(rows, SLO)
    for name, samples in drawn.items():
        assert samples.mean() == pytest.approx(metrics[f"{name}_mean_ms"].value)
    assert "itl" not in latencies_ms(Traces.of(rows), most_tokens=8)


def test_every_definition_says_what_it_means() -> None:
    assert len({definition.label for definition in DEFINITIONS.values()}) == len(DEFINITIONS)
    for key, definition in DEFINITIONS.items():
        assert definition.key == key
        assert definition.definition.endswith(".")
        assert definition.better in {"lower", "higher"}


def spaced(count: int, repeat: int = 1, *, wobble: int = 7) -> list[dict[str, Any]]:
    """Requests one after another, whose times to the first token go up and down."""
    rows = []
    for index in range(count):
        sent = index * 1_000_000
        first = sent + 100_000 + 10_000 * (index * wobble % 13) + 1_000 * repeat
        times = [first, first + 20_000 + index % 5, first + 50_000]
        rows.append(answered(index, times, sent=sent, tokens=3, repeat=repeat))
    return rows


def test_every_value_has_an_interval_or_the_reason_why_there_is_none() -> None:
    metrics = compute_metrics(table(spaced(400)), SLO)
    for key, metric in metrics.items():
        assert (metric.interval is None) == (metric.interval_null_reason is not None) or (
            metric.value is None
        ), key
    assert metrics["slo_attainment"].interval is not None
    assert metrics["slo_attainment"].interval.method == "wilson"
    assert "a count" in (metrics["requests_measured"].interval_null_reason or "")


def test_few_requests_have_no_interval_and_say_why() -> None:
    metric = compute_metrics(table(spaced(63)), SLO)["ttft_p50_ms"]
    assert metric.interval is None
    assert metric.interval_null_reason == "63 observations, at least 64 needed"


def test_five_repeats_have_the_interval_over_repeats() -> None:
    rows = [row for repeat in range(1, 6) for row in spaced(80, repeat)]
    metrics = compute_metrics(table(rows), SLO)
    alone = [
        compute_metrics(table(spaced(80, repeat)), SLO)["ttft_p50_ms"].value
        for repeat in range(1, 6)
    ]
    interval = metrics["ttft_p50_ms"].interval
    assert interval is not None
    assert (interval.method, interval.n) == ("repeats", 5.0)
    assert interval.low < np.mean(alone) < interval.high
    four = [row for row in rows if row["repeat"] < 5]
    fewer = compute_metrics(table(four), SLO)["ttft_p50_ms"].interval
    assert fewer is not None
    assert fewer.method == "moving_block_bootstrap"


def test_a_repeat_that_cannot_give_a_value_is_named() -> None:
    rows = [row for repeat in range(1, 6) for row in spaced(140, repeat)]
    p99 = compute_metrics(table(rows), SLO)["ttft_p99_ms"]
    assert p99.value is not None
    assert p99.interval_null_reason == "repeat 1 alone: 140 samples, at least 662 needed"


@given(any_rows())
@settings(max_examples=examples(20))
def test_intervals_are_the_same_however_the_table_is_cut(rows) -> None:
    many = rows + [row | {"repeat": 4} for row in spaced(70)]
    whole = table(many)
    split = pa.concat_tables([whole.slice(start, 9) for start in range(0, len(many), 9)])
    assert compute_metrics(split, SLO) == compute_metrics(whole, SLO)


def with_energy(rows: list[dict[str, Any]], *energy: dict[str, Any]) -> pa.Table:
    return table(rows).replace_schema_metadata({"inferencebench.energy": json.dumps(energy)})


def test_energy_per_token_is_null_with_the_reason_unless_every_window_was_measured() -> None:
    rows = [row for repeat in (1, 2) for row in spaced(4, repeat)]
    key = "joules_per_output_token"
    assert compute_metrics(table(rows), SLO)[key].null_reason == "no telemetry was recorded"
    none = {"joules": None, "null_reason": "no meter"}
    half = compute_metrics(with_energy(rows, {"joules": 3.0}, none), SLO)[key]
    assert (half.value, half.null_reason) == (None, "no meter")
    zero = compute_metrics(with_energy(rows, {"joules": 3.0}, {"joules": 0.0}), SLO)[key]
    assert zero.value is None
    whole = compute_metrics(with_energy(rows, {"joules": 3.0}, {"joules": 9.0}), SLO)[key]
    assert whole.value == 12.0 / 24
    assert whole.n == 24


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row(0, error_class="timeout")], "no token arrived during the measured window"),
        ([answered(0, [10])], "1 successful requests came without the engine's token count"),
    ],
)
def test_energy_is_spread_over_tokens_that_are_counted(
    rows: list[dict[str, Any]], said: str
) -> None:
    found = compute_metrics(with_energy(rows, {"joules": 3.0}), SLO)["joules_per_output_token"]
    assert (found.value, found.null_reason) == (None, said)


def test_failures_have_a_rate_per_class() -> None:
    rows = [
        answered(0, [10], tokens=1),
        row(1, error_class="timeout"),
        row(2, error_class="timeout"),
        row(3, error_class="something new"),
    ]
    metrics = compute_metrics(table(rows), SLO)
    assert metrics["error_rate"].value == 0.75
    assert metrics["error_rate_timeout"].value == 0.5
    assert metrics["error_rate_other"].value == 0.25
    assert metrics["error_rate_http_5xx"].value == 0.0


def test_fluidity_forgives_a_stall_that_was_paid_for_and_counts_one_that_was_not() -> None:
    slo = Slo(ttft_ms=1.0, tpot_ms=0.1)
    paid = answered(0, [500_000, 1_050_000, 1_200_000], tokens=3)
    late = answered(0, [1_000_000, 1_350_000, 1_450_000], tokens=3)
    assert compute_metrics(table([paid]), slo)["fluidity"].value == 1.0
    # 350 us after the first token where 100 were due: three deadlines passed, and one is met.
    assert compute_metrics(table([late]), slo)["fluidity"].value == 2 / 5
    assert compute_metrics(table([late]), Slo(ttft_ms=1.0))["fluidity"].null_reason is not None


def test_energy_stated_for_another_number_of_repeats_is_none() -> None:
    rows = [row for repeat in (1, 2) for row in spaced(4, repeat)]
    found = compute_metrics(with_energy(rows, {"joules": 3.0}), SLO)["joules_per_output_token"]
    assert (found.value, found.null_reason) == (None, "no telemetry was recorded")


@pytest.mark.parametrize(
    "stated",
    [{"joules": 1.0, "null_reason": "x"}, {"joules": None}, {"joules": -1.0}, {"joules": 0.0}],
)
def test_energy_has_either_joules_or_a_reason(stated: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WindowEnergy.model_validate(stated)


def test_answers_without_any_token_have_no_fluidity() -> None:
    found = compute_metrics(table([answered(0, [10], tokens=0)]), SLO)["fluidity"]
    assert (found.value, found.null_reason) == (None, "no token")


def test_long_gaps_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table([answered(0, [0, 2**33, 2**34, 2**35], tokens=4)])
    assert compute_metrics(rows, SLO)["itl_p50_ms"].n == 3
    monkeypatch.setattr(arrays, "MOST_LONG_GAPS", 2)
    with pytest.raises(TracesError, match="more than 2 gaps"):
        compute_metrics(rows, SLO)
