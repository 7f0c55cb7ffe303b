"""Every metric and every interval a second time: plain loops, exact fractions, textbook formulas.

Nothing here imports the arithmetic of the product, nor is any of it taken from there. Sources:
Künsch 1989 (moving blocks), Meketon and Schmeiser 1984 (overlapping batch means), Woodruff 1952
(intervals of quantiles), Wilson 1927 (score interval), Student 1908, Abramowitz and Stegun 26.7.3
and 26.7.4 (Student's distribution for whole degrees of freedom), Agrawal et al. 2024 (fluidity).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import accumulate
from typing import Literal, NamedTuple

from inferencebench_pipeline.measure.spec.stated_parts import Slo
from tests.measure.metrics.rows import Row

FLOORS = {"50": 1, "90": 10, "95": 20, "99": 662, "99.9": 6636}
CLASSES = (
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
PARTS = 400
"""Into how many parts a window is cut, by docs/metrics.md."""
FEWEST = 64
"""Fewest observations of a repeat that have an interval, by docs/metrics.md."""

Method = Literal["moving_block_bootstrap", "wilson", "repeats"]


class Bounds(NamedTuple):
    """An interval and what it rests on."""

    low: float
    high: float
    n: float
    method: Method


@dataclass(frozen=True)
class Expected:
    """The published part of one metric, but for the words."""

    value: float | None
    n: int
    bounds: Bounds | None


Observations = list[list[tuple[int, int]]]
"""Per repeat and observation, what it adds to the numerator and the denominator of a ratio."""


# -- values


def values(rows: list[Row], slo: Slo) -> dict[str, tuple[float | None, int]]:
    """Every metric's value, and how many samples it rests on."""
    measured = [r for r in rows if r["phase"] == "measured"]
    good = [r for r in measured if ok(r)]
    result: dict[str, tuple[float | None, int]] = {}
    for name in ("ttft", "ttft_sched", "tpot", "itl", "e2e"):
        samples = sorted(sample for r in good for sample in samples_of(name, r))
        for percent, floor in FLOORS.items():
            key = f"{name}_p{percent.replace('.', '_')}_ms"
            enough = len(samples) >= floor
            value = float(interpolated(samples, Fraction(percent)) / 10**9) if enough else None
            result[key] = (value, len(samples))
        mean = float(Fraction(sum(samples), len(samples) * 10**9)) if samples else None
        result[f"{name}_mean_ms"] = (mean, len(samples))
    result |= rates(rows, slo)
    result["fluidity"] = fluidity(good, slo)
    result["joules_per_output_token"] = (None, sum(tokens_in_window(h) for h in by_repeat(rows)))
    counted = all(r.get("completion_tokens") is not None for r in good)
    tokens = float(sum(r["completion_tokens"] for r in good)) if counted else None
    result["output_tokens"] = (tokens, len(good))
    result["requests_measured"] = (float(len(measured)), len(measured))
    result["requests_failed"] = (float(len(measured) - len(good)), len(measured))
    return result | shares(measured, slo)


def shares(measured: list[Row], slo: Slo) -> dict[str, tuple[float | None, int]]:
    """The metrics that are a share of the measured requests."""
    counts = {"error_rate": sum(not ok(r) for r in measured)}
    for name in [*CLASSES, "other"]:
        counts[f"error_rate_{name}"] = sum(is_failure(r, name) for r in measured)
    if slo.ttft_ms is not None or slo.tpot_ms is not None:
        counts["slo_attainment"] = sum(meets(r, slo) for r in measured)
    result: dict[str, tuple[float | None, int]] = {"slo_attainment": (None, len(measured))}
    for key, count in counts.items():
        value = float(Fraction(count, len(measured))) if measured else None
        result[key] = (value, len(measured))
    return result


def rates(rows: list[Row], slo: Slo) -> dict[str, tuple[float | None, int]]:
    """The metrics per second of the measured windows."""
    keys = ("output_tok_per_s", "total_tok_per_s", "request_per_s", "goodput_request_per_s")
    nanoseconds = ended = met = output = prompts = 0
    for here in by_repeat(rows):
        start, end = window(here)
        nanoseconds += end - start
        output += tokens_in_window(here)
        for r in (r for r in here if ok(r)):
            inside = start < r["end_ns"] <= end
            ended += inside
            met += inside and meets(r, slo)
            prompts += r.get("prompt_tokens", 0) if start < r["first_token_ns"] <= end else 0
    if nanoseconds == 0:
        return dict.fromkeys(keys, (None, 0))
    seconds = Fraction(nanoseconds, 10**9)
    counted = all(r.get("completion_tokens") is not None for r in rows if ok(r))
    bounded = slo.ttft_ms is not None or slo.tpot_ms is not None
    uncounted = (None, ended)
    return {
        "request_per_s": (float(ended / seconds), ended),
        "goodput_request_per_s": (float(met / seconds), ended) if bounded else (None, ended),
        "output_tok_per_s": (float(output / seconds), output) if counted else uncounted,
        "total_tok_per_s": (
            (float((output + prompts) / seconds), output + prompts) if counted else uncounted
        ),
    }


def tokens_in_window(rows: list[Row]) -> int:
    """Return the counted output tokens that arrived in the measured window of one repeat."""
    start, end = window(rows)
    carried = [each for r in rows if ok(r) for each in arrivals(r)]
    return sum(tokens for instant, tokens in carried if start < instant <= end)


def fluidity(good: list[Row], slo: Slo) -> tuple[float | None, int]:
    """The share of token deadlines met, and how many there were."""
    if slo.ttft_ms is None or slo.tpot_ms is None:
        return None, 0
    if any(r.get("completion_tokens") is None for r in good):
        return None, 0
    each = [kept_deadlines(r, slo) for r in good]
    kept, total = sum(kept for kept, _ in each), sum(total for _, total in each)
    return (kept / total, total) if total else (None, 0)


def kept_deadlines(r: Row, slo: Slo) -> tuple[int, int]:
    """Return the deadlines that one answer kept, and all that it had, token by token."""
    assert slo.ttft_ms is not None and slo.tpot_ms is not None
    following = max(1, int(slo.tpot_ms * 10**6))
    missed = total = slack = 0
    before, step = r["scheduled_ns"], int(slo.ttft_ms * 10**6)
    for arrived, tokens in arrivals(r):
        for _ in range(tokens):
            left = slack + step - (arrived - before)
            misses = 0 if left >= 0 else -left // following + 1
            missed += misses
            total += max(misses, 1)
            slack = max(left, 0)
            before, step = arrived, following
    return total - missed, total


# -- one row


def ok(r: Row) -> bool:
    """Return True when the request succeeded."""
    return r.get("error_class") is None and r.get("first_token_ns") is not None


def is_failure(r: Row, name: str) -> bool:
    """Return True when the request failed in the way of that name."""
    if ok(r):
        return False
    known = r["error_class"] if r["error_class"] in CLASSES else "other"
    return bool(known == name)


def samples_of(name: str, r: Row) -> list[int]:
    """Return the samples that one answer adds to a distribution, in picoseconds."""
    if name == "itl":
        times = text_times(r)
        return [(times[i] - times[i - 1]) * 1000 for i in range(1, len(times))]
    if name == "tpot":
        found = tpot(r)
        return [] if found is None else [found]
    start = r["scheduled_ns"] if name == "ttft_sched" else r["sent_ns"]
    end = r["last_token_ns"] if name == "e2e" else r["first_token_ns"]
    return [(end - start) * 1000]


def counts_in(name: str, r: Row) -> bool:
    """Return True when it is an observation of a distribution, with any number of samples."""
    return name != "tpot" or tpot(r) is not None


def arrivals(r: Row) -> list[tuple[int, int]]:
    """Return the arrival of each text chunk, and the tokens that it carried."""
    tokens = r.get("completion_tokens") or 0
    times = text_times(r)
    told = [chunk["tokens"] for chunk in r["chunks"] if chunk["content_chars"] > 0]
    if None not in told and sum(told) == tokens:
        return list(zip(times, told, strict=True))
    ends = [tokens * k // len(times) for k in range(len(times) + 1)]
    return [(times[k], ends[k + 1] - ends[k]) for k in range(len(times))]


def text_times(r: Row) -> list[int]:
    """Return the arrival of each chunk with text."""
    return [chunk["received_ns"] for chunk in r["chunks"] if chunk["content_chars"] > 0]


def tpot(r: Row) -> int | None:
    """Time per output token after the first, rounded down to the picosecond."""
    tokens = r.get("completion_tokens")
    if tokens is None or tokens < 2:
        return None
    return int((r["last_token_ns"] - r["first_token_ns"]) * 1000 // (tokens - 1))


def meets(r: Row, slo: Slo) -> bool:
    """Return True when the request succeeded within every bound."""
    if not ok(r):
        return False
    if slo.ttft_ms is not None:
        waited = Fraction(r["first_token_ns"] - r["scheduled_ns"], 10**6)
        if waited > Fraction(slo.ttft_ms):
            return False
    if slo.tpot_ms is None or r.get("completion_tokens") == 1:
        return True
    found = tpot(r)
    return found is not None and Fraction(found, 10**9) <= Fraction(slo.tpot_ms)


def interpolated(ordered: list[int], percent: Fraction) -> Fraction:
    """A percentile by linear interpolation between the closest ranks."""
    rank = percent * (len(ordered) - 1) / 100
    low = ordered[int(rank)]
    high = ordered[min(int(rank) + 1, len(ordered) - 1)]
    return low + (high - low) * (rank - int(rank))


def by_repeat(rows: list[Row]) -> list[list[Row]]:
    """The rows of each repeat."""
    numbers = sorted({r["repeat"] for r in rows})
    return [[r for r in rows if r["repeat"] == number] for number in numbers]


def window(rows: list[Row]) -> tuple[int, int]:
    """Return the begin and the end of the measured window of one repeat."""
    measured = [r for r in rows if r["phase"] == "measured"]
    start = min((r["scheduled_ns"] for r in measured), default=0)
    return start, max(start, max((r["end_ns"] for r in measured), default=start))


# -- intervals


def expected(rows: list[Row], slo: Slo) -> dict[str, Expected]:
    """Every metric with its interval."""
    repeats = by_repeat(rows)
    together = values(rows, slo)
    alone = [values(here, slo) for here in repeats]
    result = {}
    for key, (value, n) in together.items():
        bounds = None
        if value is not None and key not in ("requests_measured", "requests_failed"):
            if key != "output_tokens":
                if len(repeats) >= 5:
                    bounds = over_repeats([each[key][0] for each in alone])
                else:
                    bounds = within(key, repeats, slo, value)
            if bounds is not None:
                bounds = possible(bounds, is_share=key_is_share(key))
        result[key] = Expected(value, n, bounds)
    return result


def key_is_share(key: str) -> bool:
    """Return True when the metric lies between 0 and 1."""
    return key.startswith("error_rate") or key in ("slo_attainment", "fluidity")


def possible(bounds: Bounds, *, is_share: bool) -> Bounds:
    """The interval without the part in which no such quantity can lie."""
    high = min(bounds.high, 1.0) if is_share else bounds.high
    return bounds._replace(low=max(bounds.low, 0.0), high=high)


def over_repeats(found: list[float | None]) -> Bounds | None:
    """Student's interval of the mean of independent values."""
    numbers = [Fraction(value) for value in found if value is not None]
    count = len(numbers)
    if count < len(found):
        return None
    mean = sum(numbers) / count
    variance = sum((number - mean) ** 2 for number in numbers) / (count - 1)
    reach = t_quantile(count - 1) * math.sqrt(variance / count)
    return Bounds(float(mean) - reach, float(mean) + reach, count, "repeats")


def within(key: str, repeats: list[list[Row]], slo: Slo, value: float) -> Bounds | None:
    """The interval that the blocks of one run, or of a few repeats, give."""
    name, _, statistic = key.removesuffix("_ms").rpartition("_")
    if key.endswith("_ms") and statistic == "mean":
        return ratio(sums_of(name, repeats), Fraction(1, 10**9))
    if key.endswith("_ms"):
        name, _, percent = key.removesuffix("_ms").partition("_p")
        return quantile(name, Fraction(percent.replace("_", ".")) / 100, repeats)
    if key == "slo_attainment":
        met = [[int(meets(r, slo)) for r in measured(here)] for here in repeats]
        waits = [
            [(r["first_token_ns"] - r["scheduled_ns"], 1) for r in measured(here) if ok(r)]
            for here in repeats
        ]
        return share(met, dependence(waits))
    if key.startswith("error_rate"):
        name = key.removeprefix("error_rate").removeprefix("_")
        return share(
            [
                [int(is_failure(r, name) if name else not ok(r)) for r in measured(here)]
                for here in repeats
            ]
        )
    if key == "fluidity":
        kept = [[kept_deadlines(r, slo) for r in measured(here) if ok(r)] for here in repeats]
        return ratio(kept, Fraction(1))
    if min(len(measured(here)) for here in repeats) < FEWEST:
        return None
    return ratio([parts_of_window(key, here, slo) for here in repeats], Fraction(10**9))


def measured(rows: Iterable[Row]) -> list[Row]:
    """The rows that are reported."""
    return [r for r in rows if r["phase"] == "measured"]


def sums_of(name: str, repeats: list[list[Row]]) -> Observations:
    """Per answer, the sum of its samples in picoseconds, and how many they are."""
    result = []
    for here in repeats:
        answers = [samples_of(name, r) for r in measured(here) if ok(r) and counts_in(name, r)]
        result.append([(sum(each), len(each)) for each in answers])
    return result


def parts_of_window(key: str, rows: list[Row], slo: Slo) -> list[tuple[int, int]]:
    """Return the amount in each of the equal parts of a window, and the length of a part."""
    start, end = window(rows)
    edges = [start + (end - start) * k // PARTS for k in range(PARTS + 1)]
    events: list[tuple[int, int]] = []
    for r in rows:
        if not ok(r):
            continue
        if key in ("output_tok_per_s", "total_tok_per_s"):
            events += arrivals(r)
        if key == "total_tok_per_s":
            events.append((r["first_token_ns"], r["prompt_tokens"]))
        if key == "request_per_s" or (key == "goodput_request_per_s" and meets(r, slo)):
            events.append((r["end_ns"], 1))
    amounts = [0] * PARTS
    for instant, amount in events:
        if start < instant <= end:
            # The part whose end is the first edge that is not before the instant.
            amounts[bisect_left(edges, instant) - 1] += amount
    return [(amounts[k], edges[k + 1] - edges[k]) for k in range(PARTS)]


def ratio(observed: Observations, unit: Fraction) -> Bounds | None:
    """The interval of a ratio of sums, in ``unit`` of numerator per denominator."""
    found = standard_error(observed)
    if found is None:
        return None
    middle, error, degrees = found
    reach = t_quantile(degrees) * error
    n = sum(len(here) for here in observed)
    low, high = (float(middle) + sign * reach for sign in (-1, 1))
    return Bounds(low * float(unit), high * float(unit), n, "moving_block_bootstrap")


def quantile(name: str, at: Fraction, repeats: list[list[Row]]) -> Bounds | None:
    """Woodruff's interval: the quantiles at the ends of the interval of the share below it."""
    answers = [
        [samples_of(name, r) for r in measured(here) if ok(r) and counts_in(name, r)]
        for here in repeats
    ]
    ordered = sorted(sample for here in answers for each in here for sample in each)
    last = len(ordered) - 1
    value = ordered[math.floor(at * last)]
    below = [[(sum(s <= value for s in each), len(each)) for each in here] for here in answers]
    found = standard_error(below)
    if found is None or found[1] == 0:
        return None
    _, error, degrees = found
    worth = float(at * (1 - at)) / error**2
    if worth * float(min(at, 1 - at)) < 10:
        return None
    reach = t_quantile(degrees) * error
    low = ordered[max(math.floor((float(at) - reach) * last), 0)]
    high = ordered[min(math.ceil((float(at) + reach) * last), last)]
    n = min(worth, len(ordered))
    return Bounds(low / 10**9, high / 10**9, n, "moving_block_bootstrap")


def share(hits: list[list[int]], dependent: float = 1.0) -> Bounds | None:
    """Wilson's interval of a share, seen in as many samples as the dependent ones are worth."""
    found = standard_error([[(hit, 1) for hit in here] for here in hits])
    if found is None:
        return None
    p, error = float(found[0]), found[1]
    n = sum(len(here) for here in hits) / dependent
    if error > 0:
        n = min(n, p * (1 - p) / error**2)
    # The two solutions x of (p - x)^2 = z^2 x (1 - x) / n.
    z2 = normal_quantile() ** 2
    a, b, c = 1 + z2 / n, -(2 * p + z2 / n), p * p
    root = math.sqrt(max(b * b - 4 * a * c, 0.0))
    return Bounds((-b - root) / (2 * a), (-b + root) / (2 * a), n, "wilson")


def dependence(observed: Observations) -> float:
    """Return how many samples are worth one: their squared error against that of loose ones."""
    found = standard_error(observed)
    if found is None or found[1] == 0:
        return 1.0
    samples = [Fraction(top) for here in observed for top, _ in here]
    mean = sum(samples) / len(samples)
    variance = sum((sample - mean) ** 2 for sample in samples) / len(samples)
    return max(1.0, found[1] ** 2 / float(variance / len(samples)))


def standard_error(observed: Observations) -> tuple[Fraction, float, int] | None:
    """The ratio of the sums, its moving-block standard error, and the degrees of freedom."""
    if min(len(here) for here in observed) < FEWEST:
        return None
    top = sum(t for here in observed for t, _ in here)
    bottom = sum(b for here in observed for _, b in here)
    if bottom == 0:
        return None
    variance, blocks = Fraction(0), 0
    for here in observed:
        n = len(here)
        length = math.floor(2 * math.sqrt(n))
        # Residuals of the linear part, times the sum of the denominators: whole numbers.
        residuals = [t * bottom - top * b for t, b in here]
        running = list(accumulate(residuals, initial=0))
        sums = [running[k + length] - running[k] for k in range(n - length + 1)]
        mean_square = Fraction(sum(s * s for s in sums), len(sums))
        variance += mean_square * Fraction(n, length) * Fraction(n, n - length)
        blocks += n // length
    error = math.sqrt(variance / bottom**2) / bottom
    return Fraction(top, bottom), error, blocks - 1


@cache
def t_quantile(degrees: int) -> float:
    """Student's 97.5 % point, by bisection of the exact distribution function."""
    low, high = 0.0, 20.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_between(middle, degrees) < 0.95 else (low, middle)
    return low


def t_between(t: float, degrees: int) -> float:
    """Return P(-t <= T <= t) of Student's variable T (A. & S. 26.7.3, 26.7.4)."""
    angle = math.atan(t / math.sqrt(degrees))
    cosine2 = math.cos(angle) ** 2
    odd = degrees % 2
    term, total = (math.cos(angle), 0.0) if odd else (1.0, 0.0)
    for k in range(odd, degrees - 1, 2):
        total += term
        term *= cosine2 * (k + 1) / (k + 2)
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total


@cache
def normal_quantile() -> float:
    """The normal distribution's 97.5 % point, by bisection of the error function."""
    low, high = 0.0, 5.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle / math.sqrt(2)) < 0.95 else (low, middle)
    return low
