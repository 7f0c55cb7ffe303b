"""The pools of the instance: they limit how many runs use a GPU, sign, or write to the Hub.

The pool ``verification`` keeps the order: when two verifications of one day end in another order
than they were requested, the older verdicts remain, and the UI shows the check of that day as never
executed.

``python -m inferencebench_pipeline.automation.instance.pools`` sets the limits of a deployment.
"""

from typing import Final

import dagster as dg

GPU: Final = "gpu"
LIMITS: Final = {GPU: 1, "signing": 1, "hub-write": 1, "hub-read": 1, "verification": 1}
"""The number of runs in each pool at once, unless an operator has set another one."""
GOING_ON: Final = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""The states of a run that has not ended."""
ENDED_BADLY: Final = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
"""The states of a run that ended without success."""
_POOL_TAG: Final = ".dagster/pool/"
"""The beginning of the tag that the run storage gives a run for each pool that it needs."""


def hold_pools(instance: dg.DagsterInstance) -> dict[str, int]:
    """Set the limit of each pool that has none yet, and return the limits that were set.

    This has to be done before anything is launched, since Dagster does not hold back the first
    batch of runs in a pool that it has never seen. A limit that an operator has set stays.
    """
    storage = instance.event_log_storage
    # A pool that only has Dagster's default limit does not hold back its first batch either.
    known = {pool.name for pool in storage.get_pool_limits() if not pool.from_default}
    unset = {pool: limit for pool, limit in LIMITS.items() if pool not in known}
    for pool, limit in unset.items():
        storage.set_concurrency_slots(pool, limit)
    return unset


def runs_in(instance: dg.DagsterInstance, pool: str) -> int:
    """Return the number of runs in ``pool``, with those that wait for a place in it."""
    tags = {f"{_POOL_TAG}{pool}": "true"}
    return instance.get_runs_count(dg.RunsFilter(tags=tags, statuses=GOING_ON))


def is_busy(instance: dg.DagsterInstance, pool: str) -> bool:
    """Return whether a run that is requested now would have to wait for a place in ``pool``."""
    limits = {item.name: item.limit for item in instance.event_log_storage.get_pool_limits()}
    return runs_in(instance, pool) >= limits.get(pool, LIMITS[pool])


def main() -> None:
    """Set the limits in the instance that ``DAGSTER_HOME`` names, and print all of them."""
    with dg.DagsterInstance.get() as instance:
        hold_pools(instance)
        for pool in sorted(instance.event_log_storage.get_pool_limits(), key=lambda one: one.name):
            print(f"{pool.name}: {pool.limit}")  # noqa: T201  (a command)


if __name__ == "__main__":
    main()
