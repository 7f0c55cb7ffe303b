"""The table of metric definitions: the normative sentence behind every number we publish.

A change of meaning here is a new ``METRIC_DEFINITIONS_VERSION``; the arithmetic is in ``metrics``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

METRIC_DEFINITIONS_VERSION: Final = "2"

SAMPLE_FLOORS: Final = {50: 1, 90: 10, 95: 20, 99: 662}
"""Fewest samples a percentile is reported from; below, it is null with the reason.

p90 and p95: at least one sample is expected above it. p99: MLPerf LoadGen's early-stopping bound
(99 % confidence, no violation allowed; ``early_stopping.cc``); below about 100 samples a "p99" is
merely the slowest request.
"""

PERCENTILES: Final = tuple(SAMPLE_FLOORS)


@dataclass(frozen=True)
class MetricDefinition:
    """What a metric means. ``definition`` is the normative sentence."""

    key: str
    label: str
    unit: str
    definition: str
    headline: bool
    better: Literal["lower", "higher"]


@dataclass(frozen=True)
class Distribution:
    """A per-request or per-gap duration that percentiles and a mean are taken of."""

    name: str
    label: str
    definition: str


DISTRIBUTIONS: Final = (
    Distribution(
        "ttft",
        "TTFT",
        "Time to first token: from sending the first byte of the request on an established "
        "connection to the arrival of the first chunk that holds generated text (role, usage and "
        "empty chunks are not tokens), over successful measured requests",
    ),
    Distribution(
        "ttft_sched",
        "TTFT from schedule",
        "Time to first token from the instant the request was due: the arrival schedule's in the "
        "open loop, the moment its slot became free in the closed loop; includes waiting in the "
        "client and connecting",
    ),
    Distribution(
        "tpot",
        "TPOT",
        "Time per output token after the first: (last token - first token) / (output tokens - 1), "
        "with the engine's own token count, per successful measured request with at least two "
        "tokens, rounded down to the picosecond",
    ),
    Distribution(
        "itl",
        "ITL",
        "Inter-token latency: every gap between consecutive chunks with generated text of one "
        "request, pooled over successful measured requests, so that stalls are seen",
    ),
    Distribution(
        "e2e",
        "E2E latency",
        "From sending the first byte of the request to the arrival of the last chunk that holds "
        "generated text, over successful measured requests",
    ),
)

_WINDOW = (
    "the measured window, which runs from the instant the first measured request was due to the "
    "end of the last one"
)

_HEADLINES: Final = {"ttft_p50_ms", "ttft_p95_ms", "tpot_p50_ms", "e2e_p50_ms"}


def _of_distributions() -> list[MetricDefinition]:
    rows = []
    for of in DISTRIBUTIONS:
        for percent in PERCENTILES:
            key = f"{of.name}_p{percent}_ms"
            rows.append(
                MetricDefinition(
                    key,
                    f"{of.label} p{percent}",
                    "ms",
                    f"{of.definition}; {percent}th percentile by linear interpolation between "
                    f"the closest ranks, null below {SAMPLE_FLOORS[percent]} samples.",
                    headline=key in _HEADLINES,
                    better="lower",
                )
            )
        rows.append(
            MetricDefinition(
                f"{of.name}_mean_ms",
                f"{of.label} mean",
                "ms",
                f"{of.definition}; arithmetic mean.",
                headline=False,
                better="lower",
            )
        )
    return rows


_RATES_AND_COUNTS: Final = (
    MetricDefinition(
        "output_tok_per_s",
        "Output throughput",
        "token/s",
        f"Output tokens that arrived during {_WINDOW}, from successful requests of every phase, "
        "per second. Each text chunk of a request carries an equal share of the engine's token "
        "count (cumulatively rounded down). Null when a successful request has no token count.",
        headline=True,
        better="higher",
    ),
    MetricDefinition(
        "total_tok_per_s",
        "Total throughput",
        "token/s",
        "Output tokens as in output_tok_per_s plus the prompt tokens of requests whose first "
        f"token arrived during {_WINDOW}, per second.",
        headline=False,
        better="higher",
    ),
    MetricDefinition(
        "request_per_s",
        "Request throughput",
        "request/s",
        f"Successful requests of every phase that ended during {_WINDOW}, per second.",
        headline=False,
        better="higher",
    ),
    MetricDefinition(
        "goodput_request_per_s",
        "Goodput",
        "request/s",
        "Requests counted in request_per_s that met every bound of the SLO, per second: TTFT from "
        "the instant the request was due, and TPOT. A request whose TPOT cannot be known does not "
        "meet a TPOT bound; one with a single output token has none to miss.",
        headline=False,
        better="higher",
    ),
    MetricDefinition(
        "slo_attainment",
        "SLO attainment",
        "ratio",
        "Measured requests that succeeded and met every bound of the SLO (as in "
        "goodput_request_per_s), divided by all measured requests, failed ones included.",
        headline=False,
        better="higher",
    ),
    MetricDefinition(
        "error_rate",
        "Error rate",
        "ratio",
        "Measured requests that failed, divided by all measured requests.",
        headline=True,
        better="lower",
    ),
    MetricDefinition(
        "requests_measured",
        "Requests measured",
        "request",
        "Measured requests, failed ones included.",
        headline=False,
        better="higher",
    ),
    MetricDefinition(
        "requests_failed",
        "Requests failed",
        "request",
        "Measured requests that failed.",
        headline=False,
        better="lower",
    ),
    MetricDefinition(
        "output_tokens",
        "Output tokens",
        "token",
        "Output tokens of successful measured requests by the engine's count; null when one of "
        "them has no token count.",
        headline=False,
        better="higher",
    ),
)

DEFINITIONS: Final[dict[str, MetricDefinition]] = {
    row.key: row for row in (*_of_distributions(), *_RATES_AND_COUNTS)
}
"""Every metric by key, in the order they are reported."""
