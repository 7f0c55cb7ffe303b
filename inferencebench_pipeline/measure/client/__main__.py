"""The client process: measures one run into its spool and reports progress on stdout.

Started by ``run`` with the run directory, the engine's base URL and the name of the variable that
holds the API key. Every line on stdout is one JSON object: progress, or the error it ends with.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import orjson

from inferencebench_pipeline.errors import PipelineError
from inferencebench_pipeline.measure.child_process import die_with_parent
from inferencebench_pipeline.measure.client.board import Board
from inferencebench_pipeline.measure.client.capture import Capture, LoopFacts, client_report
from inferencebench_pipeline.measure.client.job import FIRST_REPEAT, Job, Repeat
from inferencebench_pipeline.measure.client.loop import LoopReport
from inferencebench_pipeline.measure.client.workers import WorkerError, measure_in_processes
from inferencebench_pipeline.measure.spec.engine_keys import api_key
from inferencebench_pipeline.runs import RunDirectory

_REPORT_INTERVAL_S = 0.25


class _Progress:
    """Says on stdout how many requests have ended."""

    def __init__(self, board: Board, total: int) -> None:
        self._board = board
        self._total = total
        self._reported: dict[str, int] = {}
        self._next_report = 0.0

    def report_now_and_then(self) -> None:
        now = time.monotonic()
        if now >= self._next_report:
            self._next_report = now + _REPORT_INTERVAL_S
            self.report()

    def report(self) -> None:
        counts = self._board.totals()
        if counts != self._reported:
            self._reported = counts
            _say({"total": self._total, **counts})


def _say(message: dict[str, object]) -> None:
    sys.stdout.buffer.write(orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def measure(
    run: RunDirectory, base_url: str, api_key: str | None, repeat: Repeat = FIRST_REPEAT
) -> None:
    """Measure one repeat of the run's spec against ``base_url``, into the run's capture.

    Raises:
        EngineUnreachableError: nothing accepts connections at ``base_url``.
        EngineDiedError: it stopped doing so.
        RunDeadlineError: the run deadline passed.
        StoreError: the spool cannot be written.
        WorkerError: any of these, in one of several processes.
    """
    capture = Capture(run)
    job = Job.of(run, base_url, api_key, repeat)
    board = job.board()
    progress = _Progress(board, job.planned)
    shares = job.shares()
    # The common case of one process measures here, without a fork and a merge of spools.
    if len(shares) == 1:
        between = progress.report_now_and_then
        reports = [job.measure(shares[0], board, capture.spool, housekeeping=between)]
    else:
        reports = measure_in_processes(job, board, capture.spool, progress.report_now_and_then)
    progress.report()
    capture.write(client_report(repeat.number), _facts(reports))


def _facts(reports: list[LoopReport]) -> LoopFacts:
    """Return the facts of all processes together: the worst of each."""
    # All processes count from one origin, so the first report has everybody's.
    first = reports[0]
    return LoopFacts(
        origin_monotonic_ns=first.origin_monotonic_ns,
        origin_unix_ns=first.origin_monotonic_ns + first.clock_offset_ns,
        processes=len(reports),
        window_cpu_ns=max(report.window_cpu_ns for report in reports),
        window_wall_ns=max(report.window_wall_ns for report in reports),
        clock_step_ns=max(report.clock_step_ns for report in reports),
        clock_offset_ns=first.clock_offset_ns,
        clock_drift_ns=max((report.clock_drift_ns for report in reports), key=abs),
    )


def _allow_many_sockets() -> None:
    """Raise the soft limit of open files to the hard one: an overloaded engine holds many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    """Run the client; the exit status is 0, or 3 after an error that was reported on stdout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--run-directory", type=Path, required=True)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--api-key-env")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--run-origin-ns", type=int)
    arguments = parser.parse_args()
    die_with_parent()
    _allow_many_sockets()
    run = RunDirectory(arguments.run_id, arguments.run_directory)
    try:
        # Engines that we start listen on loopback: only one at an address of its own has a proxy.
        proxy = getattr(Capture(run).spec().engine, "proxy", None)
        # The key is read from the environment here: every user of the machine can read arguments.
        key = api_key(arguments.api_key_env, arguments.base_url, proxy=proxy)
        repeat = Repeat(arguments.repeat, arguments.run_origin_ns)
        measure(run, arguments.base_url, key, repeat)
    # The parent raises these again under their own names. Anything else is a bug, whose
    # traceback belongs in the client's log.
    except PipelineError as error:
        _say({"error": type(error).__name__, "message": str(error)})
        return 3
    except WorkerError as error:
        _say({"error": error.name, "message": str(error)})
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
