"""Specs against the scripted engine, and the shortest way from a spec to its traces."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from inferencebench_pipeline.measure.run.progress import Progress
from inferencebench_pipeline.measure.run.run import run_benchmark
from inferencebench_pipeline.measure.run.trace_writer import read_traces, write_traces
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec
from inferencebench_pipeline.measure.spec.spec_file import parse_spec
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile

Rows = list[dict[str, Any]]


def content_of_spec(base_url: str, **changes: Any) -> dict[str, Any]:
    """Plain data of a small spec against ``base_url``; keyword arguments replace whole fields."""
    content: dict[str, Any] = {
        "name": "fake-chat",
        "suite": {"id": "llm.inference.chat", "version": "1.0.0"},
        "model": {"id": "fake"},
        "engine": {"kind": "openai", "base_url": base_url, "name": "fake", "version": "1"},
        "workload": {"max_tokens": 5},
        "load": {"kind": "closed", "concurrency": 1, "requests": 3, "warmup_requests": 0},
        "slo": {"ttft_ms": 1000, "tpot_ms": 1000},
        "deadlines": {"request_s": 20, "run_s": 60, "engine_start_s": 20},
    }
    return content | changes


def spec_for(base_url: str, **changes: Any) -> BenchmarkSpec:
    return parse_spec(content_of_spec(base_url, **changes), where="test")


def ignore_progress(_: Progress) -> None:
    return


def measured_rows(spec: BenchmarkSpec, run: RunDirectory) -> Rows:
    """Run the spec and return the rows of its traces."""
    run_benchmark(spec, run, on_progress=ignore_progress)
    write_traces(run)
    return read_traces(run.file(RunFile.TRACES)).to_pylist()


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 that signs itself, and its key; return their paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = folder / "certificate.pem", folder / "key.pem"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_path, key_path
