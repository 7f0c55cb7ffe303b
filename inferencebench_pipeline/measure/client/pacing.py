"""The pace of requests: a fixed number in flight, or a schedule of arrivals."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Phase = Literal["warmup", "measured", "drained"]


@dataclass(frozen=True)
class Due:
    """A request that is to be sent now."""

    index: int
    phase: Phase
    scheduled_ns: int
    """The time at which the request was due, after the origin."""


class Pacer(Protocol):
    """Decides when requests start. All instants are nanoseconds after the origin."""

    def take(self, now_ns: int) -> Due | None:
        """Return the next request if it is due at ``now_ns``, and count it as started."""
        ...

    def next_ns(self) -> int | None:
        """Return when the next request is due; None while only an ending one can tell."""
        ...

    def ended(self, index: int, phase: Phase, now_ns: int) -> None:
        """Learn that request ``index`` ended."""
        ...

    def item(self, index: int) -> int:
        """Return which item of the workload the started request ``index`` sends."""
        ...

    @property
    def total(self) -> int:
        """Warm-up and measured requests together."""
        ...


class ClosedPacer:
    """Keeps exactly ``concurrency`` requests in flight until the last measured one has ended.

    Warm-up runs into measurement without a drain, and once all measured requests have started,
    further ones (``drained``) keep the load level for those still running, so every measured
    request saw the full load from its first byte to its last.

    Args:
        concurrency: requests in flight.
        warmup: how many come first and are not reported.
        measured: how many are.
        others_measure: whether another process that shares the load still waits for a measured
            request, for which the load level must be kept.
    """

    def __init__(
        self,
        *,
        concurrency: int,
        warmup: int,
        measured: int,
        others_measure: Callable[[], bool] = lambda: False,
    ) -> None:
        self._others_measure = others_measure
        self._warmup = warmup
        self._measured = measured
        self._measured_left = measured
        self._started = 0
        # One entry for each free slot: the instant since which it is free.
        self._free: deque[int] = deque([0] * concurrency)

    @property
    def total(self) -> int:
        """Warm-up and measured requests together."""
        return self._warmup + self._measured

    def take(self, now_ns: int) -> Due | None:
        """Start a request in a free slot; it was due when the slot became free."""
        if not self._free or not self._wanted():
            return None
        due = Due(self._started, self._phase(self._started), min(self._free.popleft(), now_ns))
        self._started += 1
        return due

    def _wanted(self) -> bool:
        # The bound on drained requests keeps one hanging measured request from costing thousands.
        wanted = self._measured_left > 0 or self._others_measure()
        return wanted and self._started < self.total + self._measured

    def _phase(self, index: int) -> Phase:
        if index < self._warmup:
            return "warmup"
        return "measured" if index < self.total else "drained"

    def next_ns(self) -> int | None:
        """A free slot is due at once; otherwise an answer must come first."""
        return self._free[0] if self._free and self._wanted() else None

    def ended(self, index: int, phase: Phase, now_ns: int) -> None:  # noqa: ARG002
        """Free the request's slot."""
        self._free.append(now_ns)
        if phase == "measured":
            self._measured_left -= 1

    def item(self, index: int) -> int:
        """Items are sent in their order."""
        return index


class OpenPacer:
    """Starts requests at precomputed offsets, whether or not earlier ones have ended."""

    def __init__(self, offsets_ns: Sequence[int], *, warmup: int) -> None:
        self._offsets_ns = offsets_ns
        self._warmup = warmup
        self._started = 0

    @property
    def total(self) -> int:
        """Warm-up and measured requests together."""
        return len(self._offsets_ns)

    def take(self, now_ns: int) -> Due | None:
        """Start the next arrival when its time has come."""
        due_ns = self.next_ns()
        if due_ns is None or due_ns > now_ns:
            return None
        index = self._started
        self._started += 1
        return Due(index, "warmup" if index < self._warmup else "measured", due_ns)

    def next_ns(self) -> int | None:
        """Return the offset of the next arrival."""
        if self._started == len(self._offsets_ns):
            return None
        return self._offsets_ns[self._started]

    def ended(self, index: int, phase: Phase, now_ns: int) -> None:
        """Nothing waits for an answer in the open loop."""

    def item(self, index: int) -> int:
        """Items are sent in their order."""
        return index


@dataclass(frozen=True)
class Share:
    """The part of a load that one process carries.

    The load is dealt out like cards: of every round of ``slots`` requests, this process takes
    those whose place, divided by ``processes``, leaves ``number``. With one slot for each request
    in flight, a process with more slots has as many more requests, and all are done together.
    """

    number: int = 0
    processes: int = 1
    slots: int = 1

    def of(self, count: int) -> int:
        """Return the number of the first ``count`` requests that come to this process."""
        rounds, rest = divmod(count, self.slots)
        return rounds * self._places(self.slots) + self._places(rest)

    def whole_index(self, own: int) -> int:
        """Return which request of the whole load is this process's request ``own``."""
        rounds, place = divmod(own, self._places(self.slots))
        return rounds * self.slots + place * self.processes + self.number

    def own_index(self, whole: int) -> int:
        """Return which of this process's requests is the request ``whole`` of the whole load."""
        rounds, place = divmod(whole, self.slots)
        return rounds * self._places(self.slots) + place // self.processes

    def _places(self, slots: int) -> int:
        # The places number, number + processes, ... below slots: a division rounded up.
        return (slots - self.number + self.processes - 1) // self.processes


class SharedPacer:
    """Paces a share of the load; indices are those of the whole load.

    Args:
        own: paces the share, counting its requests from 0.
        share: which requests those are.
    """

    def __init__(self, own: ClosedPacer | OpenPacer, share: Share) -> None:
        self._own = own
        self._share = share

    @property
    def total(self) -> int:
        """Warm-up and measured requests of this share."""
        return self._own.total

    def take(self, now_ns: int) -> Due | None:
        """Start the share's next request if it is due."""
        due = self._own.take(now_ns)
        if due is None:
            return None
        return Due(self._share.whole_index(due.index), due.phase, due.scheduled_ns)

    def next_ns(self) -> int | None:
        """Return when the share's next request is due."""
        return self._own.next_ns()

    def ended(self, index: int, phase: Phase, now_ns: int) -> None:
        """Learn that request ``index`` of the whole load ended."""
        self._own.ended(self._share.own_index(index), phase, now_ns)

    def item(self, index: int) -> int:
        """Items are sent in their order."""
        return index
