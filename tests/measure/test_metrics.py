"""Metrics: equal to a slow, obvious reference on any traces, to the last digit."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferencebench_pipeline.measure.metrics import DEFINITIONS, compute_metrics, percentile
from inferencebench_pipeline.measure.spec import Slo
from inferencebench_pipeline.measure.traces import PHASES, SCHEMA

SLO = Slo(ttft_ms=1.5, tpot_ms=0.7)
FLOORS = {50: 1, 90: 10, 95: 20, 99: 662}


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
    index: int, text_ns: list[int], *, sent: int = 0, tokens: int | None = None, **fields: Any
) -> dict[str, Any]:
    """A successful row whose text chunks arrived at ``text_ns``, after a role chunk."""
    instants = [(text_ns[0], 0), *((instant, 3) for instant in text_ns), (text_ns[-1], 0)]
    chunks = [
        {"received_ns": at, "size_bytes": 99, "content_chars": chars, "kernel_stamp": True}
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
            result[f"{name}_p{percent}_ms"] = (
                float(interpolated(values, percent) / 10**6) if enough else None
            )
        mean = sum(values) / len(values) / 10**6 if values else None
        result[f"{name}_mean_ms"] = None if mean is None else float(mean)
    result |= rates(rows, measured, slo)
    counted = all(r.get("completion_tokens") is not None for r in good)
    result["output_tokens"] = float(sum(r["completion_tokens"] for r in good)) if counted else None
    result["requests_measured"] = float(len(measured))
    result["requests_failed"] = float(len(measured) - len(good))
    share = Fraction(1, len(measured)) if measured else None
    result["error_rate"] = float((len(measured) - len(good)) * share) if share else None
    result["slo_attainment"] = float(sum(meets(r, slo) for r in good) * share) if share else None
    return result


def rates(rows, measured, slo) -> dict[str, float | None]:
    keys = ("output_tok_per_s", "total_tok_per_s", "request_per_s", "goodput_request_per_s")
    start = min((r["scheduled_ns"] for r in measured), default=0)
    end = max((r["end_ns"] for r in measured), default=0)
    if end <= start:
        return dict.fromkeys(keys)
    seconds = Fraction(end - start, 10**9)
    successes = [r for r in rows if ok(r)]
    ended = [r for r in successes if start < r["end_ns"] <= end]
    result: dict[str, float | None] = {
        "request_per_s": float(len(ended) / seconds),
        "goodput_request_per_s": float(sum(meets(r, slo) for r in ended) / seconds),
    }
    if any(r.get("completion_tokens") is None for r in successes):
        return result | {"output_tok_per_s": None, "total_tok_per_s": None}
    output = prompts = 0
    for r in successes:
        times = text_times(r)
        tokens = r["completion_tokens"]
        output += tokens * sum(t <= end for t in times) // len(times)
        output -= tokens * sum(t <= start for t in times) // len(times)
        prompts += r["prompt_tokens"] if start < times[0] <= end else 0
    result["output_tok_per_s"] = float(output / seconds)
    result["total_tok_per_s"] = float((output + prompts) / seconds)
    return result


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


def interpolated(ordered: list[Fraction], percent: int) -> Fraction:
    rank = Fraction(percent * (len(ordered) - 1), 100)
    low = ordered[int(rank)]
    high = ordered[min(int(rank) + 1, len(ordered) - 1)]
    return low + (high - low) * (rank - int(rank))


@st.composite
def any_rows(draw) -> list[dict[str, Any]]:
    rows = []
    for index in range(draw(st.integers(0, 40))):
        phase = draw(st.sampled_from(PHASES))
        scheduled = draw(st.integers(0, 5_000_000))
        sent = scheduled + draw(st.integers(0, 100_000))
        if draw(st.integers(0, 5)) == 0:
            end = sent + draw(st.integers(0, 10**6))
            rows.append(
                row(index, phase=phase, scheduled_ns=scheduled, end_ns=end, error_class="timeout")
            )
            continue
        steps = draw(st.lists(st.integers(0, 1_000_000), min_size=1, max_size=20))
        times = [sent + sum(steps[: position + 1]) for position in range(len(steps))]
        tokens = draw(st.sampled_from([len(times), len(times), 1, 3 * len(times), None]))
        rows.append(
            answered(index, times, sent=sent, tokens=tokens, phase=phase, scheduled_ns=scheduled)
        )
    return rows


@given(any_rows())
def test_metrics_equal_the_obvious_reference_to_the_last_digit(rows) -> None:
    found = {key: metric.value for key, metric in compute_metrics(table(rows), SLO).items()}
    assert found == reference(rows, SLO)


@given(any_rows())
def test_a_missing_value_always_has_a_reason_and_a_present_one_never(rows) -> None:
    metrics = compute_metrics(table(rows), Slo())
    assert list(metrics) == list(DEFINITIONS)
    for key, metric in metrics.items():
        assert (metric.value is None) == (metric.null_reason is not None), key
        assert metric.unit == DEFINITIONS[key].unit


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=50), st.integers(0, 100))
def test_percentiles_are_numpys_linear_ones(values, percent) -> None:
    ordered = np.sort(np.array(values, dtype=np.int64))
    expected = float(np.percentile(ordered, percent))
    assert percentile(ordered, percent, 1) == pytest.approx(expected, rel=1e-12, abs=1e-6)


@given(any_rows(), st.integers(1, 10))
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


def test_every_definition_says_what_it_means() -> None:
    assert len({definition.label for definition in DEFINITIONS.values()}) == len(DEFINITIONS)
    for key, definition in DEFINITIONS.items():
        assert definition.key == key
        assert definition.definition.endswith(".")
        assert definition.better in {"lower", "higher"}
