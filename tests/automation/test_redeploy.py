"""Daemon and code server killed with a queue, and back: nothing is lost, nothing is doubled.

The real processes, on the instance that a clone starts with; a kill takes the whole session with
it, as the end of a container does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
import pytest
import yaml
from huggingface_hub import HfApi

from inferencebench_pipeline.automation.run_requests.interrupted_runs import ENDED_TAG
from inferencebench_pipeline.hub.dataset.receipt import Receipt
from inferencebench_pipeline.measure.spec.spec import spec_json
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile, RunStore, new_run_id
from inferencebench_pipeline.sandbox.process import SandboxEnvironment, running_sandbox
from tests.automation.test_images import answers, code_server, free_port, kill_session, wait_until
from tests.lifecycle.conftest import MODEL
from tests.measure.fake_engine import Behaviour, FakeEngine, running
from tests.measure.support import spec_for
from tests.paths import REPOSITORY as CLONE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Deployment:
    """A daemon, a code server and the instance between them, each a session that can be killed."""

    def __init__(self, home: Path, sandbox: SandboxEnvironment) -> None:
        self.home, self.sandbox, self.port = home, sandbox, free_port()
        self.store = RunStore(home / "store")
        folder = home / "dagster"
        folder.mkdir()
        shipped = (CLONE / "dagster.yaml").read_text()
        assert "user_code_failure_retry_delay: 20" in shipped
        (folder / "dagster.yaml").write_text(
            shipped.replace("user_code_failure_retry_delay: 20", "user_code_failure_retry_delay: 3")
        )
        server = {"host": "127.0.0.1", "port": self.port, "location_name": "here"}
        (folder / "workspace.yaml").write_text(
            yaml.safe_dump({"load_from": [{"grpc_server": server}]})
        )
        self.environ = os.environ | {
            **sandbox.environ,
            "INFERENCEBENCH_HOME": str(home),
            "DAGSTER_HOME": str(folder),
        }
        self.stack = ExitStack()
        self.code: subprocess.Popen[bytes] | None = None
        self.daemon: subprocess.Popen[bytes] | None = None

    def start_code(self) -> None:
        self.code = self.stack.enter_context(
            code_server(self.port, self.environ, self.home / "code.log")
        )
        assert wait_until(lambda: answers(self.port), 120), (self.home / "code.log").read_text()

    def start_daemon(self) -> None:
        with (self.home / "daemon.log").open("ab") as log:
            self.daemon = subprocess.Popen(
                [sys.executable, "-m", "dagster._daemon", "run", "-w", "workspace.yaml"],
                cwd=self.home / "dagster",
                env=self.environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.stack.callback(kill_session, self.daemon)

    def ask(self, base_url: str) -> RunDirectory:
        run = self.store.run(new_run_id())
        run.write(RunFile.SPEC, spec_json(spec_for(base_url, model={"id": MODEL})))
        return run

    def commits(self, run: RunDirectory) -> int:
        receipt = Receipt.model_validate_json(run.read(RunFile.PUBLICATION))
        hub = HfApi(endpoint=self.sandbox.hub_url, token=self.sandbox.token())
        return len(hub.list_repo_commits(receipt.repo_id, repo_type="dataset"))


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with running_sandbox(tmp_path / "sandbox") as sandbox:
        deployment = Deployment(tmp_path, sandbox)
        with deployment.stack:
            yield deployment


def publish_runs(
    instance: dg.DagsterInstance, *statuses: dg.DagsterRunStatus
) -> list[dg.DagsterRun]:
    return list(instance.get_runs(dg.RunsFilter(job_name="publish_run", statuses=list(statuses))))


def test_a_code_server_and_a_daemon_that_die_with_a_queue_lose_and_double_nothing(deployment):
    home = deployment.home / "dagster"
    deployment.start_code()
    with (
        dg.DagsterInstance.from_config(str(home)) as instance,
        running(FakeEngine(lambda _n: Behaviour(itl_s=0.5), model=MODEL)) as engine,
    ):
        runs = [deployment.ask(engine.base_url) for _ in range(2)]
        deployment.start_daemon()
        status = dg.DagsterRunStatus
        measuring = lambda: [run for run in runs if run.has(RunFile.CAPTURE)]  # noqa: E731
        assert wait_until(
            lambda: len(publish_runs(instance)) == 2 and len(measuring()) == 1, 180
        ), (deployment.home / "daemon.log").read_text()[-3000:]

        kill_session(deployment.code)
        (started,) = publish_runs(instance, status.STARTED)
        # The slot is free again: those in the queue are tried, and there is nobody to run them.
        instance.report_run_failed(started, "its process is gone")
        tried = lambda: [  # noqa: E731
            run
            for run in publish_runs(instance)
            if len(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_ENQUEUED)) > 1
        ]
        assert wait_until(lambda: bool(tried()), 120), "no run was tried without a code server"
        os.kill(deployment.daemon.pid, signal.SIGKILL)
        assert publish_runs(instance, status.FAILURE) == [
            run for run in publish_runs(instance) if run.run_id == started.run_id
        ]

        deployment.start_code()
        deployment.start_daemon()
        assert wait_until(
            lambda: (
                all(run.has(RunFile.PUBLICATION) for run in runs)
                and not publish_runs(instance, status.QUEUED, status.STARTING, status.STARTED)
            ),
            300,
        ), (deployment.home / "daemon.log").read_text()[-3000:]

        succeeded = [
            run.tags["dagster/partition"] for run in publish_runs(instance, status.SUCCESS)
        ]
        assert sorted(succeeded) == sorted(run.run_id for run in runs)
        assert len({deployment.commits(run) for run in runs}) == 1
        (failed,) = publish_runs(instance, status.FAILURE)
        assert failed.tags.get(ENDED_TAG) in {None, "interrupted"}
