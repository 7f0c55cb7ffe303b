"""A busy week of deliveries: the tick asks Dagster once, and starts exactly what nobody started."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from definitions import build_definitions
from inferencebench_pipeline.automation.run_requests.start_requests import ASKED_ONE_BY_ONE
from inferencebench_pipeline.lifecycle.partitions import PARTITION_TAG
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore, new_run_id
from inferencebench_pipeline.settings import Settings
from tests.automation.ticks import sensor_tick
from tests.instances import fresh_instance


def test_of_many_delivered_runs_only_those_that_nobody_started_are_started(tmp_path: Path):
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    settings = Settings.from_environment(
        {"INFERENCEBENCH_HOME": str(tmp_path / "home"), "INFERENCEBENCH_INBOX": str(inbox)}
    )
    definitions, store = build_definitions(settings), RunStore(settings.store)
    delivered = sorted(new_run_id() for _ in range(ASKED_ONE_BY_ONE + 5))
    for run_id in delivered:
        store.run(run_id).write(RunFile.DELIVERY, b"{}")
    launched = {*delivered[:-2], new_run_id()}
    with fresh_instance() as instance:
        for run_id in launched:
            instance.add_run(dg.DagsterRun("publish_run", tags={PARTITION_TAG: run_id}))
        tick = sensor_tick(definitions, instance, "new_runs")
    assert [request.partition_key for request in tick.run_requests] == delivered[-2:]
