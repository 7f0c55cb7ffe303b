"""Fluidity: the share of token deadlines met, where time gained on one token is kept for the next.

Etalon's index (Agrawal et al. 2024, arXiv 2407.07000, algorithm 1; formerly Metron): unlike TPOT
it sees a stall, and unlike a bound on every gap it forgives one that earlier tokens had paid for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from inferencebench_pipeline.measure.spec.spec import Slo

Int64s = npt.NDArray[np.int64]

_NS_PER_MS: Final = 10**6


@dataclass(frozen=True)
class Deadlines:
    """The two deadlines of Etalon's index, in nanoseconds."""

    first_ns: int
    next_ns: int

    @classmethod
    def of(cls, slo: Slo) -> Deadlines | None:
        """Return the deadlines an SLO sets, rounded down; None unless it bounds TTFT and TPOT."""
        if slo.ttft_ms is None or slo.tpot_ms is None:
            return None
        # At least 1 ns, since lateness is divided by it.
        return cls(int(slo.ttft_ms * _NS_PER_MS), max(1, int(slo.tpot_ms * _NS_PER_MS)))


def missed_and_set(
    arrived: Int64s, tokens: Int64s, lengths: Int64s, due: Int64s, deadlines: Deadlines
) -> tuple[Int64s, Int64s]:
    """Return the number of missed deadlines of each request, and of all its deadlines.

    A token in time adds what it had left to the slack of those after it. One that comes late by
    more than the slack misses its deadline and one more for each whole ``next_ns`` it is late;
    then the slack is spent. Tokens of one chunk arrive together, so only the first can be late.

    Args:
        arrived: when each chunk arrived, request after request.
        tokens: how many tokens each chunk carried; one with none is passed over.
        lengths: how many chunks each request has.
        due: when each request was due.
        deadlines: from the instant it was due to its first token, and from token to token.
    """
    starts = np.cumsum(lengths) - lengths
    missed = np.zeros(len(lengths), dtype=np.int64)
    total = np.zeros(len(lengths), dtype=np.int64)
    slack = np.zeros(len(lengths), dtype=np.int64)
    before = due.copy()
    step = np.full(len(lengths), deadlines.first_ns, dtype=np.int64)
    # The slack depends on the token before, so all requests advance together by one position.
    longest_first = np.argsort(-lengths, kind="stable")
    # How many requests have more than p chunks, for every position p.
    longer = np.searchsorted(-lengths[longest_first], -np.arange(lengths.max(initial=0)))
    for position, count in enumerate(longer.tolist()):
        alive = longest_first[:count]
        here = starts[alive] + position
        carrying = tokens[here] > 0
        alive, here = alive[carrying], here[carrying]
        left = slack[alive] + step[alive] - (arrived[here] - before[alive])
        late = left < 0
        misses = np.where(late, -left // deadlines.next_ns + 1, 0)
        others = tokens[here] - 1
        missed[alive] += misses
        total[alive] += np.where(late, misses, 1) + others
        slack[alive] = np.where(late, 0, left) + others * deadlines.next_ns
        before[alive] = arrived[here]
        step[alive] = deadlines.next_ns
    return missed, total
