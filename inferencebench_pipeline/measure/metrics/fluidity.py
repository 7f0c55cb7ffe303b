"""Fluidity: the share of token deadlines met, where time gained on one token is kept for the next.

Etalon's index (Agrawal et al. 2024, arXiv 2407.07000, algorithm 1; formerly Metron): unlike TPOT
it sees a stall, and unlike a bound on every gap it forgives one that earlier tokens had paid for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from inferencebench_pipeline.measure.spec.stated_parts import Slo

Int64s = npt.NDArray[np.int64]

_NS_PER_MS: Final = 10**6
_LONGEST_NS: Final = 2**51
"""No deadline is longer: the instants of a traces file lie within 2^50 ns of its origin on either
side, so a token that has as much time is never late, and more time changes nothing."""
_MOST_OFFSETS: Final = 2**62
"""The range of the offsets that keep the requests apart while their minima are accumulated."""


@dataclass(frozen=True)
class Deadlines:
    """The two deadlines of Etalon's index, in nanoseconds, at most :data:`_LONGEST_NS`."""

    first_ns: int
    next_ns: int

    @classmethod
    def of(cls, slo: Slo) -> Deadlines | None:
        """Return the deadlines an SLO sets, rounded down; None unless it bounds TTFT and TPOT."""
        if slo.ttft_ms is None or slo.tpot_ms is None:
            return None
        # At least 1 ns, since lateness is divided by it.
        return cls(_nanoseconds(slo.ttft_ms), max(1, _nanoseconds(slo.tpot_ms)))


def _nanoseconds(milliseconds: float) -> int:
    return min(int(min(milliseconds * _NS_PER_MS, float(_LONGEST_NS))), _LONGEST_NS)


def missed_and_set(
    arrived: Int64s, tokens: Int64s, lengths: Int64s, due: Int64s, deadlines: Deadlines
) -> tuple[Int64s, Int64s]:
    """Return the number of missed deadlines of each request, and of all its deadlines.

    A token in time adds what it had left to the slack of those after it. One that comes late by
    more than the slack misses its deadline and one more for each whole ``next_ns`` it is late;
    then the slack is spent. Tokens of one chunk arrive together, so only the first can be late.

    The slack is that of a queue, and Lindley's recursion (1952) has a closed form: what a chunk has
    left is the time until the deadline that its first token would have if nothing had been late,
    less the lowest such value below zero among the chunks before it. So no chunk waits for the one
    before, and the work is linear in the chunks.

    Args:
        arrived: when each chunk arrived, request after request, within 2^50 ns of 0.
        tokens: how many tokens each chunk carried; one with none is passed over.
        lengths: how many chunks each request has.
        due: when each request was due, within 2^50 ns of 0.
        deadlines: from the instant it was due to its first token, and from token to token.
    """
    request = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    carrying = tokens > 0
    if not carrying.all():
        request, arrived, tokens = request[carrying], arrived[carrying], tokens[carrying]
        lengths = np.bincount(request, minlength=len(lengths)).astype(np.int64)
    ends = np.cumsum(lengths)
    starts, some = ends - lengths, lengths > 0
    total = np.zeros(len(lengths), dtype=np.int64)
    if not some.any():
        return total, total
    total[some] = np.add.reduceat(tokens, starts[some])
    spare = (due + deadlines.first_ns)[request] - arrived
    spare += _ahead(tokens, starts, request, deadlines.next_ns)
    late, late_ns = _lateness(spare, starts[some], ends[some])
    misses = np.concatenate(([0], np.cumsum(late_ns // deadlines.next_ns + 1)))
    first, after = np.searchsorted(late, starts), np.searchsorted(late, ends)
    missed = misses[after] - misses[first]
    # A late token counts once among the tokens, and with each deadline that it missed beyond.
    total += missed - (after - first)
    return missed, total


def _ahead(tokens: Int64s, starts: Int64s, request: Int64s, next_ns: int) -> Int64s:
    """Return the time that the tokens before each chunk of a request were granted."""
    before = np.cumsum(tokens) - tokens
    before -= before[np.minimum(starts, len(tokens) - 1)][request]
    # More than this many have more time than any run takes, and would overflow.
    np.minimum(before, 2 * _LONGEST_NS // next_ns + 1, out=before)
    before *= next_ns
    return before


def _lateness(spare: Int64s, starts: Int64s, ends: Int64s) -> tuple[Int64s, Int64s]:
    """Return the positions of the late chunks, and by how much each is late.

    Args:
        spare: how long before its deadline each chunk arrived, if nothing before it was late.
        starts: where each request begins, of those that have chunks.
        ends: where it ends.
    """
    debt = np.minimum(spare, 0)
    if not debt.any():
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    # Every request begins below all before it, so that one accumulation keeps them apart.
    apart = 1 - int(debt.min())
    together = max(1, _MOST_OFFSETS // apart)
    found: list[Int64s] = []
    late_ns: list[Int64s] = []
    for first in range(0, len(starts), together):
        some = slice(first, first + together)
        begin, end = int(starts[some][0]), int(ends[some][-1])
        counts = ends[some] - starts[some]
        offsets = np.repeat(np.arange(len(counts), dtype=np.int64) * -apart, counts)
        lowest = np.minimum.accumulate(debt[begin:end] + offsets)
        lowest -= offsets
        fell = np.diff(lowest, prepend=np.int64(0))
        # The first of each request falls from nothing owed.
        fell[starts[some] - begin] = lowest[starts[some] - begin]
        late = np.flatnonzero(fell < 0)
        found.append(late + begin)
        late_ns.append(-fell[late])
    return np.concatenate(found), np.concatenate(late_ns)
