"""A real ``dagster dev``, driven over GraphQL as the UI drives it.

The engine is a scripted one: ``tests/test_demo.py`` takes the real one through the same life. Each
run that is launched here is a process that loads the whole code location, so each has a reason.
"""

from __future__ import annotations

import contextlib
import itertools
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
import yaml

from inferencebench_pipeline.hub.client.client import Hub, Repo
from inferencebench_pipeline.runs.run_directory import new_run_id
from inferencebench_pipeline.sandbox.process import SandboxEnvironment, running_sandbox
from tests.lifecycle.conftest import MODEL
from tests.measure.fake_engine import Behaviour, FakeEngine, running
from tests.measure.support import content_of_spec
from tests.paths import REPOSITORY as CLONE

pytestmark = [pytest.mark.ui, pytest.mark.slow, pytest.mark.timeout(420)]

SPEC = "chat-of-a-moment"
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

    def __init__(self, url: str, home: Path, sandbox: SandboxEnvironment) -> None:
        self.url = url
        self.home = home
        self.sandbox = sandbox

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


def wait_until(
    condition: Callable[[], bool], deadline_s: float, seen: Callable[[], object] = str
) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"timed out; seen: {seen()}"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def dagster_dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GraphQL]:
    home = tmp_path_factory.mktemp("home")
    (home / "dagster").mkdir()
    (home / "dagster/dagster.yaml").write_text((CLONE / "dagster.yaml").read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (
        running_sandbox(home / "sandbox") as sandbox,
        running(FakeEngine(lambda _number: Behaviour(), model=MODEL)) as engine,
    ):
        (home / "specs").mkdir()
        spec = content_of_spec(engine.base_url, name=SPEC, model={"id": MODEL})
        (home / f"specs/{SPEC}.yaml").write_text(yaml.safe_dump(spec))
        environment = (
            os.environ
            | sandbox.environ
            | {
                "INFERENCEBENCH_HOME": str(home),
                "INFERENCEBENCH_SPECS": str(home / "specs"),
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
            graphql = GraphQL(f"http://127.0.0.1:{port}", home, sandbox)
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
    named = {"ops": {"benchmark_run": {"config": {"spec": SPEC}}}}
    dagster_dev.finish(dagster_dev.launch("publish_run", run_id, named))

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


def test_two_writers_at_once_are_at_the_hub_one_after_the_other(dagster_dev):
    (run_id, *_) = _published_runs(dagster_dev)
    tags = [{"key": "dagster/partition", "value": run_id}]
    launched = [_launch_assets(dagster_dev, ["model_card_backlink"], tags) for _ in range(2)]
    for one in launched:
        dagster_dev.finish(one)
    data = dagster_dev(
        """{ runsOrError(filter: {statuses: [SUCCESS]}) { ... on Runs { results {
               runId startTime endTime } } } }"""
    )
    times = sorted(
        (run["startTime"], run["endTime"])
        for run in data["runsOrError"]["results"]
        if run["runId"] in launched
    )
    assert len(times) == 2
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(times)), times


def test_re_verifying_everything_shows_its_progress_and_the_record_that_was_changed(dagster_dev):
    (run_id, *_) = _published_runs(dagster_dev)
    receipt = json.loads(
        (dagster_dev.home / "store/runs" / run_id / "publication.json").read_text()
    )
    genuine = (dagster_dev.home / "store/runs" / run_id / "envelope.json").read_bytes()
    hub = Hub(dagster_dev.sandbox.hub_url, lambda: dagster_dev.sandbox.token("write"))
    repo = Repo("dataset", receipt["repo_id"])
    changed = genuine.replace(b'"seed": 42', b'"seed": 43')
    parent = hub.head(repo).commit
    hub.commit(repo, {"envelope.json": changed}, message="changed", parent=parent)
    dagster_dev.finish(dagster_dev.launch("crawl_corpus"))

    # Others verify that day at the same time: a person, and the sensor for what a crawl found.
    today = receipt["published_at"][:10]
    launch = dagster_dev.launch("reverify_everything")
    for one in (launch, dagster_dev.launch("reverify", today)):
        dagster_dev.finish(one)
    backfill_id = launch.replace("-", "")[:8]
    wait_until(lambda: _backfill_of(dagster_dev, backfill_id)["status"] != "REQUESTED", 180)
    seen = _backfill_of(dagster_dev, backfill_id)
    assert seen["title"] == "Re-verify everything"
    assert seen["numPartitions"] == 1
    assert seen["status"].startswith("COMPLETED")

    wait_until(
        lambda: _is_shown_failed(dagster_dev, today, receipt["repo_id"]),
        180,
        lambda: _checks(dagster_dev, "corpus_verification"),
    )


def _is_shown_failed(graphql: GraphQL, day: str, repo_id: str) -> bool:
    """Return whether the day, and no other, is shown as failed with the repository's finding."""
    (check,) = _checks(graphql, "corpus_verification")
    failed = [one for one in check["partitionStatuses"]["ranges"] if one["status"] == "FAILED"]
    execution = check["executionForLatestMaterialization"]
    evaluation = execution and execution["evaluation"]
    return (
        [(one["startKey"], one["endKey"]) for one in failed] == [(day, day)]
        and evaluation is not None
        and not evaluation["success"]
        and repo_id in json.dumps(evaluation["metadataEntries"])
    )


def _published_runs(graphql: GraphQL) -> list[str]:
    folder = graphql.home / "store/runs"
    return sorted(path.parent.name for path in folder.glob("*/publication.json"))


def _launch_assets(graphql: GraphQL, assets: list[str], tags: list[dict[str, str]]) -> str:
    data = graphql(
        """mutation($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) {
             __typename ... on LaunchRunSuccess { run { runId } }
             ... on PythonError { message } } }""",
        p={
            "selector": {
                **LOCATION,
                "jobName": "publish_run",
                "assetSelection": [{"path": [asset]} for asset in assets],
            },
            "mode": "default",
            "runConfigData": {},
            "executionMetadata": {"tags": tags},
        },
    )["launchPipelineExecution"]
    assert data["__typename"] == "LaunchRunSuccess", data
    return data["run"]["runId"]


def _backfill_of(graphql: GraphQL, backfill_id: str) -> dict[str, Any]:
    data = graphql(
        """query($b: String!) { partitionBackfillOrError(backfillId: $b) {
             __typename ... on PartitionBackfill { status title numPartitions } } }""",
        b=backfill_id,
    )
    return data["partitionBackfillOrError"]


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
                 succeededPartitions failedPartitions }
               ... on AssetCheckTimePartitionStatuses { ranges { status startKey endKey } } }
               executionForLatestMaterialization { evaluation { success description
                 metadataEntries { label ... on TableMetadataEntry { table { records } } } } }
             } } } } } }""",
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
