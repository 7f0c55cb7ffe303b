"""Drives the measuring client, a process of its own, through a repeat, and watches the engine."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any, Final

from inferencebench_pipeline.errors import PermanentError, PipelineError
from inferencebench_pipeline.files import StoreError
from inferencebench_pipeline.measure import errors
from inferencebench_pipeline.measure.child_process import log_tail, running_child
from inferencebench_pipeline.measure.client.capture import CLIENT_LOG, ENGINE_LOG, Capture
from inferencebench_pipeline.measure.engines.http import RunningEngine
from inferencebench_pipeline.measure.run.progress import ProgressReport
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec

_POLL_S: Final = 0.25
_DYING_S: Final = 2.0
"""A client can see an engine's connections close before the engine's process has ended."""
_DEADLINE_GRACE_S: Final = 30.0
"""The client keeps ``run_s`` itself; past this it hangs, and is stopped from outside."""

_CLIENT_ERRORS: Final[dict[str, type[PipelineError]]] = {
    kind.__name__: kind
    for kind in (
        errors.EngineUnreachableError,
        errors.EngineAccessError,
        errors.EngineDiedError,
        errors.RunDeadlineError,
        errors.SpecError,
        errors.CaptureError,
        errors.CaptureTooLargeError,
        StoreError,
    )
}


class ClientFailedError(PermanentError):
    """The measuring client ended in a way it should not; its log says more."""


def measure_repeat(
    spec: BenchmarkSpec, capture: Capture, engine: RunningEngine, report: ProgressReport
) -> None:
    """Run the client through the repeat that ``report`` is at, to its end.

    Raises:
        EngineDiedError: the engine went away in the middle.
        EngineUnreachableError: it does not accept connections.
        RunDeadlineError: ``deadlines.run_s`` passed.
        CaptureTooLargeError: the answers come to more than ``limits.capture_bytes``.
        ClientFailedError: the client ended in a way it should not.
        StoreError: the capture is not writable.
    """
    command = [
        *(sys.executable, "-m", "inferencebench_pipeline.measure.client"),
        *("--run-id", capture.run.run_id),
        *("--run-directory", str(capture.run.path)),
        *("--base-url", engine.base_url),
        *("--repeat", str(report.repeat)),
    ]
    if report.repeat > 1:
        # CLOCK_MONOTONIC is one for the whole machine, so every repeat can count from one origin.
        command += ["--run-origin-ns", str(capture.loop_facts(1).origin_monotonic_ns)]
    if engine.api_key_env:
        command += ["--api-key-env", engine.api_key_env]
    log = capture.path / CLIENT_LOG
    deadline = time.monotonic() + spec.deadlines.run_s + _DEADLINE_GRACE_S
    with running_child(command, log=log, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        for message in _messages(client.stdout, deadline):
            if message is None:
                _watch_engine(engine, capture)
            elif "error" in message:
                _watch_engine(engine, capture, patience_s=_DYING_S)
                kind = _CLIENT_ERRORS.get(message["error"], ClientFailedError)
                raise kind(message["message"])
            else:
                warming = message["measured"] == 0 and spec.load.warmup_requests > 0
                done = message["warmup"] + message["measured"]
                stage = "warming up" if warming else "measuring"
                report.say(stage, done, message["total"], message["failed"])
        status = client.wait(_DEADLINE_GRACE_S)
    if status != 0:
        raise ClientFailedError(
            f"the measuring client ended with status {status}; the end of {log}: {log_tail(log)}"
        )


def _messages(stream: IO[bytes], deadline: float) -> Iterator[dict[str, Any] | None]:
    """Yield the client's messages as they come, and None whenever there was none for a while."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        rest = b""
        while True:
            if time.monotonic() > deadline:
                raise errors.RunDeadlineError(
                    "the measuring client hangs past deadlines.run_s; it was stopped"
                )
            if not selector.select(_POLL_S):
                yield None
                continue
            # read1 returns what is there. read would wait until its buffer is full.
            data = stream.read1(65_536)  # type: ignore[attr-defined]
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield json.loads(line)


def _watch_engine(engine: RunningEngine, capture: Capture, patience_s: float = 0.0) -> None:
    """Raise with the end of its log when an engine of ours has ended, or does within patience."""
    # An engine that somebody else runs has no process to look at from here.
    if engine.process is None:
        return
    with suppress(subprocess.TimeoutExpired):
        engine.process.wait(patience_s)
    if engine.process.poll() is not None:
        log = capture.path / ENGINE_LOG
        raise errors.EngineDiedError(
            f"the engine exited with status {engine.process.returncode} while it was being "
            f"measured; the end of {log}: {log_tail(log)}"
        )
