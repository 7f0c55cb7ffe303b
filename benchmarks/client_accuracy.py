"""How far the client's numbers are from the truth, measured against an engine that logs it.

The scripted engine (tests/measure/fake_engine.py) runs in its own process and logs the monotonic
time of every chunk just before it hands it to the kernel; the client measures the same requests.
Both clocks are the same, so the difference per request and per token is the client's error (and
the time the write itself took). The ratio compares with a user-space stamp, taken from the very
same reads: what a client without kernel stamps would have reported.

    python benchmarks/client_accuracy.py [--requests 40] [--concurrency 8 64 256]
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from inferencebench_pipeline.measure.capture import Capture, read_spool
from inferencebench_pipeline.measure.client.exchange import Exchange
from inferencebench_pipeline.measure.decode import decode
from inferencebench_pipeline.measure.run import run_benchmark
from inferencebench_pipeline.measure.spec import parse_spec
from inferencebench_pipeline.measure.workload import RequestPlan
from inferencebench_pipeline.runs import RunStore, new_run_id

_REPOSITORY = Path(__file__).resolve().parent.parent
_ENGINE = _REPOSITORY / "tests/measure/fake_engine.py"
_TTFT_MS, _ITL_MS, _TOKENS = 50.0, 20.0, 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=40, help="per level, at least 2x streams")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[8, 64, 256])
    arguments = parser.parse_args()
    print(f"truth: TTFT {_TTFT_MS:g} ms, ITL {_ITL_MS:g} ms, {_TOKENS} tokens a request")
    print("error = client - truth; user = the same reads by this process's clock; x = user / ours")
    print(f"{'':18}{'TTFT error, us':^35}{'ITL error, us':^30}{'CPU-s per':>12}")
    print(
        f"{'streams':>8}{'chunks/s':>10}{'p50':>8}{'p99':>9}{'user p99':>11}{'x':>7}"
        f"{'p99':>11}{'user p99':>12}{'x':>7}{'1M tokens':>12}"
    )
    for streams in arguments.concurrency:
        _level(streams, max(arguments.requests, 2 * streams))


def _level(streams: int, requests: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        truth_file = Path(folder) / "truth.json"
        command = [sys.executable, str(_ENGINE), "--ttft-ms", str(_TTFT_MS)]
        command += ["--itl-ms", str(_ITL_MS), "--truth", str(truth_file)]
        engine = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert engine.stdout is not None
            base_url = engine.stdout.readline().strip()
            capture = _measure(base_url, streams, requests, Path(folder))
            engine.send_signal(signal.SIGTERM)
            engine.wait(30)
        finally:
            engine.kill()
        _report(streams, capture, json.loads(truth_file.read_text()))


def _measure(base_url: str, streams: int, requests: int, folder: Path) -> Capture:
    load = {"kind": "closed", "concurrency": streams, "requests": requests}
    spec = parse_spec(
        {
            "name": "client-accuracy",
            "suite": {"id": "llm.inference.chat", "version": "1.0.0"},
            "model": {"id": "fake"},
            "engine": {"kind": "openai", "base_url": base_url, "name": "fake", "version": "1"},
            "workload": {"max_tokens": _TOKENS},
            "load": load | {"warmup_requests": streams},
        },
        where="benchmark",
    )
    run = RunStore(folder).run(new_run_id())
    run_benchmark(spec, run, on_progress=lambda _: None)
    return Capture(run)


@dataclass
class Errors:
    """Differences between what was measured and what the engine did, in microseconds."""

    first_us: list[float] = field(default_factory=list)
    gaps_us: list[float] = field(default_factory=list)

    def add(self, exchange: Exchange, truth: list[int], origin_ns: int) -> None:
        times = [chunk.received_ns + origin_ns for chunk in decode(exchange).text_chunks]
        self.first_us.append((times[0] - truth[0]) / 1e3)
        self.gaps_us += [
            abs((after - before) - (true_after - true_before)) / 1e3
            for (before, after), (true_before, true_after) in zip(
                pairwise(times), pairwise(truth), strict=True
            )
        ]


def _report(streams: int, capture: Capture, truths: list[dict[str, Any]]) -> None:
    loop = capture.loop_facts()
    # Both processes read CLOCK_MONOTONIC; the run's origin is recorded in Unix time.
    origin_ns = loop.origin_unix_ns - (time.time_ns() - time.monotonic_ns())
    plan = RequestPlan.of(capture.spec(), capture.run.run_id)
    truth_of = {json.dumps(truth["body"]): truth["token_ns"] for truth in truths}
    ours, user = Errors(), Errors()
    tokens = 0
    for exchange in read_spool(capture.spool):
        tokens += _TOKENS
        if exchange.phase == "measured":
            truth = truth_of[json.dumps(json.loads(plan.body(exchange.index)))]
            ours.add(exchange, truth, origin_ns)
            user.add(_user_stamped(exchange), truth, origin_ns)
    ttft50, ttft99 = np.percentile(ours.first_us, [50, 99])
    user_ttft99 = np.percentile(user.first_us, 99)
    itl99, user_itl99 = np.percentile(ours.gaps_us, 99), np.percentile(user.gaps_us, 99)
    print(
        f"{streams:>8}{tokens / (loop.window_wall_ns / 1e9):>10.0f}{ttft50:>8.0f}{ttft99:>9.0f}"
        f"{user_ttft99:>11.0f}{user_ttft99 / ttft99:>7.1f}{itl99:>11.1f}{user_itl99:>12.1f}"
        f"{user_itl99 / itl99:>7.1f}{loop.window_cpu_ns / 1e9 / tokens * 1e6:>12.1f}"
    )


def _user_stamped(exchange: Exchange) -> Exchange:
    """Return the exchange as a client without kernel stamps would have recorded it."""
    reads = [replace(read, kernel_ns=None) for read in exchange.reads]
    return replace(exchange, reads=reads)


if __name__ == "__main__":
    main()
