"""The client process: measures one run into its spool and reports progress on stdout.

Started by ``run`` with the run directory, the engine's base URL and the name of the variable that
holds the API key. Every line on stdout is one JSON object: progress, or the error it ends with.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from inferencebench_pipeline import __version__
from inferencebench_pipeline.errors import PipelineError
from inferencebench_pipeline.measure.arrivals import arrival_offsets_ns, schedule_sha256
from inferencebench_pipeline.measure.capture import (
    Capture,
    LoopFacts,
    SpoolHeader,
    SpoolWriter,
    client_report,
)
from inferencebench_pipeline.measure.child import die_with_parent
from inferencebench_pipeline.measure.client.connection import Endpoint
from inferencebench_pipeline.measure.client.conversations import ConversationPacer
from inferencebench_pipeline.measure.client.exchange import Exchange
from inferencebench_pipeline.measure.client.loop import Limits, MeasuringLoop
from inferencebench_pipeline.measure.client.pacing import ClosedPacer, OpenPacer, Pacer
from inferencebench_pipeline.measure.errors import EngineUnreachableError
from inferencebench_pipeline.measure.spec import BenchmarkSpec, ClosedLoad, OpenAIEngine
from inferencebench_pipeline.measure.workload import RequestPlan, workload_of
from inferencebench_pipeline.runs import RunDirectory

_MOST_CONNECTIONS_AHEAD = 1024
_OPEN_LOOP_CONNECTIONS_AHEAD = 4
_REPORT_INTERVAL_S = 0.25


def pacer_of(spec: BenchmarkSpec, repeat: int, conversation_lengths: Sequence[int]) -> Pacer:
    """Return the pacer that follows the spec's load; each repeat draws its own arrivals."""
    load = spec.load
    if isinstance(load, ClosedLoad):
        closed = ClosedPacer(
            concurrency=load.concurrency, warmup=load.warmup_requests, measured=load.requests
        )
        in_turns = any(length > 1 for length in conversation_lengths)
        return ConversationPacer(closed, conversation_lengths) if in_turns else closed
    return OpenPacer(arrival_offsets_ns(load, spec.seed_of(repeat)), warmup=load.warmup_requests)


def http_request(endpoint: Endpoint, api: str, body: bytes, api_key: str | None) -> bytes:
    """Return the complete bytes of a streaming request."""
    route = "chat/completions" if api == "chat" else "completions"
    lines = [
        f"POST {endpoint.target}/{route} HTTP/1.1",
        f"Host: {endpoint.authority}",
        f"User-Agent: inferencebench-pipeline/{__version__}",
        "Content-Type: application/json",
        "Accept: text/event-stream",
        "Accept-Encoding: identity",
        f"Content-Length: {len(body)}",
    ]
    if api_key:
        lines.append(f"Authorization: Bearer {api_key}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class _Progress:
    """Counts ended requests and says so on stdout."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._counts = {"warmup": 0, "measured": 0, "drained": 0}
        self._failed = 0
        self._reported = -1
        self._next_report = 0.0

    def count(self, exchange: Exchange) -> None:
        self._counts[exchange.phase] += 1
        self._failed += exchange.error_class is not None

    def report_now_and_then(self) -> None:
        now = time.monotonic()
        if now >= self._next_report:
            self._next_report = now + _REPORT_INTERVAL_S
            self.report()

    def report(self) -> None:
        ended = sum(self._counts.values())
        if ended != self._reported:
            self._reported = ended
            _say({"total": self._total, "failed": self._failed, **self._counts})


def _say(message: dict[str, object]) -> None:
    sys.stdout.buffer.write(orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


@dataclass(frozen=True)
class Repeat:
    """Which of the run's repeats to measure, and when the run began."""

    number: int = 1
    run_origin_ns: int | None = None
    """Origin of the first repeat on the monotonic clock; None while that is being measured."""


FIRST_REPEAT = Repeat()


def measure(
    run: RunDirectory, base_url: str, api_key: str | None, repeat: Repeat = FIRST_REPEAT
) -> None:
    """Measure one repeat of the run's spec against ``base_url``, into the run's capture.

    Raises:
        EngineUnreachableError: nothing accepts connections at ``base_url``.
        EngineDiedError: it stopped doing so.
        RunDeadlineError: the run deadline passed.
        StoreError: the spool cannot be written.
    """
    capture = Capture(run)
    spec = capture.spec()
    workload = workload_of(capture.path, spec)
    plan = RequestPlan.of(spec, run.run_id, workload, repeat.number)
    proxy = spec.engine.proxy if isinstance(spec.engine, OpenAIEngine) else None
    try:
        endpoint = Endpoint.resolve(base_url, spec.deadlines.request_s, proxy)
    except OSError as error:
        raise EngineUnreachableError(
            f"nothing accepts connections at {proxy or base_url}: {error.strerror or error}; "
            "start the engine or correct engine." + ("proxy" if proxy else "base_url")
        ) from error
    spool = SpoolWriter(
        capture.spool,
        SpoolHeader(
            run_id=run.run_id,
            begun_at=datetime.now(UTC),
            workload_sha256=workload.identity_sha256,
            schedule_sha256=schedule_sha256(spec.load, spec.seed),
        ),
        secret=api_key,
    )
    pacer = pacer_of(spec, repeat.number, plan.conversation_lengths)
    progress = _Progress(pacer.total)

    def request(index: int) -> tuple[str, bytes]:
        number = pacer.item(index)
        body = plan.body(number)
        return plan.item(number).id, http_request(endpoint, spec.workload.api, body, api_key)

    def ended(exchange: Exchange) -> None:
        progress.count(exchange)
        exchange.repeat = repeat.number
        if repeat.run_origin_ns is not None:
            exchange.repeat_origin_ns = loop.origin_monotonic_ns - repeat.run_origin_ns
        spool.append(exchange)

    def housekeeping() -> None:
        spool.flush_some()
        progress.report_now_and_then()

    loop = MeasuringLoop(
        endpoint=endpoint,
        pacer=pacer,
        request=request,
        on_ended=ended,
        housekeeping=housekeeping,
        limits=Limits(
            request_ns=round(spec.deadlines.request_s * 1e9),
            run_ns=round(spec.deadlines.run_s * 1e9),
        ),
    )
    try:
        report = loop.run(connect_ahead=_connections_ahead(spec))
    finally:
        spool.close()
    progress.report()
    capture.write(
        client_report(repeat.number),
        LoopFacts(
            origin_monotonic_ns=report.origin_monotonic_ns,
            origin_unix_ns=report.origin_monotonic_ns + report.clock_offset_ns,
            window_cpu_ns=report.window_cpu_ns,
            window_wall_ns=report.window_wall_ns,
            clock_step_ns=report.clock_step_ns,
            clock_offset_ns=report.clock_offset_ns,
            clock_drift_ns=report.clock_drift_ns,
        ),
    )


def _connections_ahead(spec: BenchmarkSpec) -> int:
    if isinstance(spec.load, ClosedLoad):
        return min(spec.load.concurrency, _MOST_CONNECTIONS_AHEAD)
    return _OPEN_LOOP_CONNECTIONS_AHEAD


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
    api_key = os.environ.get(arguments.api_key_env) if arguments.api_key_env else None
    run = RunDirectory(arguments.run_id, arguments.run_directory)
    try:
        repeat = Repeat(arguments.repeat, arguments.run_origin_ns)
        measure(run, arguments.base_url, api_key, repeat)
    except PipelineError as error:
        _say({"error": type(error).__name__, "message": str(error)})
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
