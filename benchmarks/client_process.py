"""One run of our client as the benchmarks need it: in its own process, timed, its CPU counted."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from ground_truth import Truth

from inferencebench_pipeline.measure.client.capture import Capture, LoopFacts, read_spool
from inferencebench_pipeline.measure.client.decoder import decode
from inferencebench_pipeline.measure.client.exchange import Exchange
from inferencebench_pipeline.measure.spec.spec import spec_json
from inferencebench_pipeline.measure.spec.spec_file import parse_spec
from inferencebench_pipeline.measure.workloads.resolution import resolve
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore, new_run_id

_LIMIT_S = 300.0


@dataclass(frozen=True)
class ClientRun:
    """What a run of the client left, and what it cost."""

    exchanges: list[Exchange]
    loop: LoopFacts
    spawned_ns: int
    """When its process was started, CLOCK_MONOTONIC."""
    cpu_s: float
    """CPU of the whole process, from the first import to the last byte of the spool."""
    decode_cpu_s: float
    """CPU of decoding what it left: JSON, server-sent events, tokens."""


@contextmanager
def on_core(cpu: int | None) -> Iterator[None]:
    """Keep this process and what it starts on one core."""
    if cpu is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run_client(
    base_url: str, load: dict[str, Any], *, max_tokens: int, api: str = "completions"
) -> ClientRun:
    """Measure ``load`` against ``base_url`` in a client process.

    Raises:
        SystemExit: the client failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = RunStore(Path(folder)).run(new_run_id())
        capture = Capture(run)
        capture.begin()
        content = {
            "name": "client-benchmark",
            "suite": {"id": "llm.inference.chat", "version": "1.0.0"},
            "model": {"id": "fake"},
            "engine": {"kind": "openai", "base_url": base_url, "name": "fake", "version": "1"},
            "workload": {"max_tokens": max_tokens, "api": api},
            "load": load,
            "deadlines": {"run_s": _LIMIT_S},
        }
        run.write(RunFile.SPEC, spec_json(resolve(parse_spec(content, where="benchmark"))))
        command = [sys.executable, "-m", "inferencebench_pipeline.measure.client"]
        command += ["--run-id", run.run_id, "--run-directory", str(run.path)]
        spawned_ns = time.monotonic_ns()
        process = subprocess.Popen([*command, "--base-url", base_url], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"the client ended with status {process.returncode}")
        exchanges = list(read_spool(capture.spool))
        began = time.process_time()
        for exchange in exchanges:
            decode(exchange)
        decode_cpu_s = time.process_time() - began
        cpu_s = usage.ru_utime + usage.ru_stime
        return ClientRun(exchanges, capture.loop_facts(), spawned_ns, cpu_s, decode_cpu_s)


@dataclass(frozen=True)
class Errors:
    """Client minus truth, per request and per gap between tokens, in microseconds."""

    ttft_us: np.ndarray
    """Time from sending to the first token, against first byte in to first token out."""
    receive_us: np.ndarray
    """The receiving side of it alone: first token seen, against first token out."""
    itl_us: np.ndarray
    """Absolute errors of the gaps between tokens, of all requests together."""


def errors_of(run: ClientRun, truths: list[Truth], *, user_stamps: bool = False) -> Errors:
    """Return the errors of the measured requests.

    Args:
        run: what the client saw.
        truths: what the engine did.
        user_stamps: judge the client's own clock instead of the kernel's stamps, as if the
            platform had none: what every client reports that stamps after its loop wakes.
    """
    ttft: list[float] = []
    receive: list[float] = []
    itl: list[float] = []
    origin_ns = run.loop.origin_monotonic_ns
    for exchange in run.exchanges:
        if exchange.phase != "measured":
            continue
        truth = truths[_number(exchange)]
        if user_stamps:
            reads = [replace(read, kernel_ns=None) for read in exchange.reads]
            exchange = replace(exchange, reads=reads)
        times = [chunk.received_ns for chunk in decode(exchange).text_chunks]
        assert len(times) == len(truth.before_ns), "a token is missing"
        assert exchange.sent_ns is not None, "it was answered, so it was sent"
        first_out_ns = int(truth.before_ns[0])
        receive.append((times[0] + origin_ns - first_out_ns) / 1e3)
        ttft.append((times[0] - exchange.sent_ns - (first_out_ns - truth.first_byte_ns)) / 1e3)
        true_gaps = np.diff(truth.before_ns)
        gaps = np.array([after - before for before, after in pairwise(times)])
        itl.extend(np.abs(gaps - true_gaps) / 1e3)
    return Errors(np.array(ttft), np.array(receive), np.array(itl))


def _number(exchange: Exchange) -> int:
    """Return the engine's number of a request, from the id of its first event."""
    body = b"".join(read.data for read in exchange.reads[:8])
    start = body.index(b'"cmpl-') + len(b'"cmpl-')
    return int(body[start : start + 8])
