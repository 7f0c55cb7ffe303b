"""Runs an engine and outlives it: ``python -m ….guardian COMMAND …`` leaves no process behind.

An engine may be a family of processes (an API server, a core, workers in sessions of their own).
Whatever ends it, a request to stop, a crash, or the death of the process that measures, the
guardian ends every descendant: orphans become its children, which the kernel lets it see.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final

from inferencebench_pipeline.measure.child_process import die_with_parent, process_control

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
STOP_GRACE_S: Final = 20.0
"""vLLM takes 3 s on an idle machine to release the memory that its workers share."""
_LAST_LOOK_S: Final = 5.0
_LOOK_AGAIN_S: Final = 0.01


class _StopError(Exception):
    """We were told to stop, or the process that started us is gone."""


def _told_to_stop(_sign: int, _frame: FrameType | None) -> None:
    raise _StopError


def main() -> int:
    """Run the command to its end; return its exit status, negative as in ``subprocess``."""
    # First of all: an orphan comes to us only if we are a reaper when its parent dies (prctl(2)).
    process_control(_PR_SET_CHILD_SUBREAPER, 1)
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, _told_to_stop)
    try:
        # SIGTERM and not SIGKILL: we must live on for as long as it takes to end the engine.
        die_with_parent(signal.SIGTERM)
        engine = subprocess.Popen(  # noqa: S603 - our own command
            sys.argv[1:],
            # Nothing here has threads, so preexec_fn is safe; should we be killed, so is it.
            preexec_fn=lambda: process_control(_PR_SET_PDEATHSIG, signal.SIGKILL),
        )
        try:
            return engine.wait()
        except _StopError:
            # A second request must not interrupt the stopping.
            _ignore_further_requests()
            engine.terminate()
            try:
                engine.wait(STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                engine.kill()
            return 0
    except _StopError:
        return 0  # before the engine was started
    finally:
        _ignore_further_requests()
        _end_all_descendants()


def _ignore_further_requests() -> None:
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, signal.SIG_IGN)


def _end_all_descendants() -> None:
    """Kill children until there are none: those of a killed child become ours."""
    deadline = time.monotonic() + _LAST_LOOK_S
    while time.monotonic() < deadline:
        for child in _children():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            # Any child, adopted ones included, so that none stays behind as a zombie.
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not ended:
            time.sleep(_LOOK_AGAIN_S)


def _children() -> list[int]:
    """Return our children; the kernel's list exists where CONFIG_PROC_CHILDREN does."""
    try:
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


if __name__ == "__main__":
    status = main()
    # A shell's way to state a signal: 128 and its number.
    sys.exit(status if status >= 0 else 128 - status)
