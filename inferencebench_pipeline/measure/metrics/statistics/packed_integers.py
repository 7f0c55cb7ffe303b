"""Many whole numbers in four bytes each, where they fit, and whatever is at a rank of them.

A run of a million requests leaves 127 million gaps between chunks. Kept as they came, sorted beside
that, and widened for a sum, they took 3 GB. Here they are kept once, no second array is as long as
they are, and every result is the one that sorting them gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]

_PASS: Final = 2**16
"""The numbers that are looked at together: what the arrays of one step take fits in a cache."""
_SORTED: Final = 2**20
"""As many numbers are sorted; among more, a rank is found by counting."""
_BUCKETS: Final = 2**16
_KEPT: Final = 4


@dataclass
class PackedIntegers:
    """Integers of 64 bits in a fixed order, in 32 bits each but for the few that need more.

    The numbers are taken in by :meth:`append`, up to the capacity.
    """

    _low: npt.NDArray[np.uint32]
    _long: list[tuple[Int64s, Int64s]] = field(default_factory=list)
    """The numbers below 0 or of 2^32 and more, after their positions, in pieces."""
    _start: int = 0
    _stop: int = 0

    @classmethod
    def empty(cls, capacity: int) -> PackedIntegers:
        """Return room for so many numbers, which takes memory as it is filled."""
        return cls(np.empty(capacity, dtype=np.uint32))

    @classmethod
    def of(cls, values: Int64s) -> PackedIntegers:
        """Return the numbers of an array."""
        packed = cls.empty(len(values))
        packed.append(values)
        return packed

    @property
    def long_numbers(self) -> int:
        """The number of those that do not fit into 32 bits, which take sixteen bytes more."""
        return sum(len(numbers) for _, numbers in self._long)

    def append(self, values: Int64s) -> None:
        """Take in the numbers that come next."""
        start = self._stop
        self._stop += len(values)
        self._low[start : self._stop] = values.astype(np.uint32)
        if len(values) and (values.min() < 0 or values.max() >= 2**32):
            at = np.flatnonzero(values >> 32)
            self._long.append((at + start, values[at]))

    def part(self, start: int, stop: int) -> PackedIntegers:
        """Return some successive numbers, without a copy."""
        return PackedIntegers(self._low, self._long, self._start + start, self._start + stop)

    def between(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return some successive numbers as an array: of uint32 where all fit, of int64 if not."""
        first, last = self._start + start, self._start + stop
        low = self._low[first:last]
        if not self._long:
            return low
        if len(self._long) > 1:
            # Joined once, when all have been taken in and the first is asked for.
            positions, numbers = zip(*self._long, strict=True)
            self._long[:] = [(np.concatenate(positions), np.concatenate(numbers))]
        at, long = self._long[0]
        begin, end = np.searchsorted(at, (first, last))
        if begin == end:
            return low
        wide = low.astype(np.int64)
        wide[at[begin:end] - first] = long[begin:end]
        return wide

    def passes(self) -> Iterator[npt.NDArray[Any]]:
        """Yield all numbers in order, as arrays that fit in a cache."""
        for start in range(0, len(self), _PASS):
            yield self.between(start, min(start + _PASS, len(self)))

    def array(self) -> Int64s:
        """Return all numbers as one array, which takes eight bytes for each."""
        return self.between(0, len(self)).astype(np.int64)

    def sum(self) -> int:
        """Return the exact sum."""
        # So few numbers below 2^47 cannot overflow; wider ones are summed in halves.
        return sum(
            (int((each.astype(np.int64) >> 32).sum()) << 32) + int((each & 0xFFFFFFFF).sum())
            for each in self.passes()
        )

    def sums(
        self, counts: Int64s, each: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] = np.asarray
    ) -> Int64s:
        """Return the sum of what ``each`` makes of the numbers, of every group of successive ones.

        Args:
            counts: how many numbers each group has, as many together as there are numbers.
            each: a value for every number of an array; the numbers themselves when left out.
        """
        ends = np.cumsum(counts)
        starts = ends - counts
        found = np.zeros(len(counts), dtype=np.int64)
        first = 0
        while first < len(counts):
            begin = int(starts[first])
            after = max(first + 1, int(np.searchsorted(ends, begin + _PASS, side="right")))
            some = np.flatnonzero(counts[first:after]) + first
            if len(some):
                # Of an empty range reduceat gives the value at its start, so those stay out.
                values = each(self.between(begin, int(ends[after - 1])))
                found[some] = np.add.reduceat(values, starts[some] - begin, dtype=np.int64)
            first = after
        return found

    def __len__(self) -> int:
        return self._stop - self._start


class _Range(NamedTuple):
    """The numbers from ``low`` to ``high``, both included, and how many are smaller."""

    low: int
    high: int
    smaller: int
    size: int


class Ascending:
    """Numbers in ascending order, for whoever looks at a few ranks of them.

    Few numbers are sorted. Of many, those around a rank are found by counting how many there are in
    each of 65,536 equal ranges, and again within the range of the rank, until few are left.
    """

    def __init__(self, values: PackedIntegers) -> None:
        self._values = values
        self._divided: dict[_Range, tuple[int, Int64s]] = {}
        self._sorted: dict[_Range, npt.NDArray[Any]] = {}
        few = len(values) <= _SORTED
        low, high = (0, 0) if few else _extremes(values)
        self._all = _Range(low, high, 0, len(values))
        if few:
            self._sorted[self._all] = np.sort(values.between(0, len(values)))

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, rank: int) -> int:
        """Return the number that ``rank`` others are before, in ascending order.

        Raises:
            IndexError: there are not so many.
        """
        if not 0 <= rank < len(self):
            raise IndexError(f"rank {rank} of {len(self)} numbers")
        within = self._all
        while within not in self._sorted:
            if within.low == within.high:
                return within.low
            if within.size <= _SORTED:
                self._sort(within)
                break
            within = self._narrower(within, rank)
        return int(self._sorted[within][rank - within.smaller])

    def _narrower(self, within: _Range, rank: int) -> _Range:
        """Return the part of a range that holds a rank."""
        shift = max(0, (within.high - within.low).bit_length() - _BUCKETS.bit_length() + 1)
        if within not in self._divided:
            self._divided[within] = shift, self._counts(within, shift)
        counts = self._divided[within][1]
        after = np.cumsum(counts)
        bucket = int(np.searchsorted(after, rank - within.smaller, side="right"))
        count = int(counts[bucket])
        low = within.low + (bucket << shift)
        high = low + (1 << shift) - 1
        return _Range(low, high, within.smaller + int(after[bucket]) - count, count)

    def _counts(self, within: _Range, shift: int) -> Int64s:
        counts = np.zeros(_BUCKETS, dtype=np.int64)
        for values in self._passes(within):
            counts += np.bincount((values - within.low) >> shift, minlength=_BUCKETS)
        return counts

    def _sort(self, within: _Range) -> None:
        # The last few are enough: the ranks that are asked for lie near each other.
        while len(self._sorted) >= _KEPT:
            self._sorted.pop(next(iter(self._sorted)))
        found = [np.zeros(0, dtype=np.int64), *self._passes(within)]
        self._sorted[within] = np.sort(np.concatenate(found))

    def _passes(self, within: _Range) -> Iterator[Int64s]:
        """Yield the numbers of a range."""
        everything = within == self._all
        for values in self._values.passes():
            inside = values if everything else _inside(values, within)
            if len(inside):
                yield inside.astype(np.int64)


def _inside(values: npt.NDArray[Any], within: _Range) -> npt.NDArray[Any]:
    if values.dtype == np.uint32:
        if within.low > 2**32 - 1 or within.high < 0:
            return values[:0]
        low, high = np.uint32(max(within.low, 0)), np.uint32(min(within.high, 2**32 - 1))
        return values[(values >= low) & (values <= high)]
    return values[(values >= within.low) & (values <= within.high)]


def _extremes(values: PackedIntegers) -> tuple[int, int]:
    ends = [(int(each.min()), int(each.max())) for each in values.passes()]
    return min(low for low, _ in ends), max(high for _, high in ends)
