"""vLLM that the pipeline starts: refused, started, described, ended; a stand-in and the real one.

The stand-in has the package's command line and HTTP face, and starts a family of processes as the
real one does. The real one runs where INFERENCEBENCH_VLLM_PYTHON names an interpreter that has it
and INFERENCEBENCH_VLLM_MODEL a folder with SmolLM2-135M-Instruct (docs/engines.md).
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inferencebench_pipeline.measure.client.capture import Capture
from inferencebench_pipeline.measure.engines.vllm import installed, serve_arguments
from inferencebench_pipeline.measure.errors import (
    EngineDiedError,
    EngineMissingError,
    EngineUnreachableError,
    SpecError,
)
from inferencebench_pipeline.measure.run.measurement import write_measurement
from inferencebench_pipeline.measure.run.run import run_benchmark
from inferencebench_pipeline.measure.run.trace_writer import write_traces
from inferencebench_pipeline.measure.spec.engine import VllmEngine
from inferencebench_pipeline.measure.spec.spec_file import parse_spec
from inferencebench_pipeline.measure.workloads.resolution import resolve
from tests.measure.real_vllm import content_of_vllm_spec, real_vllm
from tests.measure.support import content_of_spec, ignore_progress, measured_rows, spec_for
from tests.paths import REPOSITORY

STAND_IN = """
import asyncio, os, signal, subprocess, sys
from pathlib import Path
from tests.measure.fake_engine import Behaviour, FakeEngine
from tests.paths import REPOSITORY

argument = lambda name: sys.argv[sys.argv.index(name) + 1]
engine = FakeEngine(lambda _: Behaviour(itl_s=0.01), model=argument("--served-model-name"))
engine.port = int(argument("--port"))
assert "SIGSTORE_ID_TOKEN" not in os.environ
if "--crash" in sys.argv:
    sys.exit("CUDA out of memory, says the stand-in")
core = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
)
Path(os.environ["TMPDIR"], "core.pid").write_text(str(core.pid))

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await engine.start()
    await stop.wait()
    await asyncio.sleep(0.2)
    Path(os.environ["TMPDIR"], "tidied.up").touch()

asyncio.run(main())
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch) -> Path:
    """Install a stand-in for vLLM; return the file that its second process writes its pid to."""
    package = tmp_path / "site/vllm"
    (package / "entrypoints/openai").mkdir(parents=True)
    for folder in (package, package / "entrypoints", package / "entrypoints/openai"):
        (folder / "__init__.py").touch()
    (package / "entrypoints/openai/api_server.py").write_text(STAND_IN)
    info = tmp_path / "site/vllm-0.99.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.99\n")
    (info / "RECORD").write_text("vllm/__init__.py,sha256=abc,0\n")
    (info / "top_level.txt").write_text("vllm\n")
    monkeypatch.setenv("PYTHONPATH", f"{package.parent}:{REPOSITORY}")
    monkeypatch.setenv("INFERENCEBENCH_VLLM_PYTHON", sys.executable)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", "nobody's business but the signer's")
    return tmp_path / "core.pid"


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def test_an_interpreter_without_vllm_is_refused_by_name(run, tmp_path, monkeypatch) -> None:
    empty = tmp_path / "python"
    empty.write_text("#!/bin/sh\necho '{}'\n")
    empty.chmod(0o755)
    monkeypatch.setenv("INFERENCEBENCH_VLLM_PYTHON", str(empty))
    spec = spec_for("", engine={"kind": "vllm"})
    with pytest.raises(EngineMissingError, match=r"inferencebench-pipeline\[vllm\]"):
        run_benchmark(spec, run, on_progress=ignore_progress)
    monkeypatch.setenv("INFERENCEBENCH_VLLM_PYTHON", str(tmp_path / "nowhere"))
    with pytest.raises(EngineMissingError, match="INFERENCEBENCH_VLLM_PYTHON"):
        run_benchmark(spec, run, on_progress=ignore_progress)


def test_a_folder_without_a_model_is_refused(run, stand_in, tmp_path) -> None:
    spec = spec_for("", engine={"kind": "vllm", "model_path": str(tmp_path)})
    with pytest.raises(EngineMissingError, match=r"config\.json"):
        run_benchmark(spec, run, on_progress=ignore_progress)


def test_vllm_is_asked_for_the_model_at_its_revision() -> None:
    model = {"id": "org/model", "revision": "abcdef0"}
    engine = {"kind": "vllm", "args": ["--dtype", "bfloat16"]}
    spec = resolve(spec_for("", model=model, engine=engine))
    assert isinstance(spec.engine, VllmEngine)
    assert serve_arguments(spec, spec.engine) == [
        *("--model", "org/model", "--served-model-name", "org/model"),
        *("--enable-tokenizer-info-endpoint", "--revision", "abcdef0", "--dtype", "bfloat16"),
    ]


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ({"args": ["--api-key", "hunter2"]}, "--api-key"),
        ({"args": ["--port=80"]}, "--port"),
        ({"env": {"HF_TOKEN": "hunter2"}}, "HF_TOKEN"),
        ({"env": {"AWS_SESSION": "hunter2"}}, "AWS_SESSION"),
    ],
)
def test_secrets_and_addresses_have_no_place_in_a_spec(engine, message) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        spec_for("", engine={"kind": "vllm", **engine})
    assert "hunter2" not in str(caught.value)


def test_vllm_is_started_described_and_its_whole_family_stopped(run, stand_in) -> None:
    engine = {"kind": "vllm", "args": ["--dtype", "bfloat16"], "env": {"OMP_NUM_THREADS": "1"}}
    summary = run_benchmark(spec_for("", engine=engine), run, on_progress=ignore_progress)
    assert summary.engine == "vllm 0.99"
    provenance = Capture(run).provenance()
    config = provenance.engine.config
    assert config["args"][-2:] == ["--dtype", "bfloat16"]
    assert config["env"]["OMP_NUM_THREADS"] == "1"
    assert config["package"]["distribution"] == "vllm"
    assert "nobody's business" not in provenance.model_dump_json()
    assert provenance.engine.dtype is None
    unsaid = {item.field: item.reason for item in provenance.model.unsaid}
    assert set(unsaid) == {"file_sha256", "tokenizer_sha256", "dtype", "chat_template_sha256"}
    assert gone(int(stand_in.read_text()))
    assert stand_in.with_name("tidied.up").exists(), "it was not given the time to tidy up"


def test_a_vllm_that_cannot_start_gives_the_end_of_its_log(run, stand_in) -> None:
    spec = spec_for("", engine={"kind": "vllm", "args": ["--crash"]})
    with pytest.raises(EngineUnreachableError, match="CUDA out of memory, says the stand-in"):
        run_benchmark(spec, run, on_progress=ignore_progress)


def test_a_vllm_that_crashes_in_the_middle_is_reported_and_leaves_nobody(run, stand_in) -> None:
    def crash(progress) -> None:
        if progress.stage == "measuring":
            core = int(stand_in.read_text())
            parent = int(Path(f"/proc/{core}/stat").read_text().rpartition(")")[2].split()[1])
            os.kill(parent, signal.SIGKILL)

    load = {"kind": "closed", "concurrency": 1, "requests": 200, "warmup_requests": 0}
    spec = spec_for("", engine={"kind": "vllm"}, load=load)
    with pytest.raises(EngineDiedError, match=r"status 137 .*engine\.log"):
        run_benchmark(spec, run, on_progress=crash)
    assert gone(int(stand_in.read_text()))


def test_a_killed_pipeline_leaves_no_process_of_the_engine(run, stand_in, tmp_path) -> None:
    """SIGKILL gives the pipeline no chance to tidy up; the guardian does."""
    load = {"kind": "closed", "concurrency": 1, "requests": 10_000, "warmup_requests": 0}
    content = content_of_spec("", engine={"kind": "vllm"}, load=load)
    (tmp_path / "spec.json").write_text(json.dumps(content))
    program = (
        "import sys; from pathlib import Path\n"
        "from inferencebench_pipeline.measure.run.run import run_benchmark\n"
        "from inferencebench_pipeline.measure.spec.spec_file import load_spec\n"
        "from inferencebench_pipeline.runs.run_directory import RunDirectory\n"
        "spec, run_id, path = sys.argv[1:]\n"
        "run_benchmark(load_spec(Path(spec)), RunDirectory(run_id, Path(path)),"
        " on_progress=lambda step: print(step.stage, flush=True))\n"
    )
    arguments = [str(tmp_path / "spec.json"), run.run_id, str(run.path)]
    pipeline = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True
    )
    assert pipeline.stdout is not None
    with pipeline.stdout:
        for line in pipeline.stdout:
            if line.strip() == "measuring":
                break
        pipeline.kill()
        pipeline.wait(20)
    assert gone(int(stand_in.read_text()))


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_real_vllm_is_measured_described_and_stopped(run) -> None:
    python, folder = real_vllm()
    spec = parse_spec(content_of_vllm_spec(folder), where="test")
    rows = measured_rows(spec, run)
    measured = [row for row in rows if row["phase"] == "measured"]
    assert [(row["error_class"], row["completion_tokens"]) for row in measured] == [(None, 16)] * 8
    write_traces(run)
    measurement = write_measurement(run)
    assert [flag for flag in measurement.validity if not flag.ok and flag.severity == "error"] == []
    provenance = measurement.provenance
    assert provenance.engine.version == installed(python)["version"].partition("+")[0]
    assert provenance.engine.dtype == "bfloat16"
    assert provenance.model.unsaid == ()
    assert provenance.model.resolved_id == "HuggingFaceTB/SmolLM2-135M-Instruct"
    weights = folder / "model.safetensors"
    assert provenance.model.file_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    tokenizer = hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()
    assert provenance.model.tokenizer_sha256 == tokenizer
    template = (folder / "chat_template.jinja").read_text()
    digest = hashlib.sha256(template.encode()).hexdigest()
    assert provenance.model.chat_template_sha256 == digest
    assert provenance.engine.config["engine_says"]["scheduler_config"]["max_num_seqs"] > 0
    assert str(folder) not in provenance.model_dump_json()
    assert measurement.audit is not None
    lines = {line.name: line for line in measurement.audit.lines}
    for name in ("answered requests", "prompt tokens", "output tokens"):
        assert lines[name].ours == lines[name].engine, name
    assert lines["output tokens"].engine == 16 * len(rows)
    assert {"TTFT", "ITL", "E2E latency", "queue time"} <= set(lines)
    (said,) = measurement.audit.answered_as
    assert said.model == "HuggingFaceTB/SmolLM2-135M-Instruct"
