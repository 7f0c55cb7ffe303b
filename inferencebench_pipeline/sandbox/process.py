"""The sandbox as a child process, for the demo and for tests."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from inferencebench_pipeline.errors import RetryableError

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.02


class SandboxStartError(RetryableError):
    """The sandbox did not start."""


@dataclass(frozen=True)
class SandboxEnvironment:
    """A running sandbox, seen from the process that started it."""

    state: Path
    hub_url: str
    sigstore_url: str
    pid: int
    environ: dict[str, str] = field(repr=False)
    """The variables of the environment for a process that uses the sandbox."""

    def token(self, role: str = "write") -> str:
        """Return the text of the default ``write`` or ``read`` token."""
        return (self.state / "hub/tokens" / role).read_text()


@contextlib.contextmanager
def running_sandbox(
    state: Path, *, arguments: tuple[str, ...] = ()
) -> Iterator[SandboxEnvironment]:
    """Serve ``state`` from a child process while the block runs.

    The child is stopped when the block is left, and by the kernel should this process die first.
    (The kernel watches the thread that entered the block; let it live as long as the block.)

    Args:
        state: the state folder; made when absent.
        arguments: further options of the ``serve`` command.

    Raises:
        SandboxStartError: with what the child wrote, when it does not get ready in a minute.
    """
    state = state.resolve()
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    log_path = state / "serve.log"
    command = [sys.executable, "-m", "inferencebench_pipeline.sandbox", "serve"]
    command += ["--state", str(state), "--parent-pid", str(os.getpid()), *arguments]
    with log_path.open("wb") as log:
        child = subprocess.Popen(  # noqa: S603  (our own module and arguments)
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield _when_ready(child, state, log_path)
    finally:
        stop(child)


def read_environment(state: Path) -> dict[str, str]:
    """Return the variables in ``<state>/env``, which are none until the sandbox is ready."""
    try:
        text = (state / "env").read_text()
    except FileNotFoundError:
        return {}
    return dict(assignment.split("=", 1) for assignment in shlex.split(text))


def stop(child: subprocess.Popen[bytes]) -> None:
    """Stop the child with SIGTERM, and kill it if that does not help."""
    child.terminate()
    try:
        child.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _when_ready(child: subprocess.Popen[bytes], state: Path, log_path: Path) -> SandboxEnvironment:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while child.poll() is None and time.monotonic() < deadline:
        environ = read_environment(state)
        # An env file left by a killed predecessor names another process.
        if environ.get("INFERENCEBENCH_SANDBOX_PID") == str(child.pid):
            return SandboxEnvironment(
                state=state,
                hub_url=environ["HF_ENDPOINT"],
                sigstore_url=environ["INFERENCEBENCH_SANDBOX_SIGSTORE"],
                pid=child.pid,
                environ=environ,
            )
        time.sleep(_POLL_S)
    said = log_path.read_text(errors="replace").strip()[-2000:]
    raise SandboxStartError(f"the sandbox on {state} did not start; it wrote: {said or 'nothing'}")
