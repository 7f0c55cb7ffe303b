"""Requests that start a run for the first time: each run is started once, whoever asks."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import dagster as dg

from inferencebench_pipeline.lifecycle.partitions import PARTITION_TAG, runs

ASKED_ONE_BY_ONE: Final = 20
"""The most runs that Dagster's storage is asked about one by one.

For more, all that it knows are fetched at once: a query for each run of a busy week would take
longer than a tick may.
"""


def start_requests(
    instance: dg.DagsterInstance, run_ids: Iterable[str]
) -> dg.SensorResult | dg.SkipReason:
    """Return the tick that requests the whole life of each run that was never started."""
    wanted = list(run_ids)
    already = launched(instance, wanted)
    waiting = [run_id for run_id in wanted if run_id not in already]
    if not waiting:
        return dg.SkipReason("no run is waiting to be started")
    return with_partitions(
        instance,
        # Dagster never forgets a run key, so a tick that is cut off after its launch launches once.
        [dg.RunRequest(run_key=f"{run_id}:1", partition_key=run_id) for run_id in waiting],
    )


def with_partitions(
    instance: dg.DagsterInstance, requests: Sequence[dg.RunRequest], cursor: str | None = None
) -> dg.SensorResult:
    """Return the tick that makes ``requests`` and registers their runs as partitions."""
    # Dagster refuses a request for an unknown partition, unless the same tick registers it.
    known = set(instance.get_dynamic_partitions(str(runs.name)))
    asked = [str(request.partition_key) for request in requests]
    unknown = [run_id for run_id in asked if run_id not in known]
    return dg.SensorResult(
        run_requests=list(requests),
        dynamic_partitions_requests=[runs.build_add_request(unknown)],
        cursor=cursor,
    )


def launched(instance: dg.DagsterInstance, run_ids: Collection[str]) -> set[str]:
    """Return those runs that a schedule, a person or an earlier tick has already started."""
    if len(run_ids) > ASKED_ONE_BY_ONE:
        known = dict(instance.get_run_tags([PARTITION_TAG]))
        return known.get(PARTITION_TAG, set()).intersection(run_ids)
    return {
        run_id
        for run_id in run_ids
        if instance.get_runs_count(dg.RunsFilter(tags={PARTITION_TAG: run_id})) > 0
    }
