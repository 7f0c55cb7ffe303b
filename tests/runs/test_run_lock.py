"""One writer per run directory, whoever they are; the second is told who the first is."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from inferencebench_pipeline.errors import RetryableError
from inferencebench_pipeline.files.atomic_writes import StoreError
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile, RunStore, new_run_id
from inferencebench_pipeline.runs.run_lock import RunBusyError

_HOLD = """
import sys, time
from pathlib import Path
from inferencebench_pipeline.runs.run_directory import RunStore
run = RunStore(Path(sys.argv[1])).run(sys.argv[2])
with run.writing("measuring"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunStore(tmp_path / "store").run(new_run_id())


def _holder(run: RunDirectory) -> subprocess.Popen[bytes]:
    root = run.path.parent.parent
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(root), run.run_id], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    return holder


def _end(holder: subprocess.Popen[bytes]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait(10)
    assert holder.stdout is not None
    holder.stdout.close()


def test_the_second_writer_is_told_who_the_first_is_and_changes_nothing(run: RunDirectory) -> None:
    holder = _holder(run)
    try:
        with pytest.raises(RunBusyError) as refused:
            run.write(RunFile.SPEC, b"{}")
        said = str(refused.value)
        for part in (
            run.run_id,
            "measuring",
            f"process {holder.pid}",
            os.uname().nodename,
            "since",
        ):
            assert part in said
        assert isinstance(refused.value, RetryableError)
        assert not run.has(RunFile.SPEC)
    finally:
        _end(holder)
    run.write(RunFile.SPEC, b"{}")


def test_a_holder_that_is_killed_frees_it_at_once(run: RunDirectory) -> None:
    _end(_holder(run))
    started = time.monotonic()
    with run.writing("signing"):
        assert time.monotonic() - started < 1


def test_a_forked_child_of_the_holder_neither_holds_the_lock_nor_keeps_it(
    run: RunDirectory, tmp_path: Path
) -> None:
    def hold_and_fork(told: Path) -> None:
        held = run.writing("measuring")
        held.__enter__()
        if child := os.fork():
            told.write_text(str(child))
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(600)

    told = tmp_path / "child"
    holder = multiprocessing.get_context("fork").Process(target=hold_and_fork, args=(told,))
    holder.start()
    # A join waits for a pipe, of which the child has the other end too.
    deadline_s = time.monotonic() + 20
    while holder.is_alive() and time.monotonic() < deadline_s:
        time.sleep(0.02)
    child = int(told.read_text())
    try:
        with run.writing("signing"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_thread_that_holds_it_may_ask_again_and_another_may_not(run: RunDirectory) -> None:
    refused: list[RunBusyError] = []

    def write() -> None:
        try:
            run.write(RunFile.VERDICT, b"{}")
        except RunBusyError as error:
            refused.append(error)

    with run.writing("measuring"), run.writing("writing the traces"):
        run.write(RunFile.SPEC, b"{}")
        other = threading.Thread(target=write)
        other.start()
        other.join(30)
        assert len(refused) == 1
    with run.writing("signing"):
        pass


def test_removing_the_run_directory_takes_the_lock_from_nobody(run: RunDirectory) -> None:
    run.write(RunFile.SPEC, b"{}")
    holder = _holder(run)
    try:
        shutil.rmtree(run.path)
        with pytest.raises(RunBusyError):
            run.write(RunFile.SPEC, b"{}")
    finally:
        _end(holder)


@pytest.mark.parametrize("note", [b"", b"{", b"[" * 100_000, b'{"pid": "x"}', b"null", None])
def test_a_damaged_note_of_the_holder_is_no_traceback(
    run: RunDirectory, note: bytes | None
) -> None:
    holder = _holder(run)
    try:
        path = next((run.path.parent.parent / ".locks").glob("*.holder.json"))
        path.unlink()
        if note is None:
            os.mkfifo(path)
        else:
            path.write_bytes(note)
        with pytest.raises(RunBusyError, match="another process that has not said which it is"):
            run.write(RunFile.SPEC, b"{}")
    finally:
        _end(holder)


def test_a_store_that_cannot_hold_the_lock_is_named(tmp_path: Path) -> None:
    (tmp_path / ".locks").write_text("a file where the locks should be")
    run = RunStore(tmp_path).run(new_run_id())
    with pytest.raises(StoreError, match=r"cannot write .*\.lock"):
        run.write(RunFile.SPEC, b"{}")
    assert not run.has(RunFile.SPEC)


def test_reading_asks_for_no_lock(run: RunDirectory) -> None:
    run.write(RunFile.SPEC, b"{}")
    holder = _holder(run)
    try:
        assert run.read_as_written(RunFile.SPEC) == b"{}"
    finally:
        _end(holder)
