"""The one retry policy towards the Hub, with its bounds on attempts, on waits and in total."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from inferencebench_pipeline.hub.client.errors import HubRateLimitError, HubUnavailableError

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential back-off with jitter, bounded in attempts, in each wait and in total.

    Longer outages belong to the caller (an orchestrator that re-runs the step and frees its slot
    meanwhile), which is why a hint beyond ``longest_wait_s`` is raised instead of slept.
    """

    attempts: int = 5
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    deadline_s: float = 300.0
    sleep: Callable[[float], None] = time.sleep

    def run(self, action: Callable[[], T]) -> T:
        """Return what ``action`` returns, calling it again while its failure may pass.

        Raises:
            HubUnavailableError: still down after the last attempt.
            HubRateLimitError: limited, and the wait asked for is too long to sit out.
        """
        started_s = time.monotonic()
        # The last attempt stands behind the loop, so that its failure is passed on.
        for attempt in range(1, self.attempts):
            try:
                return action()
            except (HubUnavailableError, HubRateLimitError) as error:
                wait_s = self._wait_s(attempt, error.retry_after_s)
                too_late = time.monotonic() + wait_s > started_s + self.deadline_s
                if wait_s > self.longest_wait_s or too_late:
                    raise
            self.sleep(wait_s)
        return action()

    def pause(self, attempt: int) -> None:
        """Wait as after failure number ``attempt`` (from 1), for a state that has to settle."""
        self.sleep(self._wait_s(attempt, None))

    def _wait_s(self, attempt: int, hint_s: float | None) -> float:
        if hint_s is not None:
            return hint_s
        ceiling_s = min(self.longest_wait_s, self.first_wait_s * 2.0 ** (attempt - 1))
        # Writers that collided once would collide again after equal waits.
        return ceiling_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
