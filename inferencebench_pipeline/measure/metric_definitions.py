"""The table of metric definitions: the normative sentence behind every number we publish.

A change of meaning here is a new ``METRIC_DEFINITIONS_VERSION``; the arithmetic is in ``metrics``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

METRIC_DEFINITIONS_VERSION: Final = "2"

SAMPLE_FLOORS: Final = {500: 1, 900: 10, 950: 20, 990: 662, 999: 6636}
"""Fewest samples a percentile, in thousandths, is reported from; below, it is null.

p90 and p95: at least one sample is expected above it. p99 and p99.9: MLPerf LoadGen's
early-stopping bound (99 % confidence with one violation; ``early_stopping.cc``); below about 100
samples a "p99" is merely the slowest request.
"""

PERCENTILES: Final = tuple(SAMPLE_FLOORS)

ERROR_CLASSES: Final = (
    "connect_refused",
    "connection_failed",
    "connection_reset",
    "timeout",
    "http_4xx",
    "http_5xx",
    "engine_error",
    "malformed_stream",
    "closed_mid_stream",
    "no_content",
)
"""The ways a request fails that have a rate of their own; every other is in ``other``."""


def percentile_name(permille: int) -> str:
    """Return the name of a percentile: p50, p99.9."""
    return f"p{permille / 10:g}"


def percentile_key(distribution: str, permille: int) -> str:
    """Return the key of a percentile's metric: ``ttft_p50_ms``, ``ttft_p99_9_ms``."""
    return f"{distribution}_{percentile_name(permille).replace('.', '_')}_ms"


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
    "end of the last one (of several repeats: during the windows of all)"
)

_HEADLINES: Final = {"ttft_p50_ms", "ttft_p95_ms", "tpot_p50_ms", "e2e_p50_ms"}


def _of_distributions() -> list[MetricDefinition]:
    rows = []
    for of in DISTRIBUTIONS:
        for permille in PERCENTILES:
            key = percentile_key(of.name, permille)
            rows.append(
                MetricDefinition(
                    key,
                    f"{of.label} {percentile_name(permille)}",
                    "ms",
                    f"{of.definition}; {permille / 10:g}th percentile by linear interpolation "
                    f"between the closest ranks, null below {SAMPLE_FLOORS[permille]} samples.",
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
        "per second. A text chunk carries the tokens that the engine said it does, or where it did "
        "not, an equal share of the request's token count (cumulatively rounded down). Null when a "
        "successful request has no token count.",
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
        "fluidity",
        "Fluidity",
        "ratio",
        "Share of token deadlines met, over all tokens of successful measured requests: the first "
        "token is due the SLO's TTFT after the request was, each next one its TPOT after the one "
        "before it; time gained on a token is kept for the next ones, a token that is late by more "
        "than was kept misses one deadline and one more for each whole TPOT it is late, and what "
        "was kept is then spent (Etalon's fluidity index, pooled). Null without both bounds.",
        headline=False,
        better="higher",
    ),
    MetricDefinition(
        "joules_per_output_token",
        "Energy per token",
        "J/token",
        "Energy drawn during the measured window, as the traces file's metadata states it, divided "
        "by the output tokens that arrived during it (as in output_tok_per_s). Null when any "
        "repeat's energy was not measured; never 0.",
        headline=False,
        better="lower",
    ),
    MetricDefinition(
        "error_rate",
        "Error rate",
        "ratio",
        "Measured requests that failed, divided by all measured requests.",
        headline=True,
        better="lower",
    ),
    *(
        MetricDefinition(
            f"error_rate_{name}",
            f"Error rate: {name.replace('_', ' ')}",
            "ratio",
            f"Measured requests that failed with error class {name}, divided by all of them."
            if name != "other"
            else "Measured requests that failed with an error class that has no rate of its own, "
            "divided by all of them.",
            headline=False,
            better="lower",
        )
        for name in (*ERROR_CLASSES, "other")
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
