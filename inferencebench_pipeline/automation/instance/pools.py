"""The pools and their limits, set at start-up: how many may use a GPU, sign, or write to the Hub.

``verification`` is there for the order: two verifications of one day that end in another order than
they were asked for leave the older verdicts, and the UI shows that day's check as never executed.

``python -m inferencebench_pipeline.automation.instance.pools`` sets them in a deployment.
"""

from typing import Final

import dagster as dg

GPU: Final = "gpu"
LIMITS: Final = {GPU: 1, "signing": 1, "hub-write": 1, "hub-read": 1, "verification": 1}
"""Runs that may be in each pool at once, unless an operator has set another number."""
GOING_ON: Final = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""States of a run that has not ended."""
_POOL_TAG: Final = ".dagster/pool/"
"""What the run storage tags a run with for each pool that it needs."""


def hold_pools(instance: dg.DagsterInstance) -> dict[str, int]:
    """Set the limit of each pool that has none of its own; return those that were set.

    A pool that Dagster has never seen is not held back at its first batch, hence before anything
    is launched. A limit that an operator has set stays.
    """
    storage = instance.event_log_storage
    known = {pool.name for pool in storage.get_pool_limits() if not pool.from_default}
    unset = {pool: limit for pool, limit in LIMITS.items() if pool not in known}
    for pool, limit in unset.items():
        storage.set_concurrency_slots(pool, limit)
    return unset


def runs_in(instance: dg.DagsterInstance, pool: str) -> int:
    """Return how many runs that have not ended need ``pool``, those that wait for it included."""
    tags = {f"{_POOL_TAG}{pool}": "true"}
    return instance.get_runs_count(dg.RunsFilter(tags=tags, statuses=GOING_ON))


def is_busy(instance: dg.DagsterInstance, pool: str) -> bool:
    """Return whether a run that is asked for now would have to wait for its place in ``pool``."""
    limits = {item.name: item.limit for item in instance.event_log_storage.get_pool_limits()}
    return runs_in(instance, pool) >= limits.get(pool, LIMITS[pool])


def main() -> None:
    """Set the limits in the instance that ``DAGSTER_HOME`` names, and say them."""
    with dg.DagsterInstance.get() as instance:
        hold_pools(instance)
        for pool in sorted(instance.event_log_storage.get_pool_limits(), key=lambda one: one.name):
            print(f"{pool.name}: {pool.limit}")  # noqa: T201  (a command)


if __name__ == "__main__":
    main()
