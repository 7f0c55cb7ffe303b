"""``make ui``: the guarded UI and the daemon on the demo's state, and nothing left behind."""

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.paths import REPOSITORY as CLONE

pytestmark = [pytest.mark.ui, pytest.mark.slow, pytest.mark.timeout(420)]

OF_THE_SHELL = "hf_0123456789abcdefghijABCDEFGHIJ"
"""A token that whoever starts the UI happens to have in the environment."""
STATE = """{
  workspaceOrError { ... on Workspace { locationEntries { name loadStatus } } }
  instance { daemonHealth { allDaemonStatuses { daemonType healthy } } }
}"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def ui(home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "inferencebench_pipeline.demo.ui", "--port", str(port)],
        env=os.environ
        | {"INFERENCEBENCH_HOME": str(home), "PYTHONPATH": str(CLONE), "HF_TOKEN": OF_THE_SHELL},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=60)
        process.kill()
        process.communicate()


def state(url: str) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{url}/graphql",
        json.dumps({"query": STATE}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            data: dict[str, Any] = json.load(answer)["data"]
            return data
    except OSError:
        return {}


def is_up(url: str) -> bool:
    found = state(url)
    entries = found.get("workspaceOrError", {}).get("locationEntries", [])
    daemons = found.get("instance", {}).get("daemonHealth", {}).get("allDaemonStatuses", [])
    healthy = {daemon["daemonType"] for daemon in daemons if daemon["healthy"]}
    loaded = [entry["name"] for entry in entries if entry["loadStatus"] == "LOADED"]
    return loaded == ["inferencebench_pipeline"] and {"SENSOR", "SCHEDULER"} <= healthy


def processes_naming(text: str) -> list[str]:
    return [arguments for arguments, _ in processes_with(text)]


def processes_with(text: str) -> list[tuple[str, str]]:
    """Return arguments and environment of the other processes that have it in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = (entry / "environ").read_bytes().decode(errors="replace")
            if text in environment and int(entry.name) != os.getpid():
                arguments = (entry / "cmdline").read_bytes().decode(errors="replace")
                found.append((arguments.replace("\0", " "), environment))
    return found


def test_the_ui_comes_up_guarded_with_its_daemon_and_goes_without_a_trace(
    ui: tuple[subprocess.Popen[str], str], home: Path
) -> None:
    process, url = ui
    deadline_s = time.monotonic() + 240
    while not is_up(url):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline_s, "not up in four minutes"
        time.sleep(1)
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(f"{url}/graphql?query=mutation%7B__typename%7D", timeout=30)
    tokens = [OF_THE_SHELL, *(path.read_text() for path in home.glob("sandbox/hub/tokens/*"))]
    serving = processes_with(f"DAGSTER_HOME={home}/dagster")
    assert any("webserver" in arguments for arguments, _ in serving)
    assert len(tokens) == 3
    assert not any(token in text for parts in serving for text in parts for token in tokens)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 0, output
    deadline_s = time.monotonic() + 15
    while processes_naming(str(home)) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    assert processes_naming(str(home)) == []
