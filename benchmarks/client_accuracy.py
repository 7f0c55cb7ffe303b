"""How far the client's numbers are from the truth, and what it costs, on one core.

The ground-truth engine has one core, the client another. Errors are the client's values minus
what the engine logged, request by request and gap by gap. "user" are the same reads by the
client's own clock: what a client reports that stamps after its event loop wakes.

    python benchmarks/client_accuracy.py [--rounds 3] [--streams 8 64 256] [--tokens 100]
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict

import numpy as np
from client_process import ClientRun, errors_of, on_core, run_client
from ground_truth import GroundTruthEngine, ground_truth_engine

TTFT_MS, ITL_MS = 50.0, 20.0
Cells = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, nargs="+", default=[8, 64, 256])
    parser.add_argument("--tokens", type=int, default=100)
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    print(
        f"truth: TTFT {TTFT_MS:g} ms, ITL {ITL_MS:g} ms, {arguments.tokens} tokens; median "
        f"[least, most] of {arguments.rounds} interleaved rounds; load average "
        f"{os.getloadavg()[0]:.1f} on {len(cores)} cores"
    )
    results: dict[int, Cells] = defaultdict(lambda: defaultdict(list))
    for _ in range(arguments.rounds):
        for streams in arguments.streams:
            _measure(streams, arguments.tokens, cores, results[streams])
    for streams, cells in results.items():
        print(f"\n{streams} streams")
        for name, values in cells.items():
            print(f"  {name:34}{np.median(values):>10.2f}  [{min(values):.2f}, {max(values):.2f}]")


def _measure(streams: int, tokens: int, cores: list[int], cells: Cells) -> None:
    with ground_truth_engine(ttft_ms=TTFT_MS, itl_ms=ITL_MS, cpu=cores[0]) as engine:
        load = {"kind": "closed", "concurrency": streams, "requests": max(40, 2 * streams)}
        with on_core(cores[-1]):
            run = run_client(
                engine.base_url, load | {"warmup_requests": streams}, max_tokens=tokens
            )
    _add(run, engine, cells)


def _add(run: ClientRun, engine: GroundTruthEngine, cells: Cells) -> None:
    ours, user = errors_of(run, engine.truths), errors_of(run, engine.truths, user_stamps=True)
    tokens = sum(len(truth.before_ns) for truth in engine.truths)
    window_s = run.loop.window_wall_ns / 1e9
    cells["chunks/s"].append(tokens / window_s)
    cells["TTFT error p50, ms"].append(float(np.percentile(np.abs(ours.ttft_us), 50)) / 1e3)
    cells["TTFT error p99, ms"].append(float(np.percentile(np.abs(ours.ttft_us), 99)) / 1e3)
    cells["  receiving side p99, ms"].append(float(np.percentile(ours.receive_us, 99)) / 1e3)
    cells["ITL error p99, ms"].append(float(np.percentile(ours.itl_us, 99)) / 1e3)
    cells["user TTFT error p99, ms"].append(float(np.percentile(np.abs(user.ttft_us), 99)) / 1e3)
    cells["user ITL error p99, ms"].append(float(np.percentile(user.itl_us, 99)) / 1e3)
    cells["CPU-s per 1M tokens, loop"].append(run.loop.window_cpu_ns / 1e3 / tokens)
    cells["CPU-s per 1M tokens, decoding"].append(run.decode_cpu_s * 1e6 / tokens)
    first_ns = min(truth.first_byte_ns for truth in engine.truths)
    cells["start-up to the first request, s"].append((first_ns - run.spawned_ns) / 1e9)
    cells["CPU-s besides the window"].append(run.cpu_s - run.loop.window_cpu_ns / 1e9)
    resolution = np.concatenate([truth.after_ns - truth.before_ns for truth in engine.truths])
    cells["truth's own resolution p50, us"].append(float(np.percentile(resolution, 50)) / 1e3)


if __name__ == "__main__":
    main()
