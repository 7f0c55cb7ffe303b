"""A measured run without an engine: real traces, real metrics, made-up provenance."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from inferencebench_pipeline.envelope.build import build_envelope
from inferencebench_pipeline.envelope.canonical import serialise
from inferencebench_pipeline.measure.metrics.compute import (
    METRIC_DEFINITIONS_VERSION,
    compute_metrics,
)
from inferencebench_pipeline.measure.provenance.document import Provenance
from inferencebench_pipeline.measure.run.client_report import ClientReport
from inferencebench_pipeline.measure.run.measurement import Measurement
from inferencebench_pipeline.measure.run.trace_writer import (
    SCHEMA,
    TRACES_SCHEMA_VERSION,
    ValidityFlag,
    read_traces,
    traces_info,
)
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec
from inferencebench_pipeline.measure.spec.spec_file import parse_spec
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile

_MS = 1_000_000


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def spec(**changes: Any) -> BenchmarkSpec:
    content: dict[str, Any] = {
        "name": "example",
        "suite": {"id": "llm.inference.chat", "version": "1.0.0"},
        "model": {"id": "example/tiny"},
        "engine": {"kind": "embedded"},
        "load": {"kind": "closed", "concurrency": 2, "requests": 12, "warmup_requests": 1},
        "slo": {"ttft_ms": 60, "tpot_ms": 12.5},
    }
    return parse_spec(content | changes, where="the test")


def spec_of(rows: int) -> BenchmarkSpec:
    """Return the spec of a run that leaves ``rows`` of traces, one of them of a warm-up."""
    load = {"kind": "closed", "concurrency": 2, "requests": rows - 1, "warmup_requests": 1}
    return spec(load=load)


def provenance(**changes: Any) -> Provenance:
    content: dict[str, Any] = {
        "model": {
            "id": "example/tiny",
            "revision": "unknown",
            "provider": "embedded",
            "endpoint_hash": digest("http://127.0.0.1/v1"),
            "file_sha256": digest("weights"),
        },
        "engine": {
            "name": "llama.cpp",
            "version": "b7000",
            "config_hash": digest("config"),
            "config": {"threads": 1, "context_tokens": 4096},
        },
        "quantization": {"format": "q4_1", "method": "gguf"},
        "dataset": {"id": "builtin:chat-short", "hash": digest("prompts")},
        "hardware": {
            "dmi_uuid": "unknown",
            "gpus": [],
            "cpu": {"model": "Example CPU", "microcode": "0x1"},
            "memory": {"channels": 1, "speed_mts": 1, "ecc": False},
            "bios": {"version": "1.0", "resizable_bar": False, "above_4g": False},
            "numa": {"nodes": [{"id": 0, "cpus": [0, 1]}]},
            "driver": "",
            "cuda": "",
            "nccl": "",
        },
        "software": {
            "image_digest": "",
            "pip_freeze_hash": digest("packages"),
            "git_commit": "0123456789abcdef0123456789abcdef01234567",
            "nvidia_smi_q_hash": "",
        },
        "hardware_class": "cpu",
        "warnings": [
            "model.revision is unknown: no Hub",
            "hardware.dmi_uuid is unknown: no rights",
        ],
    }
    return Provenance.model_validate(content | changes)


def _row(index: int, noise: int) -> dict[str, Any]:
    start = index * 100 * _MS
    first = start + (40 + 3 * index) * _MS
    chunks = [
        {
            "received_ns": first + token * 10 * _MS + index * 1_003,
            "size_bytes": 180,
            "content_chars": 4,
            "kernel_stamp": True,
        }
        for token in range(8)
    ]
    return {
        "repeat": 1,
        "request_index": index,
        "phase": "warmup" if index == 0 else "measured",
        "prompt_id": f"p{index % 4}",
        "attempt": 1,
        "scheduled_ns": start,
        "connect_started_ns": start,
        # Two runs never leave the same numbers.
        "connected_ns": start + noise // 1_000 % _MS,
        "sent_ns": start + _MS,
        "first_byte_ns": first - _MS,
        "first_token_ns": chunks[0]["received_ns"],
        "last_token_ns": chunks[-1]["received_ns"],
        "end_ns": chunks[-1]["received_ns"] + _MS + noise % 1_000,
        "http_status": 200,
        "finish_reason": "length",
        "prompt_tokens": 20,
        "completion_tokens": 8,
        "token_source": "usage",
        "error_class": None,
        "error_detail": None,
        "chunks": chunks,
    }


def traces_bytes(run_id: str, rows: int = 13) -> bytes:
    """A traces file in the schema, with one warm-up request and the rest measured."""
    described = spec_of(rows)
    metadata = {
        "traces_schema_version": TRACES_SCHEMA_VERSION,
        "run_id": run_id,
        "origin_unix_ns": "1778840000000000000",
        "load": described.load.model_dump_json(),
        "workload": described.workload.model_dump_json(),
    }
    schema = SCHEMA.with_metadata(
        {f"inferencebench.{key}": value for key, value in metadata.items()}
    )
    noise = int(digest(run_id)[:16], 16)
    table = pa.Table.from_pylist([_row(index, noise) for index in range(rows)], schema=schema)
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def measurement_of(run_id: str, traces: bytes, **changes: Any) -> Measurement:
    """The measurement that the traces give."""
    table = read_traces(traces)
    content: dict[str, Any] = {
        "run_id": run_id,
        "started_at": datetime(2026, 5, 15, 10, 30, tzinfo=UTC),
        "finished_at": datetime(2026, 5, 15, 10, 31, 2, 500, tzinfo=UTC),
        "spec": spec(),
        "traces": traces_info(traces, table),
        "metric_definitions": METRIC_DEFINITIONS_VERSION,
        "metrics": compute_metrics(table, spec().slo),
        "validity": (ValidityFlag(name="counts", ok=True, severity="error", detail="12 of 12"),),
        "provenance": provenance(),
        "workload_sha256": digest("requests"),
        "schedule_sha256": digest("schedule"),
        "client": ClientReport(
            cpu_share=0.1,
            lateness_p99_ms=0.2,
            stamp_gap_p50_us=12.0,
            stamp_gap_p99_us=40.0,
            kernel_stamp_share=1.0,
            retried_requests=0,
            clock_step_us=0.0,
        ),
    }
    return Measurement.model_validate(content | changes)


def write_measured(run: RunDirectory, **changes: Any) -> Measurement:
    """Fill a run directory up to, and with, its unsigned envelope."""
    traces = traces_bytes(run.run_id)
    measurement = measurement_of(run.run_id, traces, **changes)
    run.write(RunFile.TRACES, traces)
    run.write(RunFile.MEASUREMENT, measurement.model_dump_json().encode())
    run.write(RunFile.UNSIGNED_ENVELOPE, serialise(build_envelope(measurement)))
    return measurement


def measure_otherwise(run: RunDirectory) -> Measurement:
    """Replace the measurement and the unsigned envelope by those of another workload."""
    measurement = Measurement.model_validate_json(run.read(RunFile.MEASUREMENT))
    other = measurement.model_copy(update={"workload_sha256": "ab" * 32})
    run.write(RunFile.MEASUREMENT, other.model_dump_json().encode())
    run.write(RunFile.UNSIGNED_ENVELOPE, serialise(build_envelope(other)))
    return other
