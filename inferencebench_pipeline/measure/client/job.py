"""The job of a client process: the plan of requests, their address, and the process's share."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from inferencebench_pipeline import __version__
from inferencebench_pipeline.measure.client.arrivals import arrival_offsets_ns, schedule_sha256
from inferencebench_pipeline.measure.client.board import Board
from inferencebench_pipeline.measure.client.capture import Capture, SpoolHeader, SpoolWriter
from inferencebench_pipeline.measure.client.connection import Endpoint
from inferencebench_pipeline.measure.client.conversations import ConversationPacer
from inferencebench_pipeline.measure.client.exchange import Exchange
from inferencebench_pipeline.measure.client.loop import Limits, LoopReport, MeasuringLoop
from inferencebench_pipeline.measure.client.pacing import (
    ClosedPacer,
    OpenPacer,
    Pacer,
    Share,
    SharedPacer,
)
from inferencebench_pipeline.measure.errors import EngineUnreachableError
from inferencebench_pipeline.measure.spec.engine import OpenAIEngine
from inferencebench_pipeline.measure.spec.load import ClosedLoad, OpenLoad
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec
from inferencebench_pipeline.measure.workloads.request_plan import RequestPlan, workload_of
from inferencebench_pipeline.runs import RunDirectory

_MOST_CONNECTIONS_AHEAD = 1024
_OPEN_LOOP_CONNECTIONS_AHEAD = 4
_OPEN_LOOP_SECONDS_AHEAD = 0.25


@dataclass(frozen=True)
class Repeat:
    """The repeat to measure, and the time at which the run began."""

    number: int = 1
    run_origin_ns: int | None = None
    """Origin of the first repeat on the monotonic clock; None while that is being measured."""


FIRST_REPEAT = Repeat()


@dataclass(frozen=True)
class Job:
    """Everything that decides what the processes of one repeat do."""

    spec: BenchmarkSpec
    plan: RequestPlan
    endpoint: Endpoint
    api_key: str | None
    repeat: Repeat
    header: SpoolHeader
    capture_bytes: int
    """Bytes that the answers of this repeat may still come to, as the capture keeps them."""

    @classmethod
    def of(cls, run: RunDirectory, base_url: str, api_key: str | None, repeat: Repeat) -> Job:
        """Return the job of one repeat of ``run``'s spec against ``base_url``.

        Raises:
            EngineUnreachableError: nothing accepts connections there.
            SpecError: what the spec names is not there.
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
        header = SpoolHeader(
            run_id=run.run_id,
            begun_at=datetime.now(UTC),
            workload_sha256=workload.identity_sha256,
            schedule_sha256=schedule_sha256(spec.load, spec.seed),
        )
        # The bound is the run's, and earlier repeats stand in the same spool.
        kept_bytes = capture.spool.stat().st_size if capture.spool.exists() else 0
        left = max(0, spec.limits.capture_bytes - kept_bytes)
        return cls(spec, plan, endpoint, api_key, repeat, header, left)

    @property
    def planned(self) -> int:
        """Warm-up and measured requests together."""
        return self.spec.load.warmup_requests + self.spec.load.requests

    def shares(self) -> list[Share]:
        """Return the share of each process."""
        processes, load = self.spec.client.processes, self.spec.load
        # Arrivals of an open loop fill no slots, so they are dealt out one by one.
        slots = load.concurrency if isinstance(load, ClosedLoad) else processes
        return [Share(number, processes, slots) for number in range(processes)]

    def board(self) -> Board:
        """Return a board on which each process has its measured requests still to make."""
        return Board([self._measured(share) for share in self.shares()])

    def _measured(self, share: Share) -> int:
        return share.of(self.planned) - share.of(self.spec.load.warmup_requests)

    def pacer(self, share: Share, board: Board) -> Pacer:
        """Return the pacer of one share of the load; each repeat draws its own arrivals."""
        load = self.spec.load
        warmup = share.of(load.warmup_requests)
        own: ClosedPacer | OpenPacer
        if isinstance(load, ClosedLoad):
            own = ClosedPacer(
                concurrency=share.of(load.concurrency),
                warmup=warmup,
                measured=self._measured(share),
                others_measure=lambda: board.others_measure(share.number),
            )
            lengths = self.plan.conversation_lengths
            if any(length > 1 for length in lengths):
                return ConversationPacer(own, lengths)  # the spec allows them one process only
        else:
            offsets_ns = arrival_offsets_ns(load, self.spec.seed_of(self.repeat.number))
            own = OpenPacer(offsets_ns[share.number :: share.processes], warmup=warmup)
        return own if share.processes == 1 else SharedPacer(own, share)

    def measure(
        self,
        share: Share,
        board: Board,
        spool_path: Path,
        *,
        housekeeping: Callable[[], None],
        agree_on_start: Callable[[], int] = time.monotonic_ns,
    ) -> LoopReport:
        """Measure one share of the load into ``spool_path``, in this process.

        Args:
            share: which requests.
            board: counts them.
            spool_path: takes them.
            housekeeping: called every 20 ms inside the window; must be quick.
            agree_on_start: returns the origin that all shares count from, once they are ready.

        Raises:
            EngineDiedError: the engine stopped accepting connections.
            RunDeadlineError: the run deadline passed.
            CaptureTooLargeError: the answers come to more than the capture may hold.
            StoreError: the spool cannot be written.
        """
        spool = SpoolWriter(spool_path, self.header, secret=self.api_key)
        pacer = self.pacer(share, board)

        def request(index: int) -> tuple[str, bytes]:
            number = pacer.item(index)
            message = http_request(
                self.endpoint, self.spec.workload.api, self.plan.body(number), self.api_key
            )
            return self.plan.item(number).id, message

        def ended(exchange: Exchange) -> None:
            board.count(share.number, exchange)
            exchange.repeat = self.repeat.number
            if self.repeat.run_origin_ns is not None:
                # The loop is made below, and exists by the time a request ends.
                exchange.repeat_origin_ns = loop.origin_monotonic_ns - self.repeat.run_origin_ns
            spool.append(exchange)

        def between() -> None:
            spool.flush_some()
            housekeeping()

        loop = MeasuringLoop(
            endpoint=self.endpoint,
            pacer=pacer,
            request=request,
            on_ended=ended,
            housekeeping=between,
            limits=Limits(
                request_ns=round(self.spec.deadlines.request_s * 1e9),
                run_ns=round(self.spec.deadlines.run_s * 1e9),
                # Processes do not see each other's answers, so each gets an equal part.
                capture_bytes=self.capture_bytes // share.processes,
            ),
        )
        try:
            return loop.run(
                connect_ahead=self._connections_ahead(share), agree_on_start=agree_on_start
            )
        finally:
            # After an error as well: what came until then is kept, and tells what went wrong.
            spool.close()

    def _connections_ahead(self, share: Share) -> int:
        """Return the number of connections to open before the window.

        In the open loop nobody knows how many will be needed; a quarter of a second's arrivals,
        since some engines spend a thread on each.
        """
        load = self.spec.load
        if isinstance(load, ClosedLoad):
            return min(share.of(load.concurrency), _MOST_CONNECTIONS_AHEAD)
        rate_per_s = load.rate_per_s if isinstance(load, OpenLoad) else 0.0
        expected = math.ceil(rate_per_s * _OPEN_LOOP_SECONDS_AHEAD / share.processes)
        return min(max(expected, _OPEN_LOOP_CONNECTIONS_AHEAD), _MOST_CONNECTIONS_AHEAD)


def http_request(endpoint: Endpoint, api: str, body: bytes, api_key: str | None) -> bytes:
    """Return the complete bytes of a streaming request."""
    route = "chat/completions" if api == "chat" else "completions"
    lines = [
        f"POST {endpoint.target}/{route} HTTP/1.1",
        f"Host: {endpoint.authority}",
        f"User-Agent: inferencebench-pipeline/{__version__}",
        "Content-Type: application/json",
        "Accept: text/event-stream",
        # The decoder takes bodies as they came and unpacks nothing.
        "Accept-Encoding: identity",
        f"Content-Length: {len(body)}",
    ]
    if api_key:
        lines.append(f"Authorization: Bearer {api_key}")
    return "\r\n".join([*lines, "", ""]).encode() + body
