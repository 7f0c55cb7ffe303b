"""Serving: readiness, memory of ports and data, one server per folder, stopping, dying."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import httpx

from inferencebench_pipeline.sandbox.faults_client import Faults
from inferencebench_pipeline.sandbox.hub.names import RepoKind
from inferencebench_pipeline.sandbox.hub.objects import git_blob_oid
from inferencebench_pipeline.sandbox.hub.store import HubStore
from inferencebench_pipeline.sandbox.process import (
    SandboxStartError,
    read_environment,
    running_sandbox,
)
from inferencebench_pipeline.sandbox.serve import SandboxError, ServeOptions, serve
from tests.sandbox.calls import commit, fetch, request
from tests.sandbox.conftest import ORGANISATION

NAME = f"{ORGANISATION}/run"


@pytest.fixture(autouse=True)
def plain_client(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def client(sandbox) -> HfApi:
    return HfApi(endpoint=sandbox.hub_url, token=sandbox.token())


def test_everything_the_environment_names_is_there(tmp_path):
    with running_sandbox(tmp_path / "a state") as sandbox:
        environ = sandbox.environ
        assert environ["HF_ENDPOINT"] == sandbox.hub_url
        assert environ["HF_TOKEN"] == ""
        assert environ["INFERENCEBENCH_ORGANISATION"] == ORGANISATION
        for name in (
            "HF_TOKEN_PATH",
            "INFERENCEBENCH_TRUST_CONFIG",
            "INFERENCEBENCH_POLICY",
            "INFERENCEBENCH_IDENTITY_TOKEN_FILE",
        ):
            assert Path(environ[name]).is_file(), name
        sourced = subprocess.run(
            ["bash", "-c", 'set -a; . "$0"; echo "$HF_TOKEN_PATH"', sandbox.state / "env"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert sourced.stdout.strip() == environ["HF_TOKEN_PATH"]
        assert httpx.get(f"{sandbox.sigstore_url}/", trust_env=False).status_code == 200
        banner = (sandbox.state / "serve.log").read_text()
        assert "proves nothing to anyone else" in banner
        assert sandbox.token() not in banner
    assert read_environment(sandbox.state) == {}


def test_ports_tokens_and_data_survive_a_restart(tmp_path):
    with running_sandbox(tmp_path) as first:
        api = client(first)
        api.create_repo(NAME, repo_type="dataset")
        made = commit(api, NAME, {"a.txt": b"a", "t.parquet": b"PAR1"})
        commit(api, NAME, {"b.txt": b"b"}, create_pr=True, commit_message="Add b")
    with running_sandbox(tmp_path) as second:
        assert (second.hub_url, second.sigstore_url) == (first.hub_url, first.sigstore_url)
        assert second.token() == api.token
        assert api.dataset_info(NAME).sha == made.oid
        assert fetch(api, NAME, "t.parquet") == b"PAR1"
        assert fetch(api, NAME, "b.txt", "refs%2Fpr%2F1") == b"b"
        assert api.get_discussion_details(NAME, 1, repo_type="dataset").title == "Add b"
        api.merge_pull_request(NAME, 1, repo_type="dataset")
        assert fetch(api, NAME, "b.txt") == b"b"


def test_a_deleted_repository_stays_deleted(tmp_path):
    with running_sandbox(tmp_path) as first:
        client(first).create_repo(NAME, repo_type="dataset")
        client(first).delete_repo(NAME, repo_type="dataset")
    with running_sandbox(tmp_path) as second:
        assert not client(second).repo_exists(NAME, repo_type="dataset")
        client(second).create_repo(NAME, repo_type="dataset")


def assert_every_object_is_whole(state: Path) -> None:
    """Read everything back from disk as the next start would, and check it against its name."""
    store = HubStore(state / "hub")
    for repository in store.all(RepoKind.DATASET):
        for oid in repository.refs.values():
            for made in repository.history(repository.objects.commit(oid)):
                for entry in made.tree.values():
                    if entry.lfs_sha256 is None:
                        content = repository.objects.blob_path(entry.oid).read_bytes()
                        assert git_blob_oid(content) == entry.oid
                    else:
                        assert store.lfs.has(entry.lfs_sha256, entry.size_bytes)


def bare_commit(api: HfApi, path: str, content: bytes) -> str:
    file = {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}
    lines = [{"key": "header", "value": {"summary": path}}, {"key": "file", "value": file}]
    body = "\n".join(json.dumps(line) for line in lines).encode()
    response = request(api, "POST", f"/api/datasets/{NAME}/commit/main", content=body)
    response.raise_for_status()
    return response.json()["commitOid"]


@pytest.mark.parametrize("acknowledged_before_the_kill", [1, 4, 9])
def test_kill_9_loses_no_acknowledged_commit_and_keeps_no_half_one(
    tmp_path, acknowledged_before_the_kill
):
    acknowledged: list[str] = []
    enough = threading.Event()

    def write(api: HfApi) -> None:
        """Commit with bare requests: the client would go on trying after the kill."""
        for number in range(1000):
            try:
                acknowledged.append(bare_commit(api, f"{number}.txt", os.urandom(50_000)))
            except httpx.TransportError:
                return
            if len(acknowledged) >= acknowledged_before_the_kill:
                enough.set()

    with running_sandbox(tmp_path) as sandbox:
        api = client(sandbox)
        api.create_repo(NAME, repo_type="dataset")
        commit(api, NAME, {"t.parquet": os.urandom(5000)})
        writer = threading.Thread(target=write, args=(api,), daemon=True)
        writer.start()
        assert enough.wait(60)
        os.kill(sandbox.pid, signal.SIGKILL)
        writer.join(60)
    assert_every_object_is_whole(tmp_path)
    with running_sandbox(tmp_path) as revived:
        history = client(revived).list_repo_commits(NAME, repo_type="dataset")
        assert set(acknowledged) <= {item.commit_id for item in history}
        commit(client(revived), NAME, {"after.txt": b"after"})
        assert fetch(client(revived), NAME, "after.txt") == b"after"


def test_a_second_server_on_the_same_folder_is_refused(tmp_path):
    with (
        running_sandbox(tmp_path) as first,
        pytest.raises(SandboxStartError, match=rf"process {first.pid}\) already serves"),
        running_sandbox(tmp_path),
    ):
        pass


def test_a_stale_environment_file_is_not_taken_for_readiness(tmp_path):
    with running_sandbox(tmp_path) as first:
        os.kill(first.pid, signal.SIGKILL)
    assert read_environment(tmp_path) != {}
    with running_sandbox(tmp_path) as second:
        assert second.pid != first.pid
        assert client(second).whoami()


def test_a_taken_port_is_replaced_unless_it_was_asked_for(tmp_path):
    with running_sandbox(tmp_path) as first:
        port = int(first.hub_url.rsplit(":", 1)[1])
    with socket.create_server(("127.0.0.1", port)):
        with running_sandbox(tmp_path) as second:
            assert second.hub_url != first.hub_url
            assert client(second).whoami()
        with (
            pytest.raises(SandboxStartError, match=f"port {port} on 127.0.0.1 is not free"),
            running_sandbox(tmp_path, arguments=("--hub-port", str(port))),
        ):
            pass
    with running_sandbox(tmp_path) as third:
        assert third.hub_url == second.hub_url


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_only_loopback_is_served(tmp_path, host):
    with pytest.raises(SandboxError, match=r"refusing to serve|not an IP address"):
        serve(ServeOptions(state=tmp_path, host=host), announce=lambda text: None)


def test_a_page_reached_under_another_host_name_is_turned_away(tmp_path):
    with running_sandbox(tmp_path) as sandbox:
        response = httpx.get(
            f"{sandbox.hub_url}/", headers={"host": "rebound.example"}, trust_env=False
        )
        assert response.status_code == 400


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_on_a_signal_with_connections_open_and_requests_pending(tmp_path, number):
    with running_sandbox(tmp_path) as sandbox:
        host, port = "127.0.0.1", int(sandbox.hub_url.rsplit(":", 1)[1])
        Faults(sandbox.hub_url).add("delay", path="/slow", delay_s=600)
        with (
            socket.create_connection((host, port)) as idle,
            socket.create_connection((host, port)) as pending,
        ):
            request = f"GET /slow HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"
            pending.sendall(request.encode())
            httpx.get(f"{sandbox.hub_url}/api/datasets", trust_env=False)
            os.kill(sandbox.pid, number)
            idle.settimeout(5)
            assert idle.recv(1) == b""
            _wait_until_gone(sandbox.pid)
            assert read_environment(tmp_path) == {}


def _wait_until_gone(pid: int) -> None:
    """Wait for our child to end, for at most five seconds; its exit status must be 0."""
    poll = threading.Event()
    for _ in range(500):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        poll.wait(0.01)
    raise AssertionError("still running after 5 s")


def test_it_dies_with_the_process_that_started_it(tmp_path):
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from inferencebench_pipeline.sandbox.process import running_sandbox\n"
        "with running_sandbox(Path(sys.argv[1])) as sandbox:\n"
        "    print(sandbox.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    starter = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True
    )
    assert starter.returncode == -signal.SIGKILL
    assert int(starter.stdout) > 0
    with running_sandbox(_freed(tmp_path)) as successor:
        assert client(successor).whoami()


def _freed(state: Path) -> Path:
    """Wait until nobody holds the folder's lock, for at most ten seconds."""
    poll = threading.Event()
    for _ in range(1000):
        with (state / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                poll.wait(0.01)
                continue
            return state
    raise AssertionError("the sandbox outlived its starter")


def test_action_quotas_answer_like_the_hub(tmp_path):
    quotas = ("--commits-per-hour", "1", "--repositories-per-hour", "2")
    with running_sandbox(tmp_path, arguments=quotas) as sandbox:
        api = client(sandbox)
        api.create_repo(NAME, repo_type="dataset")
        api.create_repo(NAME, repo_type="dataset", exist_ok=True)
        with pytest.raises(HfHubHTTPError, match=r"repository creation \(2 per hour\)"):
            api.create_repo(NAME, repo_type="dataset", exist_ok=True)
        commit(api, NAME, {"a": b"a"})
        with pytest.raises(HfHubHTTPError, match="in about 1 hour") as raised:
            commit(api, NAME, {"b": b"b"})
        assert raised.value.response.status_code == 429
        assert raised.value.response.headers["ratelimit"] == '"api";r=949;t=220'
