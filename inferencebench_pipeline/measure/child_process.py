"""Child processes that never outlive us: started, watched, and stopped for sure."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

_PR_SET_PDEATHSIG: Final = 1
_PARENT_VARIABLE: Final = "INFERENCEBENCH_PARENT_PID"
STOP_GRACE_S: Final = 5.0
_KILLED_S: Final = 5.0
_LOG_TAIL_BYTES: Final = 1500


def die_with_parent(sign: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel for ``sign`` to this process when the thread that started it ends.

    Called by the child itself as its first act: unlike ``preexec_fn`` that is safe when the
    parent has threads.
    """
    process_control(_PR_SET_PDEATHSIG, sign)
    if os.environ.get(_PARENT_VARIABLE, str(os.getppid())) != str(os.getppid()):
        sys.exit(1)  # the parent was gone before the kernel knew whom to watch


def forget_parent() -> None:
    """Have a fork of a child watch that child from now on, not the child's own parent."""
    os.environ.pop(_PARENT_VARIABLE, None)


def process_control(option: int, value: int) -> None:
    """Set an option of this process by ``prctl(2)``; nothing where the kernel is not Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


@contextmanager
def running_child(
    command: Sequence[str],
    *,
    log: Path,
    stdout: IO[bytes] | int | None = None,
    environment: Mapping[str, str] | None = None,
    stop_grace_s: float = STOP_GRACE_S,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start ``command`` and stop it on the way out: SIGTERM, then SIGKILL after a grace.

    Args:
        command: program and arguments; no secrets, every user can read them.
        log: takes stderr, and stdout too unless that goes elsewhere.
        stdout: ``subprocess.PIPE`` to read it.
        environment: every variable it gets, instead of ours.
        stop_grace_s: how long it may take to stop once it was told to, before it is killed.
    """
    inherited = os.environ if environment is None else environment
    with log.open("ab") as sink:
        child = subprocess.Popen(  # noqa: S603 - our own commands
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink if stdout is None else stdout,
            stderr=sink,
            env={**inherited, _PARENT_VARIABLE: str(os.getpid())},
            # Its group can then be killed as a whole, and Ctrl-C in a terminal reaches us alone.
            start_new_session=True,
        )
    try:
        yield child
    finally:
        _stop(child, stop_grace_s)


def _stop(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """Stop the child, which stops what it started; then whatever is left of its session."""
    child.terminate()
    with suppress(subprocess.TimeoutExpired):
        child.wait(grace_s)
    with suppress(ProcessLookupError):
        # One that crashed may have left others behind; their group bears its id until they end.
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        # A process that hangs in the kernel outlives even SIGKILL. Nobody waits for it for ever.
        child.wait(_KILLED_S)
    if child.stdout is not None:
        child.stdout.close()


def log_tail(log: Path) -> str:
    """Return the end of a child's log, for an error message."""
    try:
        data = log.read_bytes()[-_LOG_TAIL_BYTES:]
    except OSError:
        return "(no log)"
    return data.decode(errors="replace").strip() or "(empty log)"
