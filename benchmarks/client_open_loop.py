"""The highest rates: how much of an open loop's schedule the client keeps on one core.

Requests of eight tokens arrive as a Poisson process at the ground-truth engine. A request is on
time when it was sent within 5 ms of its scheduled instant; the rate achieved is what reached the
engine, by the engine's own clock.

    python benchmarks/client_open_loop.py [--rates 500 1000 2000] [--seconds 5] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict

import numpy as np
from client_process import errors_of, on_core, run_client
from ground_truth import ground_truth_engine

_TOKENS, _TTFT_MS, _ITL_MS = 8, 20.0, 10.0
_ON_TIME_MS = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rates", type=int, nargs="+", default=[500, 1000, 2000])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    results: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for _ in range(arguments.rounds):
        for rate in arguments.rates:
            _measure(rate, round(rate * arguments.seconds), cores, results[rate])
    print(
        f"{_TOKENS} tokens a request, TTFT {_TTFT_MS:g} ms, ITL {_ITL_MS:g} ms; median [least, "
        f"most] of {arguments.rounds} interleaved rounds; load average {os.getloadavg()[0]:.1f}"
    )
    for rate, cells in results.items():
        print(f"\n{rate} requests/s")
        for name, values in cells.items():
            print(f"  {name:34}{np.median(values):>10.2f}  [{min(values):.2f}, {max(values):.2f}]")


def _measure(rate: int, requests: int, cores: list[int], cells: dict[str, list[float]]) -> None:
    load = {"kind": "open", "rate_per_s": rate, "requests": requests, "warmup_requests": rate // 2}
    with (
        ground_truth_engine(ttft_ms=_TTFT_MS, itl_ms=_ITL_MS, cpu=cores[0]) as engine,
        on_core(cores[-1]),
    ):
        run = run_client(engine.base_url, load, max_tokens=_TOKENS)
    measured = [exchange for exchange in run.exchanges if exchange.phase == "measured"]
    late_ms = np.array([(each.sent_ns or 0) - each.scheduled_ns for each in measured]) / 1e6
    arrivals_ns = sorted(truth.first_byte_ns for truth in engine.truths)
    due_ns = sorted(each.scheduled_ns for each in run.exchanges)
    errors = errors_of(run, engine.truths)
    cells["schedule met, % of requests"].append(100 * float(np.mean(late_ms <= _ON_TIME_MS)))
    cells["rate achieved, % of the schedule's"].append(
        100 * (due_ns[-1] - due_ns[0]) / (arrivals_ns[-1] - arrivals_ns[0])
    )
    cells["sent late p50, ms"].append(float(np.percentile(late_ms, 50)))
    cells["sent late p99, ms"].append(float(np.percentile(late_ms, 99)))
    cells["TTFT error p50, ms"].append(float(np.percentile(np.abs(errors.ttft_us), 50)) / 1e3)
    cells["TTFT error p99, ms"].append(float(np.percentile(np.abs(errors.ttft_us), 99)) / 1e3)
    cells["client's share of its core, %"].append(
        100 * run.loop.window_cpu_ns / run.loop.window_wall_ns
    )
    cells["engine's share of its core, %"].append(
        100 * engine.cpu_s / (run.loop.window_wall_ns / 1e9)
    )


if __name__ == "__main__":
    main()
