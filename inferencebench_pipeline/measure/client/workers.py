"""Several measuring processes: one schedule, one origin, one spool at the end."""

from __future__ import annotations

import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import orjson

from inferencebench_pipeline.errors import PipelineError
from inferencebench_pipeline.measure.child_process import die_with_parent, forget_parent
from inferencebench_pipeline.measure.client.board import Board
from inferencebench_pipeline.measure.client.capture import merge_spools
from inferencebench_pipeline.measure.client.job import Job
from inferencebench_pipeline.measure.client.loop import LoopReport
from inferencebench_pipeline.measure.client.pacing import Share

_LEAD_NS: Final = 5_000_000
"""The time from the agreement on the origin to the origin, so that every process can wake."""
_POLL_S: Final = 0.25
_REPORT_ERROR: Final = 3


class WorkerError(Exception):
    """A measuring process ended with an error of the pipeline's own, which it named.

    Args:
        name: the error's class.
        message: what it said.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass
class _Worker:
    """A forked process, and the two pipes to it."""

    process: int
    messages: int
    """The pipe that gives the worker's lines of JSON: that it is ready, and then its result."""
    start: int
    """The pipe that takes the origin."""
    spool: Path
    rest: bytes = b""
    report: LoopReport | None = None

    def heard(self) -> list[dict[str, Any]]:
        """Return the messages that came in.

        Raises:
            RuntimeError: it ended without a report.
        """
        data = os.read(self.messages, 65_536)
        if not data and self.report is None:
            raise RuntimeError("a measuring process ended without a report; see the client's log")
        *lines, self.rest = (self.rest + data).split(b"\n")
        return [orjson.loads(line) for line in lines]


def measure_in_processes(
    job: Job, board: Board, spool: Path, on_progress: Callable[[], None]
) -> list[LoopReport]:
    """Measure all shares of ``job`` at once, and merge what they leave into ``spool``.

    Raises:
        WorkerError: one of them failed; the others were stopped.
        RuntimeError: one of them crashed.
    """
    # Text in a buffer at the time of a fork would be written once by every process.
    sys.stdout.flush()
    sys.stderr.flush()
    workers: list[_Worker] = []
    try:
        for share in job.shares():
            part = spool.with_name(f"{spool.name}.part-{share.number}")
            workers.append(_fork(job, share, board, part))
        reports = _conduct(workers, on_progress)
    finally:
        for worker in workers:
            # One that has ended keeps its number until waitpid, so the signal can hit nobody else.
            with suppress(ProcessLookupError):
                os.kill(worker.process, signal.SIGKILL)
            os.waitpid(worker.process, 0)
            os.close(worker.messages)
            os.close(worker.start)
    merge_spools(spool, job.header, [worker.spool for worker in workers], planned=job.planned)
    return reports


def _fork(job: Job, share: Share, board: Board, part: Path) -> _Worker:
    messages, say = os.pipe()
    told, start = os.pipe()
    # A fork shares the board's memory and holds the plan already.
    process = os.fork()
    if process == 0:
        # Each side closes the ends of the other, so that its death shows as the end of a pipe.
        os.close(messages)
        os.close(start)
        _work(job, share, board, part, say, told)
    os.close(say)
    os.close(told)
    return _Worker(process, messages, start, part)


def _work(job: Job, share: Share, board: Board, part: Path, say: int, told: int) -> NoReturn:
    """Measure one share and end this process; nothing of the parent's runs here any more."""
    forget_parent()
    die_with_parent()
    status = 1

    def agree_on_start() -> int:
        os.write(say, b'{"ready": true}\n')
        return int.from_bytes(os.read(told, 8), "little")

    try:
        report = job.measure(
            share, board, part, housekeeping=lambda: None, agree_on_start=agree_on_start
        )
        os.write(say, orjson.dumps({"report": asdict(report)}) + b"\n")
        status = 0
    except PipelineError as error:
        os.write(say, orjson.dumps({"error": type(error).__name__, "message": str(error)}) + b"\n")
        status = _REPORT_ERROR
    # Nothing may unwind into the parent's frames, which this process still holds.
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        # Without exit handlers and buffers: both are the parent's.
        os._exit(status)


def _conduct(workers: list[_Worker], on_progress: Callable[[], None]) -> list[LoopReport]:
    """Start all workers at one instant once all are ready; return their reports."""
    ready = 0
    reports: list[LoopReport] = []
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            selector.register(worker.messages, selectors.EVENT_READ, worker)
        while len(reports) < len(workers):
            for key, _ in selector.select(_POLL_S):
                worker = key.data
                for message in worker.heard():
                    if "error" in message:
                        raise WorkerError(message["error"], message["message"])
                    if "report" in message:
                        worker.report = LoopReport(**message["report"])
                        reports.append(worker.report)
                        selector.unregister(worker.messages)
                        continue
                    ready += 1
                    if ready == len(workers):
                        _start(workers)
            on_progress()
    return reports


def _start(workers: list[_Worker]) -> None:
    origin = (time.monotonic_ns() + _LEAD_NS).to_bytes(8, "little")
    for worker in workers:
        os.write(worker.start, origin)
