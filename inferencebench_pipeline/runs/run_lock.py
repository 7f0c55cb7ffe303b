"""The lock on a run directory: one writer at a time, and a sentence that names the other one.

The operating system holds it and frees it when the process dies, however it dies. It lies beside
the run directory, not in it, so that removing or renaming the directory takes it from nobody. On
NFS (version 4, or 3 with its lock manager) it holds between hosts too.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import filelock

from inferencebench_pipeline.errors import RetryableError
from inferencebench_pipeline.files import read_plain
from inferencebench_pipeline.untrusted import printable

GRACE_S: Final = 1.0
"""A writer of one small file is waited for so long."""
RETRY_AFTER_S: Final = 30.0
_MOST_HOLDER_BYTES: Final = 10_000
_SUBCOMMAND: Final = re.compile(r"[a-z][a-z-]{0,30}")


class RunBusyError(RetryableError):
    """Another process, or another thread, writes to the run directory; nothing was changed."""


@dataclass(frozen=True)
class Holder:
    """The process that writes to a run directory."""

    host: str
    pid: int
    command: str
    purpose: str
    since: str
    """Time at which the lock was taken, RFC 3339 in UTC."""

    def sentence(self) -> str:
        """Return who it is in words that fit behind "by"."""
        return printable(
            f"`{self.command}` ({self.purpose}), process {self.pid} on {self.host}, since "
            f"{self.since}"
        )


class _Held:
    """The locks that this process holds, by path: which thread, and how often it asked."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Make a lock that is not held yet."""
        self._guard = threading.Lock()
        self._depths: dict[str, tuple[int, int]] = {}

    def enter_again(self, path: str) -> bool:
        """Return whether this thread holds the lock already, and count that it asked again."""
        with self._guard:
            thread, depth = self._depths.get(path, (0, 0))
            if thread != threading.get_ident():
                return False
            self._depths[path] = (thread, depth + 1)
            return True

    def enter(self, path: str) -> None:
        with self._guard:
            self._depths[path] = (threading.get_ident(), 1)

    def leave(self, path: str) -> bool:
        """Return whether that was the last of the times that this thread asked."""
        with self._guard:
            thread, depth = self._depths[path]
            if depth > 1:
                self._depths[path] = (thread, depth - 1)
                return False
            del self._depths[path]
            return True


_held = _Held()
os.register_at_fork(after_in_child=_held.forget)  # whatever it remembers, it holds none of them


@contextlib.contextmanager
def run_lock(path: Path, *, run_id: str, purpose: str, wait_s: float = GRACE_S) -> Iterator[None]:
    """Be the only one who holds the lock at ``path``; the thread that holds it may ask again.

    Args:
        path: the lock file; its folder is made.
        run_id: named in the error.
        purpose: what the holder does, such as ``measuring``; others are told.
        wait_s: how long to wait for another holder.

    Raises:
        RunBusyError: another process or thread holds it, and went on holding it.
        OSError: the lock file cannot be made.
    """
    # Two ways to one file are one lock.
    name = os.path.realpath(path)
    if _held.enter_again(name):
        try:
            yield
        finally:
            _held.leave(name)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=wait_s)
    except filelock.Timeout as error:
        raise _busy(run_id, path) from error
    _held.enter(name)
    note = _note(path)
    try:
        _say_who(note, purpose)
        yield
    finally:
        _held.leave(name)
        # Before the lock is free: afterwards the note could be that of the next holder.
        with contextlib.suppress(OSError):
            note.unlink(missing_ok=True)
        lock.release()


def holder_of(path: Path) -> Holder | None:
    """Return who said last that it holds the lock at ``path``; None when nobody did."""
    try:
        found = json.loads(read_plain(_note(path), max_bytes=_MOST_HOLDER_BYTES))
        return Holder(**{name: kind(found[name]) for name, kind in _FIELDS.items()})
    # The note only makes an error friendlier, so a damaged one counts as none.
    except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return None


_FIELDS: Final = {"host": str, "pid": int, "command": str, "purpose": str, "since": str}


def _busy(run_id: str, path: Path) -> RunBusyError:
    holder = holder_of(path)
    who = "another process that has not said which it is" if holder is None else holder.sentence()
    return RunBusyError(
        f"run {run_id} is being written by {who}; nothing was changed. Try again when that has "
        "ended",
        retry_after_s=RETRY_AFTER_S,
    )


def _note(path: Path) -> Path:
    return path.with_suffix(".holder.json")


def _say_who(note: Path, purpose: str) -> None:
    """Leave a note for those who meet the lock; a full disk takes nothing from the lock itself."""
    holder = Holder(
        host=socket.gethostname(),
        pid=os.getpid(),
        command=_command(sys.argv),
        purpose=purpose,
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    temporary = note.with_name(f"{note.name}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        temporary.write_text(json.dumps(asdict(holder)))
        temporary.replace(note)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _command(arguments: list[str]) -> str:
    """Return the program and its subcommand; what follows them may be private."""
    program = Path(arguments[0]).name if arguments and arguments[0] else "python"
    if program == "__main__.py":
        program = f"python -m {Path(arguments[0]).parent.name}"
    if len(arguments) > 1 and _SUBCOMMAND.fullmatch(arguments[1]):
        return f"{program} {arguments[1]}"
    return program
