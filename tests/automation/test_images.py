"""Each command of the images dies as a whole, and its health check says so."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from tests.paths import REPOSITORY as CLONE

PROGRAMS = Path(sys.executable).parent


def targets() -> dict[str, list[str]]:
    """Return the instructions of each target of the Dockerfile, those of its base before them."""
    text = re.sub(r"\\\n", " ", (CLONE / "Dockerfile").read_text())
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in (line.strip() for line in text.splitlines()):
        if begun := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            current = list(found.get(begun[1], ()))
            found[begun[2]] = current
        elif line and not line.startswith("#"):
            current.append(line)
    return found


def instruction(target: str, pattern: str) -> str:
    """Return what the last instruction of a target that fits ``pattern`` says."""
    fitting = [m[1] for line in targets()[target] if (m := re.fullmatch(pattern, line))]
    assert fitting, (target, pattern)
    return fitting[-1]


def command(target: str) -> list[str]:
    return [str(part) for part in json.loads(instruction(target, r"CMD (.+)"))]


def health_check(target: str) -> list[str]:
    return [str(p) for p in json.loads(instruction(target, r"HEALTHCHECK .*?CMD (.+)"))]


def environment(target: str) -> dict[str, str]:
    lines = [line for line in targets()[target] if line.startswith("ENV ")]
    return dict(pair.split("=", 1) for line in lines for pair in line.split()[1:])


def run(parts: list[str], **options: object) -> int:
    program = shutil.which(parts[0], path=f"{PROGRAMS}:{os.environ['PATH']}")
    assert program
    done = subprocess.run(
        [program, *parts[1:]],
        capture_output=True,
        timeout=120,
        **options,  # type: ignore[call-overload]
    )
    return int(done.returncode)


@pytest.mark.parametrize("target", ["host", "daemon", "code"])
def test_each_part_that_must_be_alive_has_a_command_and_a_health_check_of_its_own(target):
    assert command(target)
    assert health_check(target)
    others = {"host", "daemon", "code"} - {target}
    assert all(health_check(target) != health_check(other) for other in others)


# -- the daemon ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("silent_s", "healthy"), [(1, True), (100, True), (300, False), (1700, False), (9999, False)]
)
@pytest.mark.slow
def test_a_daemon_that_is_silent_for_minutes_is_unhealthy(tmp_path, silent_s, healthy):
    (tmp_path / "dagster.yaml").write_text((CLONE / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        for kind in instance.get_required_daemon_types():
            beat = DaemonHeartbeat(time.time() - silent_s, kind, None, None)
            instance.add_daemon_heartbeat(beat)
    tolerance = environment("daemon")["DAGSTER_DAEMON_HEARTBEAT_TOLERANCE"]
    environ = os.environ | {
        "DAGSTER_HOME": str(tmp_path),
        "DAGSTER_DAEMON_HEARTBEAT_TOLERANCE": tolerance,
    }
    assert (run(health_check("daemon"), env=environ) == 0) is healthy


# -- the code server -------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], deadline_s: float) -> bool:
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.5)
    return condition()


@contextlib.contextmanager
def code_server(port: int, environ: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command of the image ``code`` on another port, as a container would: a session."""
    parts = [str(port) if part == "4000" else part for part in command("code")]
    parts = ["127.0.0.1" if part == "0.0.0.0" else part for part in parts]
    with log.open("ab") as out:
        process = subprocess.Popen(
            [PROGRAMS / parts[0], *parts[1:]],
            cwd=CLONE,
            env=environ,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        kill_session(process)


def kill_session(process: subprocess.Popen[bytes]) -> None:
    """Kill it and what it started, as the end of a container does."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def family_of(pid: int) -> list[int]:
    """Return a process and all that descend from it, the oldest first."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            found.extend(family_of(int(child)))
    return sorted(found)


def answers(port: int) -> bool:
    parts = [str(port) if part == "4000" else part for part in health_check("code")]
    return run(parts) == 0


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_whichever_process_of_the_code_server_dies_its_container_dies_or_is_unhealthy(tmp_path):
    """A proxy that outlives its child, answers the health check and starts nothing is no server."""
    environ = os.environ | {"INFERENCEBENCH_HOME": str(tmp_path), "DAGSTER_HOME": str(tmp_path)}
    tried = 0
    while kill_one(tried, environ, tmp_path / "log"):
        tried += 1
    assert tried >= 1


def kill_one(number: int, environ: dict[str, str], log: Path) -> bool:
    """Kill one process of the command's, counted from the oldest; False when there are not so many.

    It is noticed when the command ends, so that the container does, or does not answer.
    """
    port = free_port()
    with code_server(port, environ, log) as process:
        assert wait_until(lambda: answers(port), 120), log.read_text()
        family = family_of(process.pid)
        if number >= len(family):
            return False
        os.kill(family[number], signal.SIGKILL)
        noticed = wait_until(lambda: process.poll() is not None or not answers(port), 30)
    assert noticed, f"number {number} of {family} is dead, and nobody notices"
    return True
