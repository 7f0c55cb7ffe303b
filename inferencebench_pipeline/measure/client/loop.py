"""The measuring loop: one epoll, one thread, every wait with a deadline."""

from __future__ import annotations

import gc
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

import httptools

from inferencebench_pipeline.measure.client.clock import ClockBridge
from inferencebench_pipeline.measure.client.connection import Connection, Endpoint, TlsConnection
from inferencebench_pipeline.measure.client.exchange import Exchange, Read
from inferencebench_pipeline.measure.client.lane import Answer, Lane, wire_error
from inferencebench_pipeline.measure.client.pacing import Due, Pacer
from inferencebench_pipeline.measure.client.polling import Poller, platform_poller
from inferencebench_pipeline.measure.errors import (
    CaptureTooLargeError,
    EngineDiedError,
    RunDeadlineError,
)

MAX_RESPONSE_BYTES: Final = 64 * 2**20
"""An answer larger than this is no answer; it is cut off as ``malformed_stream``."""
_KEPT_OF_NO_ANSWER: Final = 2**18
"""So much of it is kept, to look at."""
_KEPT_PER_READ: Final = 40
"""Bytes in the capture for the instants of one read; those of the read itself take a third more."""

# A stream that never runs dry must keep neither the others nor the deadlines waiting.
_MAX_READS_PER_WAKE: Final = 64
_HOUSEKEEPING_NS: Final = 20_000_000
_REFUSED_IN_A_ROW: Final = 3
_KERNEL_STAMP_SLACK_NS: Final = 50_000
_NEVER: Final = 2**62


@dataclass(frozen=True)
class Limits:
    """Deadlines of the loop, and what its answers may come to."""

    request_ns: int
    run_ns: int
    capture_bytes: int
    """The size of all answers as the capture keeps them, in bytes."""


@dataclass(frozen=True)
class LoopReport:
    """The loop's report about itself."""

    origin_monotonic_ns: int
    window_cpu_ns: int
    window_wall_ns: int
    clock_step_ns: int
    clock_offset_ns: int
    """Wall clock minus monotonic clock at the origin."""
    clock_drift_ns: int
    """The change of that offset by the end, in nanoseconds."""


class MeasuringLoop:
    """Sends requests when the pacer says so and keeps what comes back.

    Args:
        endpoint: where to send.
        pacer: when to send.
        request: the prompt id and the complete HTTP request of an index.
        on_ended: takes every ended exchange; must be quick, it runs inside the window.
        housekeeping: called every 20 ms inside the window, to spool and to report; must be quick.
        limits: deadlines.
        poller: what waits for the sockets; the platform's best when None.
    """

    def __init__(
        self,
        *,
        endpoint: Endpoint,
        pacer: Pacer,
        request: Callable[[int], tuple[str, bytes]],
        on_ended: Callable[[Exchange], None],
        housekeeping: Callable[[], None],
        limits: Limits,
        poller: Poller | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._pacer = pacer
        self._request = request
        self._on_ended = on_ended
        self._housekeeping = housekeeping
        self._limits = limits
        self._tls = ssl.create_default_context() if endpoint.tls else None
        self._bridge = ClockBridge()
        self._origin_ns = 0
        self._poller = poller or platform_poller()
        self._lanes: dict[int, Lane] = {}
        self._idle: dict[int, Lane] = {}
        """Connections without a request by descriptor; the one used last is used next."""
        self._in_flight: dict[int, tuple[Lane, int]] = {}
        """Every request on its way with its connection and deadline, the oldest first."""
        self._next_due_ns = 0
        self._seen_ns = 0
        """The time of the last read, or of the end of the last request, without asking the clock
        again."""
        self._reuse = True
        self._refused_in_a_row = 0
        self._capture_bytes_left = limits.capture_bytes

    def run(
        self, *, connect_ahead: int, agree_on_start: Callable[[], int] = time.monotonic_ns
    ) -> LoopReport:
        """Measure until the pacer has nothing more to send and every answer has ended.

        Args:
            connect_ahead: connections to open before the window.
            agree_on_start: called once those are open; returns the origin on the monotonic clock,
                which several processes that share a load have in common.

        Raises:
            EngineDiedError: the engine stopped accepting connections.
            RunDeadlineError: the run deadline passed.
            CaptureTooLargeError: the answers come to more than they may.
        """
        try:
            # A preliminary origin, for the connections that are opened before the agreed one.
            self._origin_ns = time.monotonic_ns()
            self._connect_ahead(connect_ahead)
            with _no_garbage_collection():
                self._rebase_origin(agree_on_start())
                # The agreed origin lies a little ahead, so that all processes can reach it in time.
                time.sleep(max(0.0, -self._now() / 1e9))
                cpu_ns = time.process_time_ns()
                self._until_done()
                self._bridge.refresh()
                return LoopReport(
                    origin_monotonic_ns=self._origin_ns,
                    window_cpu_ns=time.process_time_ns() - cpu_ns,
                    window_wall_ns=self._now(),
                    clock_step_ns=self._bridge.largest_step_ns,
                    clock_offset_ns=self._bridge.first_offset_ns,
                    clock_drift_ns=self._bridge.drift_ns,
                )
        finally:
            for lane in list(self._lanes.values()):
                self._drop(lane)
            self._poller.close()

    # -- time

    @property
    def origin_monotonic_ns(self) -> int:
        """The origin of all instants on the monotonic clock, final once the window is open."""
        return self._origin_ns

    def _now(self) -> int:
        return time.monotonic_ns() - self._origin_ns

    def _rebase_origin(self, origin_ns: int) -> None:
        """Start the clock of the run; connections opened ahead keep negative instants."""
        elapsed = origin_ns - self._origin_ns
        self._origin_ns = origin_ns
        for lane in self._lanes.values():
            lane.connect_started_ns -= elapsed
            if lane.connected_ns is not None:
                lane.connected_ns -= elapsed

    # -- the loop

    def _until_done(self) -> None:
        next_housekeeping = _HOUSEKEEPING_NS
        while True:
            now = self._start_due()
            if self._next_due_ns == _NEVER and not self._in_flight:
                return
            if self._next_due_ns <= now:
                continue
            wake = min(self._next_due_ns, next_housekeeping, self._first_deadline())
            for descriptor in self._poller.wait(self._origin_ns + wake):
                lane = self._lanes.get(descriptor)
                # An earlier event of this wake may have dropped the connection.
                if lane is not None:
                    self._advance(lane)
                if self._next_due_ns <= self._seen_ns:
                    self._start_due()  # what is due does not wait for the rest of this wake
            now = self._now()
            self._expire(now)
            if now >= next_housekeeping:
                self._bridge.refresh()
                self._housekeeping()
                # Counted from the end of the work: slow housekeeping must not follow upon itself.
                next_housekeeping = self._now() + _HOUSEKEEPING_NS

    def _first_deadline(self) -> int:
        # All requests may take equally long, so the one that started first ends first.
        for _, deadline in self._in_flight.values():
            return min(deadline, self._limits.run_ns)
        return self._limits.run_ns

    def _expire(self, now: int) -> None:
        if now >= self._limits.run_ns:
            raise RunDeadlineError(
                f"the run did not finish within deadlines.run_s = {self._limits.run_ns / 1e9:g} s; "
                "raise it, or lower load.requests"
            )
        while self._in_flight:
            lane, deadline = next(iter(self._in_flight.values()))
            if deadline > now:
                return
            seconds = self._limits.request_ns / 1e9
            self._fail(lane, "timeout", f"no complete answer within {seconds:g} s")

    # -- starting a request

    def _connect_ahead(self, count: int) -> None:
        deadline = self._now() + self._limits.request_ns
        for _ in range(count):
            with suppress(OSError):  # a refusal is a row of the first request, not the run's end
                self._open()
        while self._now() < deadline and any(
            lane.connected_ns is None for lane in self._lanes.values()
        ):
            for descriptor in self._poller.wait(self._origin_ns + deadline):
                lane = self._lanes.get(descriptor)
                if lane is not None:
                    self._advance(lane)
        for lane in list(self._lanes.values()):
            if lane.connected_ns is None:
                self._drop(lane)

    def _open(self) -> Lane:
        started = self._now()
        connection = (
            TlsConnection(self._endpoint, self._tls) if self._tls else Connection(self._endpoint)
        )
        lane = Lane(connection, started)
        self._lanes[connection.fileno()] = lane
        self._poller.add(connection.fileno())
        return lane

    def _start_due(self) -> int:
        """Start every request that is due, and return the time after the last."""
        now = self._now()
        while (due := self._pacer.take(now)) is not None:
            self._start(due)
            now = self._now()
        next_due = self._pacer.next_ns()
        self._next_due_ns = _NEVER if next_due is None else next_due
        return now

    def _start(self, due: Due) -> None:
        prompt_id, request = self._request(due.index)
        exchange = Exchange(due.index, due.phase, prompt_id, due.scheduled_ns)
        self._dispatch(exchange, request, self._now() + self._limits.request_ns)

    def _dispatch(self, exchange: Exchange, request: bytes, deadline: int) -> None:
        """Send on an idle connection, or on a new one once it is established."""
        try:
            lane = self._idle.popitem()[1] if self._idle else self._open()
        except OSError as error:
            self._end(exchange, *wire_error(error))
            return
        lane.exchange = exchange
        lane.unsent = request
        # A request that is sent again keeps its key, and with it its place among the oldest.
        self._in_flight[exchange.index] = (lane, deadline)
        if lane.connected_ns is not None:
            self._send_first(lane)

    def _send_first(self, lane: Lane) -> None:
        exchange = lane.exchange
        assert exchange is not None, "nothing to send"
        lane.answer = Answer()
        lane.received_bytes = 0
        exchange.connect_started_ns = lane.connect_started_ns
        exchange.connected_ns = lane.connected_ns
        exchange.sent_ns = self._now()
        self._send_more(lane)

    def _send_more(self, lane: Lane) -> None:
        try:
            lane.unsent = lane.connection.send(lane.unsent)
        except OSError as error:
            self._lost(lane, error)
            return
        self._watch(lane)

    def _watch(self, lane: Lane) -> None:
        wants_write = bool(lane.unsent) or lane.connection.wants_write
        if wants_write != lane.watches_write:
            lane.watches_write = wants_write
            self._poller.watch(lane.connection.fileno(), write=wants_write)

    # -- what happens on a connection

    def _advance(self, lane: Lane) -> None:
        if lane.connected_ns is None:
            self._establish(lane)
        elif lane.exchange is None:
            self._check_idle(lane)
        else:
            if lane.unsent or lane.connection.wants_write:
                self._send_more(lane)
            # Sending may have failed, which ended the exchange.
            if lane.exchange is not None:
                self._receive(lane)

    def _establish(self, lane: Lane) -> None:
        try:
            if not lane.connection.establish():
                self._watch(lane)
                return
        except OSError as error:
            if lane.exchange is None:
                self._drop(lane)
            else:
                self._fail(lane, *wire_error(error))
            return
        lane.connected_ns = self._now()
        self._watch(lane)
        if lane.exchange is None:
            self._idle[lane.connection.fileno()] = lane
        else:
            self._send_first(lane)

    def _check_idle(self, lane: Lane) -> None:
        """An idle connection became readable: the engine closed it, or broke the protocol."""
        try:
            lane.connection.receive()
        except BlockingIOError:
            # No byte of an answer. Over TLS it may be a session ticket (RFC 8446, section 4.6.1).
            return
        except OSError:
            pass
        self._drop(lane)

    def _receive(self, lane: Lane) -> None:
        """Take what has arrived, a read at a time; the rest of the process waits for this."""
        exchange, answer, connection = lane.exchange, lane.answer, lane.connection
        assert exchange is not None and answer is not None and exchange.sent_ns is not None
        # Looked up once: the loop below runs for every token of every stream.
        reads, origin_ns, sent_ns = exchange.reads, self._origin_ns, exchange.sent_ns
        for _ in range(_MAX_READS_PER_WAKE):
            try:
                data, wall_ns = connection.receive()
            except BlockingIOError:
                return
            except OSError as error:
                self._lost(lane, error)
                return
            self._seen_ns = seen = time.monotonic_ns() - origin_ns
            if not data:
                self._closed(lane)
                return
            stamp = None
            if wall_ns is not None:
                stamp = wall_ns - self._bridge.offset_ns - origin_ns
                if stamp > seen or stamp < sent_ns:
                    stamp = _plausible(stamp, sent_ns, seen)
            reads.append(Read(seen, stamp, data))
            lane.received_bytes += len(data)
            self._capture_bytes_left -= len(data) * 4 // 3 + _KEPT_PER_READ
            if self._capture_bytes_left < 0:
                raise CaptureTooLargeError(_too_large())
            try:
                answer.feed(data)
            except httptools.HttpParserError as error:
                if not answer.complete:
                    self._fail(lane, "malformed_stream", f"not HTTP: {error}")
                else:  # bytes after the end of the answer
                    self._complete(lane, keep=False)
                return
            if answer.complete:
                self._complete(lane, keep=answer.keep_alive)
                return
            if lane.received_bytes > MAX_RESPONSE_BYTES:
                del reads[_reads_of(_KEPT_OF_NO_ANSWER, reads) :]
                self._fail(lane, "malformed_stream", f"more than {MAX_RESPONSE_BYTES} bytes")
                return
            if len(data) < connection.read_bytes:
                return  # nothing is left; epoll reports what comes next

    def _complete(self, lane: Lane, *, keep: bool) -> None:
        exchange = self._release(lane)
        lane.served += 1
        if self._reuse and keep:
            self._idle[lane.connection.fileno()] = lane
        else:
            self._drop(lane)
        self._end(exchange, None, None)

    def _closed(self, lane: Lane) -> None:
        """The engine closed the connection before the parser saw the end of the answer."""
        if lane.received_bytes == 0 and self._retry(lane):
            return
        # Not an error yet: an answer without a length ends this way. Decoding tells.
        exchange = self._release(lane)
        self._drop(lane)
        if exchange.reads:
            self._end(exchange, None, None)
        else:
            self._end(exchange, "closed_mid_stream", "closed before the first byte of the answer")

    def _lost(self, lane: Lane, error: OSError) -> None:
        if lane.received_bytes == 0 and self._retry(lane):
            return
        self._fail(lane, *wire_error(error))

    def _retry(self, lane: Lane) -> bool:
        """Send again on a fresh connection when a reused one died before the first byte.

        Some engines promise keep-alive and close after each answer; the promise is not believed
        again in this run.
        """
        if lane.served == 0:
            return False
        exchange = self._release(lane)
        deadline = self._in_flight[exchange.index][1]
        self._drop(lane)
        self._reuse = False
        # Those that have served an answer may be closed by now in the same way.
        for idle in [idle for idle in self._idle.values() if idle.served]:
            self._drop(idle)
        exchange.restart()
        self._dispatch(exchange, self._request(exchange.index)[1], deadline)
        return True

    # -- endings

    def _fail(self, lane: Lane, error_class: str, detail: str) -> None:
        exchange = self._release(lane)
        self._drop(lane)
        self._end(exchange, error_class, detail)

    def _release(self, lane: Lane) -> Exchange:
        exchange = lane.exchange
        assert exchange is not None, "no request on this connection"
        if lane.answer is not None:
            lane.answer.forget_parser()
        lane.exchange = lane.answer = None
        lane.unsent = b""
        return exchange

    def _drop(self, lane: Lane) -> None:
        self._lanes.pop(lane.connection.fileno(), None)
        self._idle.pop(lane.connection.fileno(), None)
        self._poller.remove(lane.connection.fileno())
        lane.connection.close()

    def _end(self, exchange: Exchange, error_class: str | None, detail: str | None) -> None:
        exchange.end_ns = self._now()
        exchange.error_class = error_class
        exchange.error_detail = detail
        self._in_flight.pop(exchange.index, None)
        self._pacer.ended(exchange.index, exchange.phase, exchange.end_ns)
        self._next_due_ns = self._seen_ns = exchange.end_ns  # the freed slot may be due at once
        self._on_ended(exchange)
        refused = error_class == "connect_refused"
        self._refused_in_a_row = self._refused_in_a_row + 1 if refused else 0
        if self._refused_in_a_row >= _REFUSED_IN_A_ROW:
            raise EngineDiedError(
                f"the engine at {self._endpoint.authority} stopped accepting connections while it "
                "was being measured; look at its log, then run again"
            )


def _plausible(stamp_ns: int, sent_ns: int, seen_ns: int) -> int | None:
    """Return a kernel stamp within the time it must lie in, or None when it cannot be right."""
    if not sent_ns - _KERNEL_STAMP_SLACK_NS <= stamp_ns <= seen_ns + _KERNEL_STAMP_SLACK_NS:
        return None
    # Within the slack it is the conversion between the clocks that is off, not the kernel.
    return min(max(stamp_ns, sent_ns), seen_ns)


def _reads_of(size: int, reads: list[Read]) -> int:
    """Return the number of the first reads that come to ``size`` bytes."""
    total = 0
    for number, read in enumerate(reads, start=1):
        total += len(read.data)
        if total >= size:
            return number
    return len(reads)


def _too_large() -> str:
    return (
        "the engine's answers come to more than limits.capture_bytes allows for the capture of "
        "this run; if that many answers are meant, raise it or lower load.requests, else look at "
        "what the engine sends. What came until then is kept"
    )


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep the collector out of the window."""
    # A full collection walks every object of the process and holds up all streams meanwhile.
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
