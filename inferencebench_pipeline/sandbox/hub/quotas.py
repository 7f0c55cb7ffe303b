"""The Hub's undocumented action quotas: so many commits, so many new repositories an hour."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

from inferencebench_pipeline.sandbox.hub.errors import HubError

_HOUR_S = 3600.0


@dataclass(frozen=True)
class Quotas:
    """Actions a user may take per hour; None for no limit."""

    commits_per_hour: int | None = None
    repositories_per_hour: int | None = None


class ActionQuotas:
    """Counts actions per user over a sliding hour, in memory."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self._taken: dict[tuple[str, str], deque[float]] = {}
        self._lock = threading.Lock()

    def spend_commit(self, user: str) -> None:
        """Count one commit.

        Raises:
            HubError: 429 with the Hub's text; ``RateLimit`` says requests remain, as it does there.
        """
        self._spend("repository commits", user, self._quotas.commits_per_hour)

    def spend_repository(self, user: str) -> None:
        """Count one call to create a repository, which costs even when it already exists.

        Raises:
            HubError: 429, see :meth:`spend_commit`.
        """
        self._spend("repository creation", user, self._quotas.repositories_per_hour)

    def _spend(self, action: str, user: str, limit: int | None) -> None:
        if limit is None:
            return
        now = time.monotonic()
        with self._lock:
            taken = self._taken.setdefault((action, user), deque())
            while taken and taken[0] <= now - _HOUR_S:
                taken.popleft()
            if len(taken) >= limit:
                raise HubError(
                    429,
                    # The Hub's own words, from which a client has to read the wait.
                    f"You have exceeded the rate limit for {action} ({limit} per hour). "
                    "You can retry this action in about 1 hour.",
                    headers={"RateLimit": '"api";r=949;t=220'},
                )
            taken.append(now)
