"""What telemetry does to the client's numbers: the same load with and without it, interleaved.

The sampler is kept on the client's own core, which is the worst place for it. This machine's
sources are sampled as they are; a GPU's NVML calls cost more than those of a machine without one.

    python benchmarks/telemetry_cost.py [--rounds 3] [--streams 64] [--tokens 100]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from client_process import errors_of, on_core, run_client
from ground_truth import ground_truth_engine

from inferencebench_pipeline.measure.telemetry.document import read_sampling
from inferencebench_pipeline.measure.telemetry.sampler import default_sources, sampling

ROWS = (
    "TTFT error p50, ms",
    "TTFT error p99, ms",
    "ITL error p99, ms",
    "client CPU, % of a core",
    "telemetry CPU, % of a core",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=100)
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    cells: dict[bool, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(arguments.rounds):
        for sampled in (False, True) if number % 2 else (True, False):
            one = _measure(arguments.streams, arguments.tokens, cores, sampled=sampled)
            for name, value in one.items():
                cells[sampled][name].append(value)
    print(
        f"{arguments.streams} streams, median [least, most] of {arguments.rounds} interleaved "
        f"rounds; load average {os.getloadavg()[0]:.1f} on {len(cores)} cores"
    )
    print(f"{'':28}{'without':>26}{'with telemetry':>26}")
    for name in ROWS:
        print(f"{name:28}{_spread(cells[False][name]):>26}{_spread(cells[True][name]):>26}")


def _measure(streams: int, tokens: int, cores: list[int], *, sampled: bool) -> dict[str, float]:
    load = {"kind": "closed", "concurrency": streams, "requests": max(40, 2 * streams)}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        spool, facts = folder / "telemetry.jsonl", folder / "telemetry.json"
        engine = ground_truth_engine(ttft_ms=50.0, itl_ms=20.0, cpu=cores[0])
        with engine as truth, on_core(cores[-1]), ExitStack() as observed:
            if sampled:
                observed.enter_context(sampling(default_sources(), spool, facts, engine_pid=None))
            run = run_client(truth.base_url, load | {"warmup_requests": streams}, max_tokens=tokens)
        errors = errors_of(run, truth.truths)
        found = read_sampling(spool, facts)
    cells = {
        "TTFT error p50, ms": float(np.percentile(np.abs(errors.ttft_us), 50)) / 1e3,
        "TTFT error p99, ms": float(np.percentile(np.abs(errors.ttft_us), 99)) / 1e3,
        "ITL error p99, ms": float(np.percentile(errors.itl_us, 99)) / 1e3,
        "client CPU, % of a core": 100 * run.loop.window_cpu_ns / run.loop.window_wall_ns,
    }
    if found is not None:
        described = found[1]
        share = described.sampler_cpu_s / described.sampler_wall_s
        cells["telemetry CPU, % of a core"] = 100 * share
    return cells


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{np.median(values):.3f} [{min(values):.3f}, {max(values):.3f}]"


if __name__ == "__main__":
    main()
