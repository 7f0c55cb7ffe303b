"""How a Dagster instance behaves when many runs have gone through it.

Makes an instance with so many finished runs (a partition, a Dagster run, a materialisation of each
stage and a check result each), starts the guarded webserver on it, and times what a browser asks
for and what the daemon does again and again.

    python benchmarks/instance_growth.py --runs 10000 50000
    python benchmarks/instance_growth.py --runs 10000 50000 --storage postgres

With ``--storage postgres`` it starts a PostgreSQL of its own (``apt-get install postgresql``).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable

CLONE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CLONE))

from inferencebench_pipeline.lifecycle.partitions import PARTITION_TAG  # noqa: E402
from inferencebench_pipeline.runs.run_directory import RunFile, new_run_id  # noqa: E402
from tests.postgres import running_postgres  # noqa: E402

STAGES = ("benchmark_run", "traces", "envelope", "signature", "hub_dataset", "model_card_backlink")
REPEATS = 5
CHUNK = 2000

_STATUS = """assetPartitionStatuses { ... on DefaultPartitionStatuses {
    materializedPartitions failedPartitions unmaterializedPartitions } }"""
_STATS = "partitionStats { numMaterialized numPartitions numFailed numMaterializing }"
QUERIES: dict[str, tuple[str, dict[str, Any]]] = {
    "asset page": (
        f"""query($a: AssetKeyInput!) {{ assetNodeOrError(assetKey: $a) {{ ... on AssetNode {{ id
        {_STATS} assetMaterializations(limit: 100) {{ timestamp partition runId }} }} }} }}""",
        {"a": {"path": ["hub_dataset"]}},
    ),
    "partitions page": (
        f"""query($a: AssetKeyInput!) {{ assetNodeOrError(assetKey: $a) {{ ... on AssetNode {{ id
        partitionKeysByDimension {{ name partitionKeys }} {_STATUS} }} }} }}""",
        {"a": {"path": ["hub_dataset"]}},
    ),
    "graph, all stages": (
        f"""query($a: [AssetKeyInput!]!) {{ assetNodes(assetKeys: $a) {{ id {_STATS}
        assetMaterializations(limit: 1) {{ timestamp runId }} staleStatus
        assetChecksOrError {{ ... on AssetChecks {{ checks {{ name
        executionForLatestMaterialization {{ status }} }} }} }} }} }}""",
        {"a": [{"path": [stage]} for stage in STAGES]},
    ),
    "runs page": (
        """query { runsOrError(limit: 25) { ... on Runs { count results {
        runId status startTime tags { key value } } } } }""",
        {},
    ),
    "one run of the list": (
        """query($t: String!) { runsOrError(filter: {tags: [{key: "dagster/partition", value: $t}]},
        limit: 25) { ... on Runs { count results { runId status } } } }""",
        {"t": ""},
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--storage", choices=["sqlite", "postgres"], default="sqlite")
    arguments = parser.parse_args()
    columns = {count: measured(count, arguments.storage) for count in arguments.runs}
    first = next(iter(columns.values()))
    print(f"\n{arguments.storage}, first / median of {REPEATS}; ratio of the medians to the first")
    print(f"{'':34}" + "".join(f"{count:>26,} runs" for count in columns))
    for name in first:
        line = f"{name:34}"
        for times in columns.values():
            begin, usual = times[name][0], statistics.median(times[name])
            base = statistics.median(first[name])
            line += f"{begin:12.3f} /{usual:8.3f} s {usual / base:5.1f}x"
        print(line)


def measured(count: int, storage: str) -> dict[str, list[float]]:
    """Return the seconds each question took, the first time and again, with ``count`` runs."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="growth-")))
        environment = {
            "DAGSTER_HOME": str(home),
            "INFERENCEBENCH_HOME": str(home / "state"),
            "INFERENCEBENCH_INBOX": str(home / "inbox"),
        }
        (home / "inbox").mkdir()
        configuration = CLONE / "dagster.yaml"
        if storage == "postgres":
            environment |= stack.enter_context(running_postgres()).environ
            configuration = CLONE / "deploy/dagster.postgres.yaml"
        shutil.copy(configuration, home / "dagster.yaml")
        os.environ.update(environment)
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(home)))
        keys = [new_run_id(unix_ms=_recently(at, count)) for at in range(count)]
        started = time.perf_counter()
        fill(instance, keys)
        run_directories(home / "state/store/runs", keys)
        print(f"{count:,} runs made in {time.perf_counter() - started:.0f} s", flush=True)
        times: dict[str, list[float]] = {}
        ask = stack.enter_context(webserver(environment))
        for name, (query, variables) in QUERIES.items():
            given = variables | ({"t": keys[count // 2]} if "t" in variables else {})
            times[name] = timed(partial(ask, query, given))
        times["register one more run"] = timed(
            lambda: instance.add_dynamic_partitions("runs", [new_run_id()])
        )
        times |= sensor_ticks(instance)
        some = keys[-1000:]
        times["backfill of 1,000 runs, launch"] = timed(lambda: ask(*backfill(some)), repeats=1)
        for name, found in times.items():
            print(
                f"  {name:34}{found[0]:10.3f} s first {statistics.median(found):10.3f} s",
                flush=True,
            )
        return times


def timed(action: Callable[[], object], repeats: int = REPEATS) -> list[float]:
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        found.append(time.perf_counter() - started)
    return found


def fill(instance: dg.DagsterInstance, keys: list[str]) -> None:
    """Write one run through Dagster's own doors, then copy its rows for all others."""
    instance.add_dynamic_partitions("runs", keys)
    first = keys[0]
    run = DagsterRun(job_name="publish_run", run_id=first, status=dg.DagsterRunStatus.SUCCESS,
                     tags={PARTITION_TAG: first, "dagster/run_key": f"{first}:1"})  # fmt: skip
    instance.add_run(run)
    for stage in STAGES:
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                stage, partition=first, metadata={"rows": 1000, "sha256": "0" * 64}
            )
        )
    check = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("hub_dataset"),
        check_name="hub_serves_what_was_signed",
        passed=True,
        partition=first,
    )
    instance.report_runless_asset_event(check)
    events, runs = instance.event_log_storage, instance.run_storage
    with events.index_connection() as connection:  # type: ignore[attr-defined]
        copy_rows(connection, SqlEventLogStorageTable, first, keys[1:])
        copy_rows(connection, AssetCheckExecutionsTable, first, keys[1:])
    with runs.connect() as connection:  # type: ignore[attr-defined]
        # As its start and end events would have left it.
        begun = time.time() - 60
        connection.execute(RunsTable.update().values(start_time=begun, end_time=begun + 30))
        copy_rows(connection, RunsTable, first, keys[1:])
        copy_rows(connection, RunTagsTable, first, keys[1:])


def copy_rows(connection: sa.Connection, table: sa.Table, first: str, keys: list[str]) -> None:
    """Insert the rows that name ``first`` once more for every key, with the key in its place."""
    texts = [column for column in table.columns if isinstance(column.type, sa.Text | sa.String)]
    named = sa.or_(*(column.contains(first) for column in texts))
    rows = [dict(row._mapping) for row in connection.execute(sa.select(table).where(named))]
    for row in rows:
        row.pop("id")
    for start in range(0, len(keys), CHUNK):
        connection.execute(
            table.insert(),
            [
                {
                    name: value.replace(first, key) if isinstance(value, str) else value
                    for name, value in row.items()
                }
                for key in keys[start : start + CHUNK]
                for row in rows
            ],
        )


def run_directories(folder: Path, keys: list[str]) -> None:
    """Make the directories that sensors look through: each run was delivered and measured."""
    for key in keys:
        run = folder / key
        (run / RunFile.CAPTURE.value).mkdir(parents=True)
        (run / RunFile.SPEC.value).touch()
        (run / RunFile.DELIVERY.value).touch()


def sensor_ticks(instance: dg.DagsterInstance) -> dict[str, list[float]]:
    """Time a tick of each sensor that looks through runs, evaluated as the daemon does."""
    from definitions import build_definitions
    from inferencebench_pipeline.settings import Settings

    definitions = build_definitions(Settings.from_environment())
    times = {}
    for name in ("requested_runs", "new_runs", "parked_runs", "alerts"):
        sensor = definitions.resolve_sensor_def(name)

        def tick(sensor: dg.SensorDefinition = sensor, name: str = name) -> None:
            context = dg.build_sensor_context(
                instance=instance,
                instance_ref=instance.get_ref(),
                definitions=definitions,
                sensor_name=name,
                resources=definitions.resources,
            )
            sensor.evaluate_tick(context)

        times[f"tick of {name}"] = timed(tick, repeats=2)
    return times


def backfill(keys: list[str]) -> tuple[str, dict[str, Any]]:
    return (
        """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
        __typename ... on PythonError { message } } }""",
        {"p": {"assetSelection": [{"path": ["traces"]}], "partitionNames": keys}},
    )


@contextmanager
def webserver(environment: dict[str, str]) -> Iterator[Callable[[str, dict[str, Any]], object]]:
    """Run our way to start the UI, and yield what asks it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "inferencebench_pipeline.automation.instance.webserver",
        "-p",
        str(port),
    ]
    process = subprocess.Popen(
        [*command, "-h", "127.0.0.1"],
        cwd=CLONE,
        env=os.environ | environment | {"PYTHONPATH": str(CLONE)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def ask(query: str, variables: dict[str, Any]) -> object:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=170) as response:
            answer = json.load(response)
        if "errors" in answer or "PythonError" in json.dumps(answer)[:500]:
            raise RuntimeError(json.dumps(answer)[:2000])
        return answer

    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                ask(
                    "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }",
                    {},
                )
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
        yield ask
    finally:
        process.terminate()
        process.wait(30)


def _recently(at: int, count: int) -> int:
    """Return when the run was begun: spread over the last five days."""
    begun = datetime.now(tz=UTC) - timedelta(days=5) * (1 - at / count)
    return int(begun.timestamp() * 1000)


if __name__ == "__main__":
    main()
