"""A real ``dagster dev`` on the demo's state, driven over GraphQL as the UI drives it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from inferencebench_pipeline.runs import new_run_id
from inferencebench_pipeline.sandbox.process import running_sandbox

pytestmark = [pytest.mark.ui, pytest.mark.slow, pytest.mark.engine, pytest.mark.timeout(420)]

CLONE = Path(__file__).resolve().parent.parent
LOCATION = {
    "repositoryLocationName": "inferencebench_pipeline",
    "repositoryName": "__repository__",
}
STAGES = {
    "benchmark_run": ["engine_answered", "run_complete"],
    "traces": ["traces_valid"],
    "envelope": ["metrics_rederive", "no_placeholders", "canonical"],
    "signature": ["signature_verifies"],
    "hub_dataset": ["hub_serves_what_was_signed"],
    "model_card_backlink": ["only_our_key_changed"],
}


class GraphQL:
    """The webserver's GraphQL endpoint."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, query: str, **variables: Any) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.url}/graphql",
            data=json.dumps({"query": query, "variables": variables}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer
        return answer["data"]

    def launch(self, job: str, partition_key: str | None = None, config: Any = None) -> str:
        tags = [{"key": "dagster/partition", "value": partition_key}] if partition_key else []
        data = self(
            """mutation($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) {
                 __typename ... on LaunchRunSuccess { run { runId } }
                 ... on PythonError { message } } }""",
            p={
                "selector": {**LOCATION, "jobName": job},
                "mode": "default",
                "runConfigData": config or {},
                "executionMetadata": {"tags": tags},
            },
        )["launchPipelineExecution"]
        assert data["__typename"] == "LaunchRunSuccess", data
        return data["run"]["runId"]

    def status(self, run_id: str) -> str:
        data = self("query($r: ID!) { runOrError(runId: $r) { ... on Run { status } } }", r=run_id)
        return data["runOrError"]["status"]

    def finish(self, run_id: str, deadline_s: float = 180) -> None:
        wait_until(lambda: self.status(run_id) in {"SUCCESS", "FAILURE", "CANCELED"}, deadline_s)
        assert self.status(run_id) == "SUCCESS"


def wait_until(condition: Callable[[], bool], deadline_s: float) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def dagster_dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GraphQL]:
    home = tmp_path_factory.mktemp("home")
    (home / "dagster").mkdir()
    (home / "dagster/dagster.yaml").write_text((CLONE / "dagster.yaml").read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with running_sandbox(home / "sandbox") as sandbox:
        environment = (
            os.environ
            | sandbox.environ
            | {
                "INFERENCEBENCH_HOME": str(home),
                "DAGSTER_HOME": str(home / "dagster"),
                "INFERENCEBENCH_UPDATE_MODEL_CARD": "1",
            }
        )
        log = (home / "dagster-dev.log").open("wb")
        command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(
            command, cwd=CLONE, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            graphql = GraphQL(f"http://127.0.0.1:{port}")
            wait_until(lambda: process.poll() is None and _loaded(graphql), 120)
            yield graphql
        finally:
            os.killpg(process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            log.close()


def _loaded(graphql: GraphQL) -> bool:
    try:
        data = graphql("{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")
    except (OSError, urllib.error.URLError):
        return False
    return bool(data["repositoriesOrError"].get("nodes"))


def test_a_person_materialises_a_run_sees_its_checks_pass_and_re_verifies_the_day(dagster_dev):
    run_id = new_run_id()
    added = dagster_dev(
        """mutation($s: RepositorySelector!, $k: String!) {
             addDynamicPartition(repositorySelector: $s, partitionsDefName: "runs",
                                 partitionKey: $k) { __typename } }""",
        s=LOCATION,
        k=run_id,
    )
    assert added["addDynamicPartition"]["__typename"] == "AddDynamicPartitionSuccess"
    dagster_dev.finish(dagster_dev.launch("publish_run", run_id))

    for asset, checks in STAGES.items():
        statuses = {
            check["name"]: check["partitionStatuses"] for check in _checks(dagster_dev, asset)
        }
        assert sorted(statuses) == sorted(checks)
        for name in checks:
            assert run_id in statuses[name]["succeededPartitions"], (asset, name, statuses[name])

    dagster_dev.finish(dagster_dev.launch("crawl_corpus"))
    _backfill(dagster_dev, "corpus_verification", datetime.now(tz=UTC).strftime("%Y-%m-%d"))
    dagster_dev.finish(dagster_dev.launch("rebuild_leaderboard"))


def test_launching_a_benchmark_from_its_form_runs_its_whole_life(dagster_dev):
    dagster_dev.finish(dagster_dev.launch("launch_benchmark"))
    wait_until(lambda: "SUCCESS" in _publish_runs_by_sensor(dagster_dev), 180)


def _publish_runs_by_sensor(graphql: GraphQL) -> list[str]:
    data = graphql(
        """{ runsOrError(filter: {pipelineName: "publish_run",
                                  tags: [{key: "dagster/sensor_name", value: "requested_runs"}]}) {
               ... on Runs { results { status } } } }"""
    )
    return [run["status"] for run in data["runsOrError"]["results"]]


def _checks(graphql: GraphQL, asset: str) -> list[dict[str, Any]]:
    data = graphql(
        """query($a: AssetKeyInput!) { assetNodeOrError(assetKey: $a) { ... on AssetNode {
             assetChecksOrError { ... on AssetChecks { checks { name partitionStatuses {
               __typename ... on AssetCheckDefaultPartitionStatuses {
                 succeededPartitions failedPartitions } } } } } } } }""",
        a={"path": [asset]},
    )
    return data["assetNodeOrError"]["assetChecksOrError"]["checks"]


def _backfill(graphql: GraphQL, asset: str, partition_key: str) -> None:
    launched = graphql(
        """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
             __typename ... on LaunchBackfillSuccess { backfillId }
             ... on PythonError { message } } }""",
        p={
            "assetSelection": [{"path": [asset]}],
            "partitionNames": [partition_key],
            "fromFailure": False,
        },
    )["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched

    def done() -> bool:
        data = graphql(
            """query($b: String!) { partitionBackfillOrError(backfillId: $b) {
                 ... on PartitionBackfill { status } } }""",
            b=launched["backfillId"],
        )
        status = data["partitionBackfillOrError"]["status"]
        assert status not in {"FAILED", "COMPLETED_FAILED"}, status
        return status.startswith("COMPLETED")

    wait_until(done, 180)
