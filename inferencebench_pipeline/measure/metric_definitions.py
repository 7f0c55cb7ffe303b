"""The table of metric definitions: the normative sentence behind every number we publish.

A change of meaning here is a new line of ``DEFINITIONS_HISTORY``, and what it replaces moves to
``earlier_definitions``. The arithmetic is in ``metrics``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True)
class DefinitionsVersion:
    """A version of the definitions, and what it began with."""

    number: int
    began_with: str
    """The difference from the version before, in a sentence."""
    traces_schemas: frozenset[str]
    """The schemas of traces that its metrics were computed from. A record that names another one
    beside this version was made by nobody."""


DEFINITIONS_HISTORY: Final = (
    DefinitionsVersion(
        1,
        "The latencies to p99, the rates over one window, the SLO, the error rate and the counts.",
        traces_schemas=frozenset({"1"}),
    ),
    DefinitionsVersion(
        2,
        "Repeats, so rates over the windows of all of them; tokens per chunk as the engine counts "
        "them; p99.9, fluidity, energy per token, an error rate for each class; an interval for "
        "each metric that can have one.",
        traces_schemas=frozenset({"2"}),
    ),
)
"""Every version, the first one first. Records of all of them are judged under their own."""

METRIC_DEFINITIONS_VERSION: Final = str(DEFINITIONS_HISTORY[-1].number)

SAMPLE_FLOORS: Final = {500: 1, 900: 10, 950: 20, 990: 662, 999: 6636}
"""Fewest samples a percentile, in thousandths, is reported from; below, it is null.

p90 and p95: at least one sample is expected above it. p99 and p99.9: MLPerf LoadGen's
early-stopping bound (99 % confidence with one violation; ``early_stopping.cc``); below about 100
samples a "p99" is merely the slowest request.
"""

PERCENTILES: Final = tuple(SAMPLE_FLOORS)

_PERCENTILES_SINCE: Final = {999: 2}
"""The version that a percentile came with, where it is not the first one."""

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


Place = Literal["card", "board", "row", "summary"]
"""The places that show a metric: the card of a published run, the table of a comparison group, the
page of a run on the leaderboard, and the summary of a measurement (command line, Dagster)."""
Test = Literal["compare", "history"]
"""The tests between runs: ``compare``, and the changes and spreads over the history of a group.
Each metric that is tested costs the others certainty, so showing one does not test it."""


def mean_key(distribution: str) -> str:
    """Return the key of a mean's metric: ``ttft_mean_ms``."""
    return f"{distribution}_mean_ms"


@dataclass(frozen=True)
class MetricDefinition:
    """The meaning of a metric, the places that show it and the tests that it is part of."""

    key: str
    label: str
    unit: str
    definition: str
    """The normative sentence."""
    better: Literal["lower", "higher"]
    shown_on: frozenset[Place] = frozenset()
    tested_in: frozenset[Test] = frozenset()
    since: int = 1
    """The first version of the definitions that has the metric in this meaning."""
    until: int | None = None
    """The last version that has it so; None while the newest one does."""


_EVERYWHERE: Final[frozenset[Place]] = frozenset({"card", "board", "row", "summary"})
_IN_ROWS: Final[frozenset[Place]] = frozenset({"row"})
_IN_ALL_TESTS: Final[frozenset[Test]] = frozenset({"compare", "history"})
_IN_COMPARISONS: Final[frozenset[Test]] = frozenset({"compare"})

Instant = Literal["scheduled", "sent", "first_token", "last_token"]


@dataclass(frozen=True)
class Span:
    """The duration of each successful measured request between two of its instants."""

    start: Instant
    end: Instant


Samples = Span | Literal["per_token", "gaps"]
"""The samples of a distribution: a span of each request, its time per output token, or each gap
between its chunks of text."""


@dataclass(frozen=True)
class Distribution:
    """A duration that percentiles and a mean are taken of.

    This is the only place that names it: its values, intervals and curve are computed from
    ``samples``.
    """

    name: str
    label: str
    definition: str
    samples: Samples
    headlines: tuple[int, ...] = ()
    """The percentiles, in thousandths, that are shown and tested everywhere."""
    in_rows: tuple[int, ...] = ()
    """The other percentiles that the page of a run on the leaderboard shows."""
    drawn: bool = True
    """True when the page of a run shows the curve of the distribution."""
    since: int = 1
    """The first version of the definitions that has the distribution."""


DISTRIBUTIONS: Final = (
    Distribution(
        "ttft",
        "TTFT",
        "Time to first token: from sending the first byte of the request on an established "
        "connection to the arrival of the first chunk that holds generated text (role, usage and "
        "empty chunks are not tokens), over successful measured requests",
        samples=Span("sent", "first_token"),
        headlines=(500, 950),
    ),
    Distribution(
        "ttft_sched",
        "TTFT from schedule",
        "Time to first token from the instant the request was due: the arrival schedule's in the "
        "open loop, the moment its slot became free in the closed loop; includes waiting in the "
        "client and connecting",
        samples=Span("scheduled", "first_token"),
        drawn=False,
    ),
    Distribution(
        "tpot",
        "TPOT",
        "Time per output token after the first: (last token - first token) / (output tokens - 1), "
        "with the engine's own token count, per successful measured request with at least two "
        "tokens, rounded down to the picosecond",
        samples="per_token",
        headlines=(500,),
        in_rows=(950,),
    ),
    Distribution(
        "itl",
        "ITL",
        "Inter-token latency: every gap between consecutive chunks with generated text of one "
        "request, pooled over successful measured requests, so that stalls are seen",
        samples="gaps",
        in_rows=(500, 950),
    ),
    Distribution(
        "e2e",
        "E2E latency",
        "From sending the first byte of the request to the arrival of the last chunk that holds "
        "generated text, over successful measured requests",
        samples=Span("sent", "last_token"),
        headlines=(500,),
        in_rows=(950,),
    ),
)

_WINDOW = (
    "the measured window, which runs from the instant the first measured request was due to the "
    "end of the last one (of several repeats: during the windows of all)"
)


def _of_distributions() -> list[MetricDefinition]:
    rows = []
    for of in DISTRIBUTIONS:
        for permille in PERCENTILES:
            is_headline = permille in of.headlines
            elsewhere = _IN_ROWS if permille in of.in_rows else frozenset[Place]()
            rows.append(
                MetricDefinition(
                    percentile_key(of.name, permille),
                    f"{of.label} {percentile_name(permille)}",
                    "ms",
                    f"{of.definition}; {permille / 10:g}th percentile by linear interpolation "
                    f"between the closest ranks, null below {SAMPLE_FLOORS[permille]} samples.",
                    better="lower",
                    shown_on=_EVERYWHERE if is_headline else elsewhere,
                    tested_in=_IN_ALL_TESTS if is_headline else frozenset(),
                    since=max(of.since, _PERCENTILES_SINCE.get(permille, 1)),
                )
            )
        rows.append(
            MetricDefinition(
                mean_key(of.name),
                f"{of.label} mean",
                "ms",
                f"{of.definition}; arithmetic mean.",
                better="lower",
                since=of.since,
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
        better="higher",
        shown_on=_EVERYWHERE,
        tested_in=_IN_ALL_TESTS,
        since=2,
    ),
    MetricDefinition(
        "total_tok_per_s",
        "Total throughput",
        "token/s",
        "Output tokens as in output_tok_per_s plus the prompt tokens of requests whose first "
        f"token arrived during {_WINDOW}, per second.",
        better="higher",
        shown_on=_IN_ROWS,
        since=2,
    ),
    MetricDefinition(
        "request_per_s",
        "Request throughput",
        "request/s",
        f"Successful requests of every phase that ended during {_WINDOW}, per second.",
        better="higher",
        shown_on=_IN_ROWS,
        since=2,
    ),
    MetricDefinition(
        "goodput_request_per_s",
        "Goodput",
        "request/s",
        "Requests counted in request_per_s that met every bound of the SLO, per second: TTFT from "
        "the instant the request was due, and TPOT. A request whose TPOT cannot be known does not "
        "meet a TPOT bound; one with a single output token has none to miss.",
        better="higher",
        shown_on=_IN_ROWS,
        tested_in=_IN_COMPARISONS,
        since=2,
    ),
    MetricDefinition(
        "slo_attainment",
        "SLO attainment",
        "ratio",
        "Measured requests that succeeded and met every bound of the SLO (as in "
        "goodput_request_per_s), divided by all measured requests, failed ones included.",
        better="higher",
        shown_on=_IN_ROWS,
        tested_in=_IN_COMPARISONS,
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
        better="higher",
        tested_in=_IN_COMPARISONS,
        since=2,
    ),
    MetricDefinition(
        "joules_per_output_token",
        "Energy per token",
        "J/token",
        "Energy drawn during the measured window, as the traces file's metadata states it, divided "
        "by the output tokens that arrived during it (as in output_tok_per_s). Null when any "
        "repeat's energy was not measured; never 0.",
        better="lower",
        shown_on=_IN_ROWS,
        tested_in=_IN_COMPARISONS,
        since=2,
    ),
    MetricDefinition(
        "error_rate",
        "Error rate",
        "ratio",
        "Measured requests that failed, divided by all measured requests.",
        better="lower",
        shown_on=_EVERYWHERE,
        tested_in=_IN_ALL_TESTS,
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
            better="lower",
            since=2,
        )
        for name in (*ERROR_CLASSES, "other")
    ),
    MetricDefinition(
        "requests_measured",
        "Requests measured",
        "request",
        "Measured requests, failed ones included.",
        better="higher",
    ),
    MetricDefinition(
        "requests_failed",
        "Requests failed",
        "request",
        "Measured requests that failed.",
        better="lower",
    ),
    MetricDefinition(
        "output_tokens",
        "Output tokens",
        "token",
        "Output tokens of successful measured requests by the engine's count; null when one of "
        "them has no token count.",
        better="higher",
    ),
)

DEFINITIONS: Final[dict[str, MetricDefinition]] = {
    row.key: row for row in (*_of_distributions(), *_RATES_AND_COUNTS)
}
"""Every metric of the newest version by key, in the order they are reported."""


def is_tested(key: str, test: Test) -> bool:
    """Return whether a test between runs takes the metric; false for one without a definition."""
    return key in DEFINITIONS and test in DEFINITIONS[key].tested_in
