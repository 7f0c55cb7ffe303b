"""Metrics: equal to a slow, obvious reference on any traces, to the last digit."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferencebench_pipeline.measure.metric_definitions import (
    DISTRIBUTIONS,
    ERROR_CLASSES,
    METRIC_DEFINITIONS_VERSION,
)
from inferencebench_pipeline.measure.metrics.compute import DEFINITIONS, compute_metrics, percentile
from inferencebench_pipeline.measure.run.trace_writer import PHASES, SCHEMA
from inferencebench_pipeline.measure.spec.spec import Slo

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SLO = Slo(ttft_ms=1.5, tpot_ms=0.7)
FLOORS = {"50": 1, "90": 10, "95": 20, "99": 662, "99.9": 6636}
CLASSES = set(ERROR_CLASSES)


def row(index: int, **fields: Any) -> dict[str, Any]:
    """A row of the traces; everything not given is null, or as of a request that never began."""
    return {
        "repeat": 1,
        "request_index": index,
        "phase": "measured",
        "prompt_id": "p",
        "attempt": 1,
        "scheduled_ns": 0,
        "end_ns": 0,
        "token_source": "missing",
        "chunks": [],
    } | fields


def answered(
    index: int,
    text_ns: list[int],
    *,
    sent: int = 0,
    tokens: int | None = None,
    told_tokens: list[int] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """A successful row whose text chunks arrived at ``text_ns``, after a role chunk."""
    instants = [(text_ns[0], 0), *((instant, 3) for instant in text_ns), (text_ns[-1], 0)]
    told = iter(told_tokens or [None] * len(text_ns))
    chunks = [
        {
            "received_ns": at,
            "size_bytes": 99,
            "content_chars": chars,
            "tokens": next(told) if chars else 0,
            "kernel_stamp": True,
        }
        for at, chars in instants
    ]
    usage = {} if tokens is None else {"prompt_tokens": 7, "completion_tokens": tokens}
    return row(
        index,
        **{
            "sent_ns": sent,
            "scheduled_ns": sent,
            "first_token_ns": text_ns[0],
            "last_token_ns": text_ns[-1],
            "end_ns": text_ns[-1],
            "chunks": chunks,
            **usage,
            **fields,
        },
    )


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


# -- the reference: plain loops over plain rows, exact fractions, one rounding at the end


def reference(rows: list[dict[str, Any]], slo: Slo) -> dict[str, float | None]:
    measured = [r for r in rows if r["phase"] == "measured"]
    good = [r for r in measured if ok(r)]
    result: dict[str, float | None] = {}
    samples = {
        "ttft": [Fraction(r["first_token_ns"] - r["sent_ns"]) for r in good],
        "ttft_sched": [Fraction(r["first_token_ns"] - r["scheduled_ns"]) for r in good],
        "tpot": [tpot(r) for r in good if tpot(r) is not None],
        "itl": [gap for r in good for gap in gaps(r)],
        "e2e": [Fraction(r["last_token_ns"] - r["sent_ns"]) for r in good],
    }
    for name, values in samples.items():
        values.sort()
        for percent, floor in FLOORS.items():
            enough = len(values) >= floor
            result[f"{name}_p{percent.replace('.', '_')}_ms"] = (
                float(interpolated(values, Fraction(percent)) / 10**6) if enough else None
            )
        mean = sum(values) / len(values) / 10**6 if values else None
        result[f"{name}_mean_ms"] = None if mean is None else float(mean)
    result |= rates(rows, slo)
    result["fluidity"] = fluidity(good, slo)
    result["joules_per_output_token"] = None
    counted = all(r.get("completion_tokens") is not None for r in good)
    result["output_tokens"] = float(sum(r["completion_tokens"] for r in good)) if counted else None
    result["requests_measured"] = float(len(measured))
    result["requests_failed"] = float(len(measured) - len(good))
    share = Fraction(1, len(measured)) if measured else None
    failed = [r for r in measured if not ok(r)]
    result["error_rate"] = float(len(failed) * share) if share else None
    for name in [*CLASSES, "other"]:
        of_class = [r for r in failed if (r["error_class"] in CLASSES and r["error_class"]) == name]
        if name == "other":
            of_class = [r for r in failed if r["error_class"] not in CLASSES]
        result[f"error_rate_{name}"] = float(len(of_class) * share) if share else None
    result["slo_attainment"] = float(sum(meets(r, slo) for r in good) * share) if share else None
    return result


def rates(rows, slo) -> dict[str, float | None]:
    keys = ("output_tok_per_s", "total_tok_per_s", "request_per_s", "goodput_request_per_s")
    nanoseconds = ended = met = output = prompts = 0
    for repeat in sorted({r["repeat"] for r in rows}):
        here = [r for r in rows if r["repeat"] == repeat]
        measured = [r for r in here if r["phase"] == "measured"]
        start = min((r["scheduled_ns"] for r in measured), default=0)
        end = max((r["end_ns"] for r in measured), default=0)
        nanoseconds += max(end - start, 0)
        for r in (r for r in here if ok(r)):
            inside = start < r["end_ns"] <= end
            ended += inside
            met += inside and meets(r, slo)
            carried = zip(text_times(r), carried_tokens(r), strict=True)
            output += sum(tokens for t, tokens in carried if start < t <= end)
            prompts += r.get("prompt_tokens", 0) if start < text_times(r)[0] <= end else 0
    if nanoseconds == 0:
        return dict.fromkeys(keys)
    seconds = Fraction(nanoseconds, 10**9)
    counted = all(r.get("completion_tokens") is not None for r in rows if ok(r))
    return {
        "request_per_s": float(ended / seconds),
        "goodput_request_per_s": float(met / seconds),
        "output_tok_per_s": float(output / seconds) if counted else None,
        "total_tok_per_s": float((output + prompts) / seconds) if counted else None,
    }


def carried_tokens(r) -> list[int]:
    """How many tokens each text chunk carried."""
    tokens = r.get("completion_tokens") or 0
    told = [chunk["tokens"] for chunk in r["chunks"] if chunk["content_chars"] > 0]
    if None not in told and sum(told) == tokens:
        return told
    ends = [tokens * (k + 1) // len(told) for k in range(len(told))]
    return [end - before for before, end in zip([0, *ends], ends, strict=False)]


def fluidity(good, slo) -> float | None:
    missed = total = 0
    for r in good:
        if r.get("completion_tokens") is None:
            return None
        slack, before, step = 0, r["scheduled_ns"], slo.ttft_ms * 10**6
        for arrived, tokens in zip(text_times(r), carried_tokens(r), strict=True):
            for _ in range(tokens):
                left = slack + step - (arrived - before)
                misses = 0 if left >= 0 else int(-left // (slo.tpot_ms * 10**6)) + 1
                missed += misses
                total += max(misses, 1)
                slack = max(left, 0)
                before, step = arrived, slo.tpot_ms * 10**6
    return (total - missed) / total if total else None


def ok(r) -> bool:
    return r.get("error_class") is None and r.get("first_token_ns") is not None


def text_times(r) -> list[int]:
    return [chunk["received_ns"] for chunk in r["chunks"] if chunk["content_chars"] > 0]


def gaps(r) -> list[Fraction]:
    times = text_times(r)
    return [Fraction(times[i] - times[i - 1]) for i in range(1, len(times))]


def tpot(r) -> Fraction | None:
    tokens = r.get("completion_tokens")
    if tokens is None or tokens < 2:
        return None
    picoseconds = (r["last_token_ns"] - r["first_token_ns"]) * 1000 // (tokens - 1)
    return Fraction(picoseconds, 1000)


def meets(r, slo) -> bool:
    if (r["first_token_ns"] - r["scheduled_ns"]) / 1e6 > slo.ttft_ms:
        return False
    if r.get("completion_tokens") == 1:
        return True
    return tpot(r) is not None and float(tpot(r) / 10**6) <= slo.tpot_ms


def interpolated(ordered: list[Fraction], percent: Fraction) -> Fraction:
    rank = percent * (len(ordered) - 1) / 100
    low = ordered[int(rank)]
    high = ordered[min(int(rank) + 1, len(ordered) - 1)]
    return low + (high - low) * (rank - int(rank))


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
    found = {key: metric.value for key, metric in compute_metrics(table(rows), SLO).items()}
    assert found == reference(rows, SLO)


@given(any_rows())
@settings(max_examples=40)
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
@settings(max_examples=40)
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


def test_one_run_has_intervals_from_its_blocks_around_every_estimate() -> None:
    metrics = compute_metrics(table(spaced(400)), SLO)
    for key, metric in metrics.items():
        assert (metric.interval is None) == (metric.interval_null_reason is not None) or (
            metric.value is None
        ), key
    for key in ("ttft_p50_ms", "itl_p90_ms", "e2e_mean_ms", "output_tok_per_s", "request_per_s"):
        metric = metrics[key]
        assert metric.interval is not None, (key, metric.interval_null_reason)
        assert metric.value is not None
        assert metric.interval.method == "moving_block_bootstrap"
        assert metric.interval.low <= metric.value <= metric.interval.high, key
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
@settings(max_examples=20)
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
