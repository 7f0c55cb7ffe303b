"""Records as the publisher meets them: traces, an envelope over them, a run directory."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from inferencebench_pipeline.envelope.build import build_envelope
from inferencebench_pipeline.envelope.canonical import content_hash, parse_envelope, serialise
from inferencebench_pipeline.envelope.models import Envelope, SignatureBlock
from inferencebench_pipeline.measure.metrics.compute import (
    METRIC_DEFINITIONS_VERSION,
    compute_metrics,
)
from inferencebench_pipeline.measure.run.measurement import Measurement
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec
from inferencebench_pipeline.measure.spec.stated_parts import Slo
from inferencebench_pipeline.measure.traces.schema import (
    METADATA_PREFIX,
    SCHEMA,
    TRACES_SCHEMA_VERSION,
)
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile, RunStore, new_run_id
from inferencebench_pipeline.trust.verify.verdict import (
    FailureClass,
    Outcome,
    Verdict,
    VerifiedSigner,
)

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
SUITE = "llm.inference.chat"
_MS = 1_000_000


def spec_of(model: str = MODEL, suite: str = SUITE) -> BenchmarkSpec:
    """Return the spec of that run, whose load and workload the traces repeat."""
    return BenchmarkSpec.model_validate(
        {
            "name": "quick",
            "suite": {"id": suite, "version": "1.0.0"},
            "model": {"id": model},
            "engine": {"kind": "openai", "base_url": "http://127.0.0.1:1/v1"},
            "load": {"kind": "closed", "concurrency": 2, "requests": 24, "warmup_requests": 0},
            "slo": Slo(ttft_ms=2000, tpot_ms=200).model_dump(),
        }
    )


def traces_table(run_id: str, requests: int = 24) -> pa.Table:
    """Return traces of a well-behaved run: 50 ms to the first token, 10 ms between tokens."""
    rows = []
    for index in range(requests):
        sent = index * 20 * _MS
        arrivals = [sent + (50 + index % 7 + 10 * token) * _MS for token in range(4)]
        rows.append(
            {
                "repeat": 1,
                "request_index": index,
                "phase": "measured",
                "prompt_id": f"p{index}",
                "attempt": 1,
                "scheduled_ns": sent,
                "connect_started_ns": sent,
                "connected_ns": sent,
                "sent_ns": sent,
                "first_byte_ns": arrivals[0],
                "first_token_ns": arrivals[0],
                "last_token_ns": arrivals[-1],
                "end_ns": arrivals[-1] + _MS,
                "http_status": 200,
                "finish_reason": "length",
                "prompt_tokens": 12,
                "completion_tokens": len(arrivals),
                "token_source": "usage",
                "error_class": None,
                "error_detail": None,
                "chunks": [
                    {
                        "received_ns": at,
                        "seen_ns": at,
                        "size_bytes": 100,
                        "content_chars": 4,
                        "kernel_stamp": True,
                    }
                    for at in arrivals
                ],
            }
        )
    described = spec_of()
    metadata = {
        "traces_schema_version": TRACES_SCHEMA_VERSION,
        "run_id": run_id,
        "origin_unix_ns": "1778841000000000000",  # 2026-05-15T10:30:00Z
        "load": described.load.model_dump_json(),
        "workload": described.workload.model_dump_json(),
    }
    return pa.Table.from_pylist(
        rows,
        schema=SCHEMA.with_metadata(
            {METADATA_PREFIX + key.encode(): value.encode() for key, value in metadata.items()}
        ),
    )


def traces_bytes(run_id: str, requests: int = 24) -> bytes:
    """Return those traces as a parquet file."""
    sink = io.BytesIO()
    pq.write_table(traces_table(run_id, requests), sink)
    return sink.getvalue()


def measurement(
    run_id: str, traces: bytes, *, model: str = MODEL, suite: str = SUITE
) -> Measurement:
    """Return a measurement whose metrics are those of ``traces``."""
    digest = hashlib.sha256(run_id.encode()).hexdigest()
    table = pq.read_table(io.BytesIO(traces))
    slo = Slo(ttft_ms=2000, tpot_ms=200)
    document: dict[str, Any] = {
        "run_id": run_id,
        "started_at": datetime(2026, 5, 15, 10, 30, tzinfo=UTC),
        "finished_at": datetime(2026, 5, 15, 10, 31, tzinfo=UTC),
        "spec": spec_of(model, suite),
        "traces": {
            "sha256": hashlib.sha256(traces).hexdigest(),
            "rows": table.num_rows,
            "size_bytes": len(traces),
            "schema_version": TRACES_SCHEMA_VERSION,
        },
        "metric_definitions": METRIC_DEFINITIONS_VERSION,
        "metrics": {key: item.model_dump() for key, item in compute_metrics(table, slo).items()},
        "validity": [
            {"name": "requests_complete", "ok": True, "severity": "error", "detail": "24 of 24"},
            {"name": "steady_state", "ok": False, "severity": "warn", "detail": "too short"},
        ],
        "provenance": {
            "model": {
                "id": model,
                "revision": "12fd25f77366fa6b3b4b768ec3050bf629380bac",
                "provider": "local",
                "endpoint_hash": digest,
                "file_sha256": None,
            },
            "engine": {
                "name": "llama.cpp",
                "version": "b4000",
                "config_hash": digest,
                "config": {},
            },
            "quantization": {"format": "q4_1", "method": "gguf"},
            "dataset": {"id": "builtin:chat-short", "hash": digest},
            "hardware": {
                "dmi_uuid": "unknown",
                "gpus": [],
                "cpu": {"model": "EPYC", "microcode": "0x1"},
                "memory": {"channels": 1, "speed_mts": 1, "ecc": False},
                "bios": {"version": "unknown", "resizable_bar": False, "above_4g": False},
                "numa": {},
                "driver": "",
                "cuda": "",
                "nccl": "",
            },
            "software": {
                "image_digest": "",
                "pip_freeze_hash": digest,
                "git_commit": digest[:40],
                "nvidia_smi_q_hash": "",
            },
            "hardware_class": "cpu",
            "warnings": ["dmi_uuid is unknown: needs root", "bios.version is unknown: needs root"],
        },
        "workload_sha256": digest,
        "schedule_sha256": digest,
        "client": {
            "cpu_share": 0.1,
            "lateness_p99_ms": 0.2,
            "stamp_gap_p50_us": 10.0,
            "stamp_gap_p99_us": 90.0,
            "kernel_stamp_share": 1.0,
            "retried_requests": 0,
            "clock_step_us": 0.0,
        },
    }
    return Measurement.model_validate(document)


def unsigned_envelope(
    run_id: str | None = None, traces: bytes | None = None, **measured: str
) -> Envelope:
    """Return the unsigned envelope of such a measurement."""
    run_id = run_id or new_run_id()
    traces = traces_bytes(run_id) if traces is None else traces
    return build_envelope(measurement(run_id, traces, **measured))


def signed_looking(envelope: Envelope, log_index: int = 12345) -> Envelope:
    """Return the envelope with a signature block of the right shape that nothing would verify."""
    block = SignatureBlock(
        method="sigstore-cosign", certificate="PEM", rekor_log_index=log_index, bundle="e30="
    )
    return envelope.model_copy(update={"signature": block})


def recorded_run(store: Path, run_id: str | None = None, **measured: str) -> RunDirectory:
    """Return a run directory with traces and an envelope that looks signed."""
    run = RunStore(store).run(run_id or new_run_id())
    traces = traces_bytes(run.run_id)
    run.write(RunFile.TRACES, traces)
    envelope = signed_looking(unsigned_envelope(run.run_id, traces, **measured))
    run.write(RunFile.ENVELOPE, serialise(envelope))
    return run


SIGNER = VerifiedSigner(
    method="sigstore-cosign",
    identity="https://github.com/acme/bench/.github/workflows/publish.yml@refs/heads/main",
    issuer="https://token.actions.githubusercontent.com",
)


def accept(envelope: bytes, traces: bytes | None) -> Verdict:
    """A verifier for tests about publishing: accepts whatever parses."""
    return _verdict(envelope, ok=True)


def reject(envelope: bytes, traces: bytes | None) -> Verdict:
    """A verifier that finds everything tampered with."""
    return _verdict(envelope, ok=False)


def _verdict(envelope: bytes, *, ok: bool) -> Verdict:
    return Verdict(
        content_hash=content_hash(parse_envelope(envelope)),
        ok=ok,
        outcome=Outcome.VERIFIED if ok else Outcome.REJECTED,
        reason="the signature verifies" if ok else "the content hash is not the one signed",
        checks=(),
        signer=SIGNER if ok else None,
        policy_sha256="0" * 64,
        trust_root_sha256="0" * 64,
        failure_class=None if ok else FailureClass.TAMPERED,
    )
