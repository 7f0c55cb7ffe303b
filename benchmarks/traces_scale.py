"""Memory and time of writing a traces file and of computing everything from it, by its size.

Each step runs in its own process, whose peak resident memory the kernel reports. "small path" is
the same metrics and flags from one in-memory table (up to 20,000 requests): they must be equal.
Requests are made up (128 tokens, 20 ms apart with jitter, at 400 a second) and go through the
writer that a run uses; decoding HTTP is not in it, and holds one request at a time.

    python benchmarks/traces_scale.py [--requests 1000 10000 100000] [--folder DIRECTORY]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from inferencebench_pipeline.measure.client.decoder import Chunk
from inferencebench_pipeline.measure.metrics.compute import compute_metrics
from inferencebench_pipeline.measure.run.trace_writer import (
    Traces,
    TracesWriter,
    check_traces,
    open_traces,
    read_traces,
)
from inferencebench_pipeline.measure.spec.load import ClosedLoad
from inferencebench_pipeline.measure.spec.stated_parts import Slo
from inferencebench_pipeline.measure.spec.workload import Workload

_TOKENS = 128
_SMALL = 20_000
_SLO = Slo(ttft_ms=100.0, tpot_ms=25.0)
_MIB = 2**20


def write(path: Path, requests: int) -> dict[str, Any]:
    load = ClosedLoad(kind="closed", concurrency=64, requests=requests, warmup_requests=0)
    metadata = {
        "run_id": "01900000-0000-7000-8000-00000000000a",
        "origin_unix_ns": "1700000000000000000",
        "load": load.model_dump_json(),
        "workload": Workload(max_tokens=_TOKENS).model_dump_json(),
    }
    random = np.random.default_rng(1)
    with TracesWriter(path, metadata) as writer:
        for index in range(requests):
            sent = index * 2_500_000
            gaps = random.normal(20e6, 2e6, _TOKENS).astype(np.int64)
            gaps[0] = 50_000_000 + int(random.exponential(2e7))
            times = (sent + np.cumsum(gaps)).tolist()
            chunks = [Chunk(at, 210, 4, True) for at in times]
            writer.append(_row(index, sent, times), chunks)
    return {"size_mib": path.stat().st_size / _MIB}


def _row(index: int, sent: int, times: list[int]) -> dict[str, Any]:
    return {
        "repeat": 1,
        "request_index": index,
        "phase": "measured",
        "prompt_id": f"p{index % 1000}",
        "attempt": 1,
        "scheduled_ns": sent,
        "connect_started_ns": None,
        "connected_ns": -1,
        "sent_ns": sent + 20_000,
        "first_byte_ns": times[0],
        "first_token_ns": times[0],
        "last_token_ns": times[-1],
        "end_ns": times[-1] + 10_000,
        "http_status": 200,
        "finish_reason": "length",
        "prompt_tokens": 64,
        "completion_tokens": _TOKENS,
        "token_source": "engine_usage",
        "cached_tokens": None,
        "tokenizer_tokens": None,
        "error_class": None,
        "error_detail": None,
    }


def metrics(path: Path) -> dict[str, Any]:
    return {"result": _metrics_json(open_traces(path))}


def flags(path: Path) -> dict[str, Any]:
    return {"result": [flag.model_dump() for flag in check_traces(open_traces(path))]}


def small(path: Path) -> dict[str, Any]:
    table = read_traces(path)
    judged = [flag.model_dump() for flag in check_traces(table)]
    return {"result": _metrics_json(table), "flags": judged}


def _metrics_json(traces: Traces | pa.Table) -> dict[str, Any]:
    return {key: metric.model_dump() for key, metric in compute_metrics(traces, _SLO).items()}


def _step(name: str, path: Path, requests: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--step", name, str(path), "--requests", str(requests)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _run_step(name: str, path: Path, requests: int) -> None:
    began, used = time.perf_counter(), time.process_time()
    found = write(path, requests) if name == "write" else globals()[name](path)
    found["wall_s"] = time.perf_counter() - began
    found["cpu_s"] = time.process_time() - used
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--step", nargs=2, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        _run_step(arguments.step[0], Path(arguments.step[1]), arguments.requests[0])
        return 0
    print(f"{'requests':>9} {'file MiB':>9} | {'write':>22} | {'metrics':>22} | "
          f"{'flags':>22} | small path")  # fmt: skip
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for requests in arguments.requests:
            path = Path(folder) / "traces.parquet"
            written = _step("write", path, requests)
            computed, judged = _step("metrics", path, requests), _step("flags", path, requests)
            same = "not run"
            if requests <= _SMALL:
                table = _step("small", path, requests)
                equal = table["result"] == computed["result"] and table["flags"] == judged["result"]
                same = ("equal" if equal else "DIFFERENT") + f", {table['peak_mib']:,.0f} MiB"
            cells = [
                f"{step['cpu_s']:7.1f} CPU-s {step['peak_mib']:5,.0f} MiB"
                for step in (written, computed, judged)
            ]
            print(f"{requests:>9,} {written['size_mib']:>9.1f} | {' | '.join(cells)} | {same}")
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
