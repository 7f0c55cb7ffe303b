"""Turns of conversations in the closed loop: a turn is sent once the one before it is answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import accumulate

from inferencebench_pipeline.measure.client.pacing import ClosedPacer, Due, Phase


class ConversationPacer:
    """Keeps so many conversations going as the closed pacer keeps requests in flight.

    A slot that becomes free goes on with its conversation, and takes the next one at its end;
    after the last conversation comes the first again, under another salt.

    Args:
        closed: paces the requests.
        lengths: how many turns each conversation has.
    """

    def __init__(self, closed: ClosedPacer, lengths: Sequence[int]) -> None:
        self._closed = closed
        self._lengths = lengths
        self._starts = [0, *accumulate(lengths)]
        self._first_turns = frozenset(self._starts[:-1])
        self._begun = 0
        self._next_turns: deque[int | None] = deque()
        """The next conversation of each free slot, in the order in which the slots became free. It
        is a new conversation when null."""
        self._items: dict[int, int] = {}

    @property
    def total(self) -> int:
        """Warm-up and measured requests together."""
        return self._closed.total

    def take(self, now_ns: int) -> Due | None:
        """Start a request in a free slot."""
        due = self._closed.take(now_ns)
        if due is not None:
            number = self._next_turns.popleft() if self._next_turns else None
            self._items[due.index] = self._new_conversation() if number is None else number
        return due

    def _new_conversation(self) -> int:
        rounds, place = divmod(self._begun, len(self._lengths))
        self._begun += 1
        # Numbers go on after the last item: the request plan repeats the items under other salts.
        return rounds * self._starts[-1] + self._starts[place]

    def next_ns(self) -> int | None:
        """A free slot is due at once; otherwise an answer must come first."""
        return self._closed.next_ns()

    def ended(self, index: int, phase: Phase, now_ns: int) -> None:
        """Free the request's slot for the next turn of its conversation."""
        following = self._items.pop(index) + 1
        starts_another = following % self._starts[-1] in self._first_turns
        self._next_turns.append(None if starts_another else following)
        self._closed.ended(index, phase, now_ns)

    def item(self, index: int) -> int:
        """Return which turn the started request ``index`` sends."""
        return self._items[index]
