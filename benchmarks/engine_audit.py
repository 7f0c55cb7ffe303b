"""Our numbers beside the engine's own ``/metrics``, run by run, on engines that really compute.

    python benchmarks/engine_audit.py [--runs 3] [--requests 24] [--concurrency 4]

The embedded llama.cpp always; vLLM where INFERENCEBENCH_VLLM_PYTHON names an interpreter that has
it and INFERENCEBENCH_VLLM_MODEL a folder with SmolLM2-135M-Instruct (docs/engines.md). The engine
is started anew for each run. Client and engine share this machine's cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from inferencebench_pipeline.measure.run.measurement import Measurement, write_measurement
from inferencebench_pipeline.measure.run.run import run_benchmark
from inferencebench_pipeline.measure.run.trace_writer import write_traces
from inferencebench_pipeline.measure.spec.spec_file import parse_spec
from inferencebench_pipeline.runs.run_directory import RunStore, new_run_id

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--requests", type=int, default=24)
    parser.add_argument("--concurrency", type=int, default=4)
    arguments = parser.parse_args()
    for name, engine in engines().items():
        results = [
            measured(name, engine, arguments.requests, arguments.concurrency)
            for _ in range(arguments.runs)
        ]
        show(name, results)


def engines() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {"llama.cpp": {"kind": "embedded"}}
    folder = os.environ.get("INFERENCEBENCH_VLLM_MODEL")
    if os.environ.get("INFERENCEBENCH_VLLM_PYTHON") and folder:
        found["vLLM"] = {
            "kind": "vllm",
            "model_path": folder,
            "args": ["--enforce-eager", "--max-model-len", "2048"],
            "env": {"VLLM_CPU_KVCACHE_SPACE": "1"},
        }
    else:
        print("vLLM is left out: INFERENCEBENCH_VLLM_PYTHON and _MODEL are not set")
    return found


def measured(name: str, engine: dict[str, Any], requests: int, concurrency: int) -> Measurement:
    spec = parse_spec(
        {
            "name": "engine-audit",
            "suite": {"id": "llm.inference.chat", "version": "1.0.0"},
            "model": {"id": MODEL},
            "engine": engine,
            "workload": {"max_tokens": 32},
            "load": {
                "kind": "closed",
                "concurrency": concurrency,
                "requests": requests,
                "warmup_requests": concurrency,
            },
            "deadlines": {"request_s": 120, "run_s": 600, "engine_start_s": 600},
        },
        where=name,
    )
    with tempfile.TemporaryDirectory() as folder:
        run = RunStore(Path(folder)).run(new_run_id())
        run_benchmark(spec, run, on_progress=lambda _: None)
        write_traces(run)
        return write_measurement(run)


def show(name: str, results: list[Measurement]) -> None:
    engine = results[0].provenance.engine
    telemetry = results[0].telemetry
    print(
        f"\n{name}: {engine.name} {engine.version}, {engine.dtype or 'dtype not told'}; "
        f"{len(results)} runs, median [least, most]; load average {os.getloadavg()[0]:.1f} on "
        f"{os.cpu_count()} cores"
    )
    print(f"{'quantity':<18}{'engine':>32}{'ours':>32}{'ours - engine':>32}  unit")
    lines: dict[str, list[Any]] = defaultdict(list)
    for result in results:
        for line in result.audit.lines if result.audit else ():
            lines[line.name].append(line)
    for quantity, found in lines.items():
        ours = [line.ours for line in found if line.ours is not None]
        apart = [line.difference for line in found if line.difference is not None]
        cells = "".join(
            f"{spread(values):>32}" for values in ([x.engine for x in found], ours, apart)
        )
        print(f"{quantity:<18}{cells}  {found[0].unit} {found[0].note}")
    cpu = [result.client.cpu_share for result in results]
    print(f"client CPU, percent of a core: {spread([100 * share for share in cpu])}")
    if telemetry is not None:
        shares = [result.telemetry.sampler_cpu_share for result in results if result.telemetry]
        print(f"telemetry CPU, percent of a core: {spread([100 * share for share in shares])}")
        print(f"energy: {telemetry.energy_joules or telemetry.energy_null_reason}")


def spread(values: list[float]) -> str:
    if not values:
        return "-"
    if max(values) == min(values):
        return f"{values[0]:.2f}"
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


if __name__ == "__main__":
    main()
