"""Counters of ended requests, in memory that all processes of a run see."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import Final

from inferencebench_pipeline.measure.client.exchange import Exchange

_COUNTERS: Final = ("warmup", "measured", "drained", "failed", "measured_left")
_FAILED: Final = _COUNTERS.index("failed")
_MEASURED_LEFT: Final = _COUNTERS.index("measured_left")


class Board:
    """One row of counters per process; each writes its own and reads all.

    Args:
        measured: how many measured requests each process is to make.
    """

    def __init__(self, measured: Sequence[int]) -> None:
        self._processes = len(measured)
        # Anonymous and shared: what is forked later sees the same memory.
        self._cells = memoryview(mmap.mmap(-1, 8 * len(_COUNTERS) * self._processes)).cast("q")
        for number, left in enumerate(measured):
            self._cells[number * len(_COUNTERS) + _MEASURED_LEFT] = left

    def count(self, number: int, exchange: Exchange) -> None:
        """Count a request of process ``number`` that ended."""
        # No other process writes this row, so counting needs no lock inside the window.
        row = number * len(_COUNTERS)
        self._cells[row + _COUNTERS.index(exchange.phase)] += 1
        if exchange.error_class is not None:
            self._cells[row + _FAILED] += 1
        if exchange.phase == "measured":
            self._cells[row + _MEASURED_LEFT] -= 1

    def others_measure(self, number: int) -> bool:
        """Return whether a process other than ``number`` waits for a measured request."""
        left = self._cells[_MEASURED_LEFT :: len(_COUNTERS)].tolist()
        return any(count > 0 for other, count in enumerate(left) if other != number)

    def totals(self) -> dict[str, int]:
        """Return the counts of all processes together, by their names."""
        cells = self._cells.tolist()
        return {
            name: sum(cells[place :: len(_COUNTERS)])
            for place, name in enumerate(_COUNTERS)
            if place != _MEASURED_LEFT
        }
